//! What people are told: who or what a sync is due to and what replaced it, what a hook is at, what a
//! selection names, what stays, and refusals in a line.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Story, config_map, story};
use crate::hooks::{hook, told};
use crate::jobs::job;

const BEFORE: &str = "argocd.argoproj.io/hook: PreSync";

fn message(status: &Value) -> &str {
    status["operationState"]["message"]
        .as_str()
        .unwrap_or_default()
}

async fn ask(app: &Story, sync: Value) -> Result<()> {
    let operation = json!({"sync": sync, "initiatedBy": {"username": "ann"}});
    let patch = json!({"operation": operation});
    app.cluster.patch(&app.path(), &patch).await.map(drop)
}

/// Waits until a sync ended so.
async fn ended(app: &Story, phase: &str, words: &str) -> Result<Value> {
    app.becomes(&format!("{phase}, {words}"), |status| {
        status["operationState"]["phase"] == phase && message(status).contains(words)
    })
    .await
}

/// While it is waited for, and after the sync gave up.
#[test]
fn a_hook_that_takes_long_says_since_when_and_why() {
    told(|lab, told| async move {
        let name = told.name("told-slow");
        let app = lab.given(&name).await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["waveTimeout"] = json!("6s");
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1h", "maxDuration": "1h"}});
        app.commit(&[
            ("before.yaml", Some(&told.hook("before", BEFORE))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.becomes("it waits", |status| message(status).contains("(since 20"))
            .await?;
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "before.1"},
            "involvedObject": {"kind": format!("{told:?}"), "namespace": name, "name": "before"},
            "type": "Warning", "reason": "FailedScheduling", "message": "no node fits",
        });
        let events = format!("/api/v1/namespaces/{name}/events");
        app.cluster.create(&events, &event).await?;
        let why = "FailedScheduling: no node fits";
        app.becomes("it says why", |status| {
            status["operationState"]["phase"] == "Running" && message(status).contains(why)
        })
        .await?;
        let runs = format!("the PreSync hook {told:?} {name}/before runs since 20");
        trimtab_ends(lab, &["explain", &name], 1, &[&runs, why]);
        app.condition("SyncError", "waveTimeout gives it 6s")
            .await?;
        let status = app.condition("HookPending", "was started at 20").await?;
        ensure!(!status.to_string().contains("did not run yet"), "{status}");
        assert_eq!(status["attempts"][0]["by"], "application");
        let left = ["was started at 20", why, "for 6s (syncPolicy.waveTimeout)"];
        trimtab_ends(lab, &["explain", &name], 1, &left);
        Ok(())
    });
}

#[test]
fn a_sync_of_a_person_says_that_it_took_the_place_of_one_of_the_same_state() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("told-replaced")).await?;
        app.commit(&[("before.yaml", Some(&told.hook("before", BEFORE)))])?;
        app.create(&app.application()).await?;
        app.becomes("it waits", |status| {
            message(status).contains("PreSync hook")
        })
        .await?;
        ask(&app, json!({})).await?;
        let status = app
            .becomes("replaced", |status| {
                status["attempts"]
                    .as_array()
                    .is_some_and(|it| it.len() == 1)
            })
            .await?;
        let attempt = &status["attempts"][0];
        let expected = "superseded by a sync that ann asked for; the desired state is the same";
        assert_eq!(attempt["message"], expected);
        assert_eq!(attempt["by"], "application");
        Ok(())
    });
}

#[test]
fn a_selection_that_names_nothing_is_refused_and_one_that_names_some_says_what_not() {
    story(|lab| async move {
        let app = lab.given("told-named").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("before.yaml", Some(&hook("before", BEFORE))),
        ])?;
        app.create(&application).await?;
        app.becomes("compared", |status| status["sync"]["status"] == "OutOfSync")
            .await?;
        let named = |name: &str| json!({"group": "", "kind": "ConfigMap", "name": name});
        ask(&app, json!({"resources": [named("nope")]})).await?;
        let none = "none of the given resources belongs to the application: :ConfigMap:nope";
        ended(&app, "Error", none).await?;
        let sync = ["sync", "told-named", "--wait", "--resource"];
        trimtab_ends(lab, &[&sync[..], &[":ConfigMap:nope"]].concat(), 2, &[none]);
        let only = "is a hook, which only a whole sync runs";
        trimtab_ends(lab, &[&sync[..], &[":Pod:before"]].concat(), 2, &[only]);
        assert_eq!(app.cluster.find(&app.map("a")).await?, None);
        ask(&app, json!({"resources": [named("a"), named("nope")]})).await?;
        ended(
            &app,
            "Succeeded",
            "belong to the application: :ConfigMap:nope",
        )
        .await?;
        app.value("a", Some("1")).await
    });
}

/// The API server prints all that there is of a field which can never change.
#[test]
fn a_refusal_is_a_line_that_names_the_field_and_what_to_do() {
    story(|lab| async move {
        let app = lab.given("told-refusals").await?;
        let pod = |image: &str, command: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}\nspec:\n  schedulerName: nobody\n  \
                 containers: [{{name: run, image: {image}, command: [{command}]}}]\n"
            )
        };
        let claim = |mode: &str| {
            format!(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: claim}}\nspec:\n  \
                 accessModes: [{mode}]\n  resources: {{requests: {{storage: 1Gi}}}}\n"
            )
        };
        let set = |service: &str| {
            format!(
                "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: set}}\nspec:\n  replicas: 0\n  \
                 serviceName: {service}\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    \
                 metadata: {{labels: {{a: b}}}}\n    spec: {{containers: [{{name: a, image: b}}]}}\n"
            )
        };
        app.commit(&[
            ("job.yaml", Some(&job("job", "1", ""))),
            ("pod.yaml", Some(&pod("a", "one"))),
            ("claim.yaml", Some(&claim("ReadWriteOnce"))),
            ("set.yaml", Some(&set("one"))),
        ])?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1h", "maxDuration": "1h"}});
        app.create(&application).await?;
        ended(&app, "Succeeded", "4 of 4").await?;
        app.push(
            &lab.agent,
            &[
                ("job.yaml", Some(&job("job", "2", ""))),
                ("pod.yaml", Some(&pod("a", "two"))),
                ("claim.yaml", Some(&claim("ReadWriteMany"))),
                ("set.yaml", Some(&set("two"))),
            ],
        )
        .await?;
        let status = app.condition("SyncError", "and 1 more").await?;
        let rows = status["operationState"]["syncResult"]["resources"].clone();
        for (kind, field) in [
            ("Job", "spec.template: Invalid value"),
            ("Pod", "spec: Forbidden"),
            ("PersistentVolumeClaim", "spec: Forbidden"),
            ("StatefulSet", "spec: Forbidden"),
        ] {
            let mut all = rows.as_array().into_iter().flatten();
            let row = all.find(|row| row["kind"] == kind);
            let said = row.map_or("", |row| row["message"].as_str().unwrap_or_default());
            ensure!(said.contains(field), "{kind}: {said}");
            ensure!(said.contains("Force=true"), "{kind}: {said}");
            ensure!(!said.contains("ObjectMeta"), "{kind}: {said}");
            ensure!(said.chars().count() < 620, "{kind}: {said}");
        }
        Ok(())
    });
}

/// As in Argo CD a row that is kept is OutOfSync; whether the application is depends on the row.
#[test]
fn what_stays_says_why_and_whether_it_counts() {
    story(|lab| async move {
        let app = lab.given("told-stays").await?;
        let kept = |name: &str, annotation: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: \
                 {{{annotation}}}\ndata: {{value: \"1\"}}\n"
            )
        };
        let first = app.commit(&[
            ("a.yaml", Some(&kept("a", "helm.sh/resource-policy: keep"))),
            (
                "b.yaml",
                Some(&kept("b", "trimtab.dev/sync-options: Prune=false")),
            ),
            ("c.yaml", Some(&config_map("c", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let row = |status: &Value, name: &str| {
            let mut rows = status["resources"].as_array().into_iter().flatten();
            rows.find(|row| row["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        let second = app.push(&lab.agent, &[("a.yaml", None)]).await?;
        let status = app.synced(&second).await?;
        let a = row(&status, "a");
        assert_eq!(
            (&a["status"], &a["kept"]),
            (&json!("OutOfSync"), &json!(true))
        );
        let says = a["message"].as_str().unwrap_or_default();
        ensure!(
            says.contains("stays") && says.contains("does not make"),
            "{a}"
        );
        app.push(&lab.agent, &[("b.yaml", None)]).await?;
        let status = app
            .becomes("OutOfSync", |status| {
                status["sync"]["status"] == "OutOfSync"
            })
            .await?;
        let b = row(&status, "b");
        assert_eq!(
            (&b["status"], &b["kept"]),
            (&json!("OutOfSync"), &json!(true))
        );
        let why = "left the source and stays: it asks for that (Prune=false";
        trimtab_ends(lab, &["get", "told-stays"], 1, &[why]);
        trimtab_ends(lab, &["explain", "told-stays"], 1, &[why]);
        Ok(())
    });
}
