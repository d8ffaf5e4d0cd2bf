//! What leaves the source and stands in the way of what comes with the same commit goes first, and
//! nothing else does.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};
use crate::reach::pod;

/// A Service with a port of the nodes.
fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: NodePort, selector: \
         {{app: shop}}, ports: [{{port: 80, nodePort: {port}}}]}}\n"
    )
}

/// The rows of the last operation, as `Kind/name`, in the order in which things were done.
fn done(status: &Value) -> Vec<String> {
    let rows = status["operationState"]["syncResult"]["resources"].as_array();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| format!("{}/{}", text(row, "kind"), text(row, "name"));
    rows.into_iter().flatten().map(row).collect()
}

fn place(rows: &[String], row: &str) -> Result<usize> {
    let found = rows.iter().position(|it| it == row);
    found.with_context(|| format!("no row {row} in {rows:?}"))
}

/// An application with a first commit, Synced.
async fn begun(lab: &Lab, name: &str, files: &[(&str, &str)]) -> Result<Story> {
    let app = lab.given(name).await?;
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(*text)))
        .collect();
    let first = app.commit(&files)?;
    app.create(&app.application()).await?;
    app.synced(&first).await?;
    Ok(app)
}

/// Waits until the quota `few` has counted what is there: what comes after that is counted at once.
async fn counted(app: &Story, resource: &str, used: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/resourcequotas/few", app.name);
    eventually("the quota has counted", SOON, || async {
        let quota = app.cluster.get(&path).await?;
        Ok(match quota["status"]["used"][resource] == used {
            true => Expectation::Met(()),
            false => Expectation::Pending(quota["status"].to_string()),
        })
    })
    .await
}

/// Waits until a ConfigMap is refused: the API server learns of policies and quotas with some delay.
async fn is_refused(app: &Story, map: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", app.name);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map}, "data": {"value": "9"}});
    eventually("a ConfigMap is refused", SOON, || async {
        Ok(match app.cluster.create(&path, &map).await {
            Err(_) => Expectation::Met(()),
            Ok(_) => Expectation::Pending("it is taken".to_owned()),
        })
    })
    .await
}

#[test]
fn a_service_is_renamed_and_keeps_its_port() {
    story(|lab| async move {
        let (old, new) = (service("web", 30971), service("shop", 30971));
        let files = [
            ("web.yaml", &*old),
            ("a.yaml", "---\n"),
            ("b.yaml", &*config_map("b", "1")),
        ];
        let app = begun(lab, "renamed", &files).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("web.yaml", Some(&new)),
                    ("a.yaml", Some(&config_map("a", "1"))),
                    ("b.yaml", None),
                ],
            )
            .await?;
        let status = app.in_one_sync(&second).await?;
        let rows = done(&status);
        let (gone, come) = (place(&rows, "Service/web")?, place(&rows, "Service/shop")?);
        // The other one that left stood in nobody's way.
        let last = place(&rows, "ConfigMap/b")?;
        ensure!(gone < come && come < last, "{rows:?}");
        // Where nothing else changes, nothing is asked before the first write.
        let third = app
            .push(&lab.agent, &[("web.yaml", Some(&service("again", 30971)))])
            .await?;
        app.in_one_sync(&third).await?;
        let path = "/api/v1/namespaces/renamed/services/again";
        let live = app.cluster.get(path).await?;
        assert_eq!(live["spec"]["ports"][0]["nodePort"], 30971);
        Ok(())
    });
}

#[test]
fn nothing_goes_first_for_a_commit_that_cannot_be_applied() {
    story(|lab| async move {
        let app = begun(lab, "not-first", &[("web.yaml", &service("web", 30972))]).await?;
        let path = "/api/v1/namespaces/not-first/services/web";
        let uid = app.cluster.get(path).await?["metadata"]["uid"].take();
        let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nimmutable: 5\n";
        app.push(
            &lab.agent,
            &[
                ("web.yaml", Some(&service("shop", 30972))),
                ("a.yaml", Some(wrong)),
            ],
        )
        .await?;
        app.condition("SyncError", "expected boolean").await?;
        assert_eq!(app.cluster.get(path).await?["metadata"]["uid"], uid);
        Ok(())
    });
}

#[test]
fn a_service_stays_until_the_one_after_it_is_sure_to_be_taken() {
    story(|lab| async move {
        let app = begun(lab, "sure", &[("web.yaml", &service("web", 30977))]).await?;
        // The API server says nothing of this while the port is taken.
        let odd = service("shop", 30977).replace("{type: ", "{sessionAffinity: Odd, type: ");
        let a = config_map("a", "1");
        let path = "/api/v1/namespaces/sure/services/web";
        let uid = app.cluster.get(path).await?["metadata"]["uid"].take();
        let files = [("web.yaml", Some(&*odd)), ("a.yaml", Some(&*a))];
        app.push(&lab.agent, &files).await?;
        app.condition("SyncError", "sessionAffinity").await?;
        assert_eq!(app.cluster.get(path).await?["metadata"]["uid"], uid);
        // Nor of a second port that somebody else has.
        let other = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
            "spec": {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 80, "nodePort": 30978}]},
        });
        let others = "/api/v1/namespaces/default/services";
        app.cluster.create(others, &other).await?;
        let both = service("shop", 30977).replace(
            "nodePort: 30977}]",
            "nodePort: 30977, name: a}, {port: 81, nodePort: 30978, name: b}]",
        );
        app.push(&lab.agent, &[("web.yaml", Some(&both))]).await?;
        app.condition("SyncError", "30978").await?;
        assert_eq!(app.cluster.get(path).await?["metadata"]["uid"], uid);
        app.cluster.delete(&format!("{others}/other")).await?;
        let last = app.push(&lab.agent, &[("a.yaml", None)]).await?;
        app.synced(&last).await?;
        assert_eq!(app.cluster.find(path).await?, None);
        Ok(())
    });
}

#[test]
fn what_is_only_named_or_of_the_same_kind_stays() {
    story(|lab| async move {
        // A policy that stays names what leaves.
        let policy = policy("bystanders").replace("not here", "use ConfigMap bystanders/old");
        let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: \
                     {services.nodeports: 1}}\n";
        let plain = "apiVersion: v1\nkind: Service\nmetadata: {name: plain}\nspec: {selector: {a: b}, \
                     ports: [{port: 80}]}\n";
        let files = [
            ("policy.yaml", &*policy),
            ("quota.yaml", quota),
            ("old.yaml", &config_map("old", "1")),
            ("plain.yaml", plain),
        ];
        let app = begun(lab, "bystanders", &files).await?;
        is_refused(&app, "ruled").await?;
        counted(&app, "services.nodeports", "0").await?;
        let web = service("web", 30979);
        let first = app.push(&lab.agent, &[("web.yaml", Some(&web))]).await?;
        app.synced(&first).await?;
        app.push(
            &lab.agent,
            &[
                ("old.yaml", None),
                ("ruled.yaml", Some(&config_map("ruled", "1"))),
            ],
        )
        .await?;
        app.condition("SyncError", "use ConfigMap bystanders/old")
            .await?;
        app.value("old", Some("1")).await?;
        // Nor does a Service without a port of the nodes go for one that lacks quota for its own.
        let path = "/api/v1/namespaces/bystanders/services/plain";
        app.push(
            &lab.agent,
            &[
                ("ruled.yaml", None),
                ("plain.yaml", None),
                ("shop.yaml", Some(&service("shop", 30980))),
            ],
        )
        .await?;
        app.condition("SyncError", "exceeded quota: few").await?;
        app.cluster.get(path).await.map(drop)
    });
}

#[test]
fn what_may_not_go_is_named() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("named-first").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["prune"] = json!(false);
        let first = app.commit(&[("web.yaml", Some(&service("web", 30973)))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let renamed = service("shop", 30973);
        let a = config_map("a", "1");
        let files = [("web.yaml", Some(&*renamed)), ("a.yaml", Some(&*a))];
        app.push(&lab.agent, &files).await?;
        app.condition(
            "SyncError",
            "Service/named-first/web stands in its way, which is no longer in the source: a sync that \
             prunes deletes it first",
        )
        .await?;
        // What it would become is told all the same.
        trimtab_ends(lab, &["diff", &app.name], 1, &["nodePort: 30973"]);
        app.cluster
            .patch(
                &app.path(),
                &json!({"operation": {"sync": {"prune": true}}}),
            )
            .await?;
        app.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        app.value("a", Some("1")).await?;
        // One that asks to go last, or to stay, is asked about.
        let options =
            "{name: last, annotations: {argocd.argoproj.io/sync-options: PruneLast=true}}";
        let last = service("last", 30974).replace("{name: last}", options);
        let third = app.push(&lab.agent, &[("last.yaml", Some(&last))]).await?;
        app.synced(&third).await?;
        let prunes = json!({"spec": {"syncPolicy": {"automated": {"prune": true}}}});
        app.cluster.patch(&app.path(), &prunes).await?;
        let files = [("last.yaml", Some(service("late", 30974)))];
        app.push(&lab.agent, &[(files[0].0, files[0].1.as_deref())])
            .await?;
        app.condition("SyncError", "it asks to go last (PruneLast=true)")
            .await
            .map(drop)
    });
}

#[test]
fn what_waits_for_approval_goes_first_after_it() {
    story(|lab| async move {
        let app = lab.given("approved-first").await?;
        let mut application = app.application();
        application["spec"]["guard"] = json!({"pruneKinds": ["Service"]});
        let first = app.commit(&[("web.yaml", Some(&service("web", 30975)))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let second = app
            .push(&lab.agent, &[("web.yaml", Some(&service("shop", 30975)))])
            .await?;
        app.condition(
            "SyncError",
            "it is deleted first once its deletion is approved",
        )
        .await?;
        let status = app.condition("PruneHeld", "prune-approved=").await?;
        let conditions = status["conditions"].as_array().context("no conditions")?;
        let held = conditions.iter().find(|it| it["type"] == "PruneHeld");
        let message = held
            .and_then(|it| it["message"].as_str())
            .unwrap_or_default();
        let token = message.rsplit('=').next().unwrap_or_default();
        let approve = json!({"metadata": {"annotations": {"trimtab.dev/prune-approved": token}}});
        app.cluster.patch(&app.path(), &approve).await?;
        app.synced(&second).await?;
        let path = "/api/v1/namespaces/approved-first/services/shop";
        app.cluster.get(path).await.map(drop)
    });
}

/// A policy that forbids the ConfigMaps named `ruled` in one namespace.
fn policy(app: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {app}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}
  matchConditions: [{{name: ruled, expression: \"object.metadata.name.startsWith('ruled')\"}}]
  validations: [{{expression: 'false', message: not here}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {app}}}
spec:
  policyName: {app}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {app}}}}}}}
"
    )
}

#[test]
fn a_policy_leaves_with_what_it_forbade() {
    story(|lab| async move {
        let files = [
            ("policy.yaml", &*policy("unruled")),
            ("a.yaml", &config_map("a", "1")),
        ];
        let app = begun(lab, "unruled", &files).await?;
        is_refused(&app, "ruled").await?;
        // A hook that would run before all else is forbidden as well.
        let hook = config_map("ruled-hook", "1").replace(
            "{name: ruled-hook}",
            "{name: ruled-hook, annotations: {argocd.argoproj.io/hook: PreSync}}",
        );
        let second = app
            .push(
                &lab.agent,
                &[
                    ("policy.yaml", None),
                    ("hook.yaml", Some(&hook)),
                    ("ruled.yaml", Some(&config_map("ruled", "5"))),
                ],
            )
            .await?;
        app.in_one_sync(&second).await?;
        app.value("ruled", Some("5")).await?;
        app.value("ruled-hook", Some("1")).await
    });
}

#[test]
fn a_webhook_leaves_with_what_it_held_up() {
    story(|lab| async move {
        let webhook = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: unhooked}
webhooks:
- name: unhooked.example.com
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 1
  admissionReviewVersions: [v1]
  clientConfig: {url: 'https://127.0.0.1:1/'}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: unhooked}}
  rules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [configmaps]}]
";
        let app = begun(lab, "unhooked", &[("webhook.yaml", webhook)]).await?;
        is_refused(&app, "a").await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("webhook.yaml", None),
                    ("a.yaml", Some(&config_map("a", "2"))),
                    ("b.yaml", Some(&config_map("b", "2"))),
                ],
            )
            .await?;
        app.in_one_sync(&second).await?;
        app.value("a", Some("2")).await
    });
}

#[test]
fn what_fills_a_quota_makes_room_for_what_replaces_it() {
    story(|lab| async move {
        // The control plane keeps one ConfigMap of its own there.
        let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: \
                     {count/configmaps: 2}}\n";
        let app = begun(lab, "makes-room", &[("quota.yaml", quota)]).await?;
        counted(&app, "count/configmaps", "1").await?;
        let first = app
            .push(
                &lab.agent,
                &[("a.yaml", Some(&config_map("settings-1", "1")))],
            )
            .await?;
        app.synced(&first).await?;
        is_refused(&app, "other").await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("a.yaml", Some(&config_map("settings-2", "2"))),
                    ("web.yaml", Some(&service("web", 30976))),
                ],
            )
            .await?;
        app.in_one_sync(&second).await?;
        app.value("settings-1", None).await?;
        // The quota itself leaves with what it does not let in.
        let third = app
            .push(
                &lab.agent,
                &[
                    ("quota.yaml", None),
                    ("b.yaml", Some(&config_map("b", "1"))),
                    ("c.yaml", Some(&config_map("c", "1"))),
                ],
            )
            .await?;
        app.in_one_sync(&third).await?;
        app.value("c", Some("1")).await
    });
}
