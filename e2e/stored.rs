//! What is in the cluster is not always what was sent: said, and not fought over.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, config_map, story};
use crate::lab::browser::Look;
use crate::lab::{Cluster, Expectation, eventually};
use crate::pages::logged_in;
use crate::reach::pod;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

/// A policy that sets `mode` of every ConfigMap of a namespace that has one.
async fn rewrites(cluster: &Cluster, namespace: &str) -> Result<()> {
    let rules = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
    }]);
    let patch = "[JSONPatch{op: \"replace\", path: \"/data/mode\", value: \"safe\"}]";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "resourceRules": rules,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            },
            "matchConditions": [{"name": "mode", "expression": "has(object.data) && \"mode\" in object.data"}],
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        },
    });
    cluster.create(POLICIES, &policy).await?;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": namespace}, "spec": {"policyName": namespace},
    });
    cluster.create(BINDINGS, &binding).await.map(drop)
}

/// Waits until the policy is in force, or is not any more.
async fn in_force(app: &Story, expected: &str) -> Result<()> {
    let path = app.map("probe");
    eventually(&format!("a probe with {expected}"), SOON, || async {
        let probe = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"},
            "data": {"mode": "fast"},
        });
        let stored = app.cluster.apply(&path, "probe", &probe).await?["data"]["mode"].take();
        Ok(match stored == expected {
            true => Expectation::Met(()),
            false => Expectation::Pending(stored.to_string()),
        })
    })
    .await
}

fn map_with_mode(value: &str) -> String {
    format!(
        "{}",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"mode": "fast", "value": value},
        })
    )
}

fn says(lab: &Lab, verb: &str, app: &Story, code: i32, expected: &[&str]) {
    trimtab_ends(lab, &[verb, &app.name, "-n", &app.home], code, expected);
}

#[test]
fn what_a_policy_rewrites_is_said_and_not_fought_over() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("stored").await?;
        rewrites(&app.cluster, &app.name).await?;
        in_force(&app, "safe").await?;
        // Beside it what has another spelling only, or gets defaults.
        let pod = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "web"},
            "template": {"spec": {
                "serviceAccountName": "", "hostNetwork": false,
                "containers": [{
                    "name": "web", "image": "web:1",
                    "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
                    "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": ""}],
                    "livenessProbe": {"tcpSocket": {"port": 80}, "timeoutSeconds": 0},
                }],
            }},
        });
        let first = app.commit(&[
            ("map.yaml", Some(&map_with_mode("1"))),
            ("pod.yaml", Some(&pod.to_string())),
        ])?;
        app.create(&app.application()).await?;
        let status = app.synced(&first).await?;
        let mode = json!({
            "id": "/ConfigMap:stored/map", "path": "data.mode", "sent": "\"fast\"",
            "stored": "\"safe\"",
        });
        assert_eq!(status["stored"], json!([mode]));
        assert_eq!(status["conditions"], Value::Null);
        let words = "data.mode was sent as \"fast\" and is stored as \"safe\"";
        let all = ["the API server stores something else", words];
        says(lab, "explain", &app, 0, &all);
        says(lab, "diff", &app, 0, &all);
        let (browser, base) = logged_in(lab, "trimtab-operator", Look::default()).await?;
        for page in ["", "/diff"] {
            let page = format!("{base}/applications/trimtab/{}{page}", app.name);
            browser.visit(&page).await?;
            browser.shows("data.mode was sent as").await?;
        }
        // Another commit, and it is said still; nothing was repaired meanwhile.
        let second = app
            .push(
                &lab.agent,
                &[("other.yaml", Some(&config_map("other", "1")))],
            )
            .await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["stored"], json!([mode]));
        let by: Vec<_> = status["attempts"].as_array().unwrap().iter().collect();
        ensure!(by.iter().all(|attempt| attempt["by"] != "drift"), "{by:?}");
        app.cluster
            .delete(&format!("{POLICIES}/{}", app.name))
            .await?;
        app.cluster
            .delete(&format!("{BINDINGS}/{}", app.name))
            .await?;
        in_force(&app, "fast").await?;
        let third = app
            .push(&lab.agent, &[("map.yaml", Some(&map_with_mode("2")))])
            .await?;
        let status = app.synced(&third).await?;
        assert_eq!(status["stored"], Value::Null);
        Ok(())
    });
}

#[test]
fn what_is_stored_otherwise_is_known_after_a_restart() {
    story(|lab| async move {
        let app = lab.given_in("stored-restart", "stored-home").await?;
        rewrites(&app.cluster, &app.name).await?;
        in_force(&app, "safe").await?;
        let agent = lab.agent_for("stored-home", &["--no-install-crd"]).await?;
        let first = app.commit(&[("map.yaml", Some(&map_with_mode("1")))])?;
        app.create(&app.application()).await?;
        let stored = app.synced(&first).await?["stored"].take();
        assert_eq!(stored[0]["path"], "data.mode");
        drop(agent);
        let agent = lab.agent_for("stored-home", &["--no-install-crd"]).await?;
        let second = app
            .push(&agent, &[("other.yaml", Some(&config_map("other", "1")))])
            .await?;
        assert_eq!(app.synced(&second).await?["stored"], stored);
        Ok(())
    });
}

#[test]
fn a_field_that_left_git_and_is_still_live_is_said() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("still-live").await?;
        let service = |spec: Value, labels: Value| {
            let mut full = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
            for (name, value) in spec.as_object().unwrap() {
                full[name] = value.clone();
            }
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": labels},
                "spec": full,
            });
            service.to_string()
        };
        // The last two are defaults: that they are still there tells nothing.
        let headless = json!({"clusterIP": "None", "type": "ClusterIP", "sessionAffinity": "None"});
        let first = service(headless.clone(), json!({"kept": "x", "gone": "x"}));
        let first = app.commit(&[("web.yaml", Some(&first))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let path = format!("/api/v1/namespaces/{}/services/web", app.name);
        let label = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "labels": {"kept": "x"}},
        });
        app.cluster.apply(&path, "hand", &label).await?;
        let second = app
            .push(
                &lab.agent,
                &[("web.yaml", Some(&service(json!({}), json!({}))))],
            )
            .await?;
        let status = app.synced(&second).await?;
        let expected = json!([
            {"id": "/Service:still-live/web", "path": "metadata.labels.kept", "stored": "\"x\"", "by": "hand"},
            {"id": "/Service:still-live/web", "path": "spec.clusterIP", "stored": "\"None\""},
        ]);
        assert_eq!(status["stored"], expected);
        let words = [
            "spec.clusterIP left the source and is still \"None\"",
            "Force=true",
            "metadata.labels.kept left the source and is still \"x\", by hand",
        ];
        says(lab, "explain", &app, 0, &words);
        says(lab, "diff", &app, 0, &words[..1]);
        // The next commit does not forget it, and one that wants it again does.
        let third = app
            .push(
                &lab.agent,
                &[("web.yaml", Some(&service(json!({}), json!({"n": "1"}))))],
            )
            .await?;
        assert_eq!(app.synced(&third).await?["stored"], status["stored"]);
        let again = service(headless, json!({"kept": "x"}));
        let fourth = app.push(&lab.agent, &[("web.yaml", Some(&again))]).await?;
        assert_eq!(app.synced(&fourth).await?["stored"], Value::Null);
        Ok(())
    });
}

#[test]
fn an_object_that_is_being_deleted_is_not_in_sync() {
    story(|lab| async move {
        let app = lab.given("leaving").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let finalizers = |all: &[&str]| json!({"metadata": {"finalizers": all}});
        app.cluster
            .patch(&app.map("map"), &finalizers(&["trimtab.dev/story"]))
            .await?;
        app.cluster.delete(&app.map("map")).await?;
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        app.becomes("OutOfSync at the new commit", |status| {
            status["sync"]["status"] == "OutOfSync" && status["sync"]["revision"] == second
        })
        .await?;
        says(
            lab,
            "explain",
            &app,
            1,
            &["OutOfSync", "ConfigMap leaving/map is being deleted"],
        );
        app.cluster.patch(&app.map("map"), &finalizers(&[])).await?;
        app.value("map", Some("2")).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn what_is_skipped_is_left_as_it_is() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("skipped").await?;
        let first = app.commit(&[
            ("map.yaml", Some(&config_map("map", "1"))),
            ("rest.yaml", Some(&config_map("rest", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let skip = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "map", "annotations": {"argocd.argoproj.io/hook": "Skip"}},
            "data": {"value": "2"},
        });
        let skip = skip.to_string();
        let files = [
            ("map.yaml", Some(skip.as_str())),
            ("rest.yaml", Some(&config_map("rest", "2"))),
        ];
        let second = app.push(&lab.agent, &files).await?;
        let status = app.synced(&second).await?;
        app.value("rest", Some("2")).await?;
        app.value("map", Some("1")).await?;
        assert_eq!(status["resources"].as_array().map(Vec::len), Some(1));
        says(lab, "diff", &app, 0, &[]);
        // What leaves the source goes, as ever.
        app.push(&lab.agent, &[("map.yaml", None)]).await?;
        app.value("map", None).await?;
        Ok(())
    });
}

#[test]
fn the_namespace_that_an_application_asks_for_stays() {
    story(|lab| async move {
        let app = lab.given("asking").await?;
        let mut application = app.application();
        application["spec"]["destination"]["namespace"] = json!("asked-for");
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: asked-for}\n";
        let first = app.commit(&[
            ("namespace.yaml", Some(namespace)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let files = [
            ("namespace.yaml", None),
            ("map.yaml", Some(config_map("map", "2"))),
        ];
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, text.as_deref()))
            .collect();
        let second = app.push(&lab.agent, &files).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["conditions"], Value::Null);
        let namespace = app.cluster.get("/api/v1/namespaces/asked-for").await?;
        assert_eq!(namespace["metadata"]["deletionTimestamp"], Value::Null);
        Ok(())
    });
}

#[test]
fn a_rule_counts_at_once_for_a_difference_that_is_there() {
    story(|lab| async move {
        let app = lab.given("ruled-difference").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({"automated": {}});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        let is = |code: &'static str| move |status: &Value| status["sync"]["status"] == code;
        app.becomes("OutOfSync", is("OutOfSync")).await?;
        let rules = |rules: Value| json!({"spec": {"ignoreDifferences": rules}});
        let ignored = rules(json!([{"kind": "ConfigMap", "jsonPointers": ["/data/value"]}]));
        app.cluster.patch(&app.path(), &ignored).await?;
        app.becomes("Synced", is("Synced")).await?;
        // And it counts no longer than it is there.
        app.cluster.patch(&app.path(), &rules(Value::Null)).await?;
        app.becomes("OutOfSync", is("OutOfSync")).await?;
        app.value("map", Some("hand")).await?;
        // What nobody applies by itself differs in what is ignored only.
        let manual = json!({"spec": {"syncPolicy": {"automated": null}}});
        app.cluster.patch(&app.path(), &manual).await?;
        let second = app
            .push(
                &lab.agent,
                &[("map.yaml", Some(&config_map("map", "newer")))],
            )
            .await?;
        app.becomes("OutOfSync at the commit", |status| {
            status["sync"]["status"] == "OutOfSync" && status["sync"]["revision"] == second
        })
        .await?;
        app.cluster.patch(&app.path(), &ignored).await?;
        app.becomes("Synced", is("Synced")).await?;
        app.value("map", Some("hand")).await?;
        Ok(())
    });
}

#[test]
fn a_hard_refresh_of_large_objects_is_not_cut_short_by_its_own_answer() {
    story(|lab| async move {
        let app = lab.given("large-objects").await?;
        let large = |wave: u32| {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": format!("large-{wave}"),
                    "annotations": {"argocd.argoproj.io/sync-wave": wave.to_string()},
                },
                "data": {"value": "x".repeat(700_000)},
            });
            map.to_string()
        };
        let files: Vec<_> = (0..8).map(|n| (format!("m{n}.yaml"), large(n))).collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        for _ in 0..3 {
            let wish = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
            app.cluster.patch(&app.path(), &wish).await?;
            app.refreshed().await?;
            app.synced(&first).await?;
        }
        let status = app.status().await?;
        let attempts = status["attempts"].as_array().cloned().unwrap_or_default();
        ensure!(
            attempts.len() > 1 && attempts.iter().all(|it| it["result"] == "Succeeded"),
            "{attempts:?}"
        );
        Ok(())
    });
}
