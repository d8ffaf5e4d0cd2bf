//! What is on its way out and never goes.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::Scene;
use crate::deletion::gone;
use crate::given::{SOON, config_map, story};
use crate::lab::{Cluster, Expectation, eventually};

const WINDOW: Duration = Duration::from_secs(5);

fn finalizers(names: &[&str]) -> Value {
    json!({"metadata": {"finalizers": names}})
}

async fn terminating(cluster: &Cluster, path: &str) -> Result<()> {
    eventually(&format!("{path} is on its way out"), SOON, || async {
        let metadata = cluster.get(path).await?["metadata"].take();
        Ok(match metadata["deletionTimestamp"].is_string() {
            true => Expectation::Met(()),
            false => Expectation::Pending(metadata.to_string()),
        })
    })
    .await
}

#[test]
fn a_pruned_object_with_a_finalizer_holds_nothing_up() {
    story(|lab| async move {
        let scene = Scene::of(lab, "clinging").await?;
        let agent = scene.agent().await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        scene.app.create(&scene.app.application()).await?;
        scene
            .converged(&first, &["ConfigMap/a", "ConfigMap/b"])
            .await?;
        let cluster = &scene.app.cluster;
        let b = scene.app.map("b");
        cluster.patch(&b, &finalizers(&["lab/never"])).await?;
        scene.app.push(&agent, &[("b.yaml", None)]).await?;
        terminating(cluster, &b).await?;
        scene.rest().await?;
        scene.asks_at_most(20, WINDOW).await?;
        // It is ours until it is gone, and what else is to be done is done.
        scene.inventory_holds_all().await?;
        let newer = config_map("a", "2");
        let third = scene.app.push(&agent, &[("a.yaml", Some(&newer))]).await?;
        scene.app.value("a", Some("2")).await?;
        scene.inventory_holds_all().await?;
        let live = cluster.get(&b).await?;
        assert_eq!(live["metadata"]["finalizers"], json!(["lab/never"]));
        cluster.patch(&b, &finalizers(&[])).await?;
        gone(cluster, &b).await?;
        scene.converged(&third, &["ConfigMap/a"]).await
    });
}

#[test]
fn a_namespace_on_its_way_out_is_no_reason_for_a_loop() {
    story(|lab| async move {
        let scene = Scene::of(lab, "doomed").await?;
        let agent = scene.agent().await?;
        let first = scene.begun().await?;
        let beside = scene.neighbour().await?;
        let cluster = &scene.app.cluster;
        let bystander = scene.app.map("bystander");
        cluster
            .patch(&bystander, &finalizers(&["lab/never"]))
            .await?;
        cluster.delete("/api/v1/namespaces/doomed").await?;
        terminating(cluster, &bystander).await?;
        let status = scene.app.condition("SyncError", "terminated").await?;
        assert_eq!(status["sync"]["status"], "OutOfSync");
        scene.asks_at_most(40, WINDOW).await?;
        let commit_id = beside
            .push(&agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        beside.synced(&commit_id).await?;
        // It goes in the end, and comes back by hand.
        cluster.patch(&bystander, &finalizers(&[])).await?;
        gone(cluster, "/api/v1/namespaces/doomed").await?;
        let namespace = json!({"metadata": {"name": "doomed"}});
        cluster.create("/api/v1/namespaces", &namespace).await?;
        scene.app.value("a", Some("1")).await?;
        scene.app.synced(&first).await?;
        scene.inventory_holds_all().await?;
        scene.rest().await
    });
}
