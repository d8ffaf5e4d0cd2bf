//! What pipelines and tools of Argo CD write into an Application, and what they read there.

use serde_json::{Value, json};

use crate::given::{config_map, story};

/// A hook that is done as soon as it is there.
const HOOK: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hook\n  annotations: \
                    {argocd.argoproj.io/hook: PreSync}\n";

fn asked(status: &Value, phase: &str) -> bool {
    status["operationState"]["phase"] == phase
}

#[test]
fn operations_say_how_to_sync_and_whether_with_hooks() {
    story(|lab| async move {
        let app = lab.given("pipelines").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        let map = |value| format!("{}immutable: true\n", config_map("map", value));
        app.commit(&[("map.yaml", Some(&map("1"))), ("hook.yaml", Some(HOOK))])?;
        app.create(&application).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let hooks = json!({"operation": {"initiatedBy": {"username": "ci"},
            "sync": {"syncStrategy": {"hook": {}}}}});
        app.cluster.patch(&app.path(), &hooks).await?;
        app.becomes("Synced", |status| {
            asked(status, "Succeeded") && status["sync"]["status"] == "Synced"
        })
        .await?;
        let before = app.cluster.get(&app.map("hook")).await?["metadata"]["uid"].take();
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&map("2")))])
            .await?;
        app.becomes("OutOfSync", |status| status["sync"]["revision"] == second)
            .await?;
        let force = json!({"operation": {"sync": {"syncStrategy": {"apply": {"force": true}}}}});
        app.cluster.patch(&app.path(), &force).await?;
        app.value("map", Some("2")).await?;
        app.synced(&second).await?;
        let after = app.cluster.get(&app.map("hook")).await?["metadata"]["uid"].take();
        assert_eq!(before, after, "the hook ran");
        Ok(())
    });
}

#[test]
fn an_operation_is_tried_again_as_often_as_it_says() {
    story(|lab| async move {
        let app = lab.given("pipelines-retry").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        let wrong = config_map("map", "1").replace("name: map", "name: map, labels: {a: \"b c\"}");
        app.commit(&[("map.yaml", Some(&wrong))])?;
        app.create(&application).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let retry = |limit| json!({"operation": {"retry": {"limit": limit, "backoff": {"duration": "1s"}}, "sync": {}}});
        app.cluster.patch(&app.path(), &retry(1)).await?;
        let status = app
            .becomes("failed", |status| asked(status, "Failed"))
            .await?;
        assert_eq!(status["operationState"]["retryCount"], 1);
        app.cluster.patch(&app.path(), &retry(-1)).await?;
        app.becomes("tried again", |status| {
            asked(status, "Running") && status["operationState"]["retryCount"] == 2
        })
        .await?;
        app.push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        app.becomes("done", |status| asked(status, "Succeeded"))
            .await?;
        app.value("map", Some("2")).await
    });
}

#[test]
fn nothing_is_done_with_what_is_skipped() {
    story(|lab| async move {
        let app = lab.given("pipelines-skip").await?;
        let mut application = app.application();
        let word = "argocd.argoproj.io/skip-reconcile";
        application["metadata"]["annotations"] = json!({word: "true"});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&application).await?;
        app.condition("Paused", "skip-reconcile").await?;
        let sync = json!({"operation": {"sync": {}}});
        app.cluster.patch(&app.path(), &sync).await?;
        app.becomes("refused", |status| asked(status, "Error"))
            .await?;
        assert!(app.cluster.find(&app.map("map")).await?.is_none());
        let taken_off = json!({"metadata": {"annotations": {word: null}}});
        app.cluster.patch(&app.path(), &taken_off).await?;
        app.synced(&first).await.map(drop)
    });
}

/// What is left behind by forms means nothing, and the status says what tools look for.
#[test]
fn the_status_says_what_tools_read() {
    story(|lab| async move {
        let app = lab.given("pipelines-status").await?;
        let mut application = app.application();
        application["spec"]["source"]["directory"] = json!({"recurse": true, "jsonnet": {}});
        application["spec"]["source"]["helm"] = json!({});
        application["spec"]["source"]["kustomize"] = json!({"images": []});
        application["spec"]["source"]["plugin"] = Value::Null;
        application["spec"]["source"]["path"] = json!("none");
        let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec:\n  \
             tls: [{hosts: [web.example]}]\n  rules:\n  - host: web.example\n    http: {paths: [{path: /a, \
             pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n";
        let job = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: job}\nspec:\n  schedule: \
             '0 0 1 1 *'\n  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: \
             [{name: a, image: 'job:1'}]}}}}\n";
        let first = app.commit(&[("web.yaml", Some(ingress)), ("job.yaml", Some(job))])?;
        app.create(&application).await?;
        let status = app.condition("ComparisonError", "none").await?;
        assert_eq!(status["sync"]["status"], "Unknown");
        assert_eq!(status["health"]["status"], "Unknown");
        let path = json!({"spec": {"source": {"path": "app"}}});
        app.cluster.patch(&app.path(), &path).await?;
        let status = app
            .becomes("Synced", |status| {
                status["sync"]["status"] == "Synced" && status["sync"]["revision"] == first
            })
            .await?;
        assert_eq!(status["sourceType"], "Directory");
        assert_eq!(
            status["summary"],
            json!({"images": ["job:1"], "externalURLs": ["https://web.example/a"]})
        );
        for time in [
            &status["reconciledAt"],
            &status["health"]["lastTransitionTime"],
        ] {
            assert!(
                time.as_str().is_some_and(|time| time.starts_with("20")),
                "{status}"
            );
        }
        Ok(())
    });
}
