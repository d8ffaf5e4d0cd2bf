//! What neither goes on for ever nor says more than is known: hooks for a sync that failed, objects
//! that go slowly, a revision that is not there, the first sync.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::given::{SOON, config_map, story};
use crate::jobs::end_pod_of;
use crate::lab::{Expectation, eventually};

fn job(name: &str, hook: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: \
         {{argocd.argoproj.io/hook: {hook}}}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec: \
         {{restartPolicy: Never, schedulerName: nobody, containers: [{{name: run, image: run}}]}}\n"
    )
}

fn service(port: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

#[test]
fn the_hook_of_a_failed_sync_runs_when_an_object_is_refused_too() {
    story(|lab| async move {
        let app = lab.given("refused-help").await?;
        let help = job("help", "SyncFail");
        let first = app.commit(&[
            ("help.yaml", Some(&help)),
            ("web.yaml", Some(&service(99999))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        end_pod_of(&app, "help", "Succeeded").await?;
        app.condition("SyncError", "99999").await?;
        ensure!(
            app.cluster.find(&app.map("map")).await?.is_none(),
            "{first}"
        );
        // Another one is served meanwhile, and the next commit puts it right.
        let other = lab.given("refused-help-other").await?;
        let only = other.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        other.create(&other.application()).await?;
        other.synced(&only).await?;
        let web = service(80);
        let second = app.push(&lab.agent, &[("web.yaml", Some(&web))]).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn what_goes_slowly_is_waited_for_and_not_deleted_again_and_again() {
    story(|lab| async move {
        let app = lab.given("slowly").await?;
        let slow =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: slow, finalizers: [lab/held]}\n";
        let first = app.commit(&[
            ("slow.yaml", Some(slow)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let map = config_map("map", "2");
        let files = [("slow.yaml", None), ("map.yaml", Some(&*map))];
        let second = app.push(&lab.agent, &files).await?;
        app.value("map", Some("2")).await?;
        let path = app.map("slow");
        eventually("it is on its way out", SOON, || async {
            let live = app.cluster.get(&path).await?;
            Ok(match live["metadata"]["deletionTimestamp"].is_string() {
                true => Expectation::Met(()),
                false => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        // Each of these writes is a reason to look.
        for n in 0..10 {
            let mark = json!({"metadata": {"annotations": {"lab/mark": n.to_string()}}});
            app.cluster.patch(&path, &mark).await?;
        }
        app.refresh().await?;
        app.refreshed().await?;
        let status = app.status().await?;
        let of_second = |attempt: &&Value| attempt["revision"] == second.as_str();
        let attempts = status["attempts"].as_array();
        let count = attempts.into_iter().flatten().filter(of_second).count();
        // One that applies and one that prunes, or one for both.
        ensure!((1..=2).contains(&count), "{}", status["attempts"]);
        ensure!(status["operationState"]["message"] != "nothing to change");
        ensure!(
            status["sync"]["status"] == "OutOfSync",
            "{}",
            status["sync"]
        );
        app.cluster
            .patch(&path, &json!({"metadata": {"finalizers": null}}))
            .await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn a_revision_that_is_not_there_is_not_known_to_be_right() {
    story(|lab| async move {
        let app = lab.given("no-such-revision").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let follow = |revision: &str| json!({"spec": {"source": {"targetRevision": revision}}});
        app.cluster.patch(&app.path(), &follow("nope")).await?;
        app.condition("SourceError", "nope").await?;
        let unknown = |status: &Value| status["sync"]["status"] == "Unknown";
        app.becomes("Unknown", unknown).await?;
        // What is there stays, and is kept as it was.
        app.value("map", Some("1")).await?;
        app.cluster.patch(&app.path(), &follow("main")).await?;
        app.synced(&first).await?;
        Ok(())
    });
}

#[test]
fn the_first_status_of_a_long_first_sync_says_what_is_not_known() {
    story(|lab| async move {
        let app = lab.given("long-first").await?;
        let first = app.commit(&[
            ("before.yaml", Some(&job("before", "PreSync"))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        let runs = |status: &Value| status["operationState"]["phase"] == "Running";
        let status = app.becomes("it runs", runs).await?;
        ensure!(status["sync"]["status"].is_string(), "{status}");
        ensure!(status["health"]["status"].is_string(), "{status}");
        end_pod_of(&app, "before", "Succeeded").await?;
        app.synced(&first).await?;
        Ok(())
    });
}
