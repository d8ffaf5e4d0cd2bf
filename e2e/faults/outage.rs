//! The API server is slow, silent, gone or out of order for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scene;
use crate::given::{Story, config_map, story};
use crate::lab::Agent;
use crate::lab::gate::{Asked, Side};

/// How long a fault is watched.
const WINDOW: Duration = Duration::from_secs(6);
const NAMES: [&str; 3] = ["ConfigMap/a", "ConfigMap/b", "ConfigMap/c"];

/// An Application with two objects, in sync.
async fn in_sync(scene: &Scene, agent: &Agent) -> Result<()> {
    let files = [
        ("a.yaml", config_map("a", "0")),
        ("b.yaml", config_map("b", "0")),
    ];
    let files = files
        .each_ref()
        .map(|(path, text)| (*path, Some(text.as_str())));
    let first = scene.app.commit(&files)?;
    scene.app.create(&scene.application()).await?;
    scene
        .converged(&first, &["ConfigMap/a", "ConfigMap/b"])
        .await?;
    ensure!(agent.process.id() > 0);
    Ok(())
}

/// Pushes a commit that changes `a`, creates `c` and leaves `b` out when it is to be pruned.
async fn push(app: &Story, agent: &Agent, value: &str) -> Result<String> {
    let (a, c) = (config_map("a", value), config_map("c", value));
    app.push(agent, &[("a.yaml", Some(&a)), ("c.yaml", Some(&c))])
        .await
}

async fn arrived(scene: &Scene, commit_id: &str, value: &str) -> Result<()> {
    scene.converged(commit_id, &NAMES).await?;
    scene.app.value("a", Some(value)).await?;
    scene.app.value("c", Some(value)).await
}

#[test]
fn it_stops_and_goes_on() {
    story(|lab| async move {
        let scene = Scene::of(lab, "stops").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        let mut held = scene
            .gate
            .hold(1, Side::Before, Asked::is_write_of_an_object);
        let second = push(&scene.app, &agent, "1").await?;
        held.wait().await?;
        scene.gate.pause();
        held.release();
        scene.asks_at_most(20, WINDOW).await?;
        scene.gate.resume();
        arrived(&scene, &second, "1").await
    });
}

#[test]
fn it_hangs_and_is_started_again() {
    story(|lab| async move {
        let scene = Scene::of(lab, "hangs").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        let mut held = scene
            .gate
            .hold(1, Side::After, Asked::is_write_of_an_object);
        let second = push(&scene.app, &agent, "1").await?;
        held.wait().await?;
        scene.gate.hang();
        held.release();
        scene.asks_at_most(20, WINDOW).await?;
        // The end of a process ends its connections.
        scene.gate.close();
        scene.gate.resume();
        arrived(&scene, &second, "1").await
    });
}

#[test]
fn one_write_is_never_answered() {
    story(|lab| async move {
        let scene = Scene::of(lab, "unanswered").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        let mut held = scene
            .gate
            .hold(1, Side::Before, Asked::is_write_of_an_object);
        push(&scene.app, &agent, "1").await?;
        held.wait().await?;
        // It is given up on, and everything after it is done.
        scene.app.condition("SyncError", "did not answer").await?;
        let third = push(&scene.app, &agent, "2").await?;
        arrived(&scene, &third, "2").await?;
        drop(held);
        Ok(())
    });
}

#[test]
fn it_is_gone_for_a_while() {
    story(|lab| async move {
        let scene = Scene::of(lab, "gone").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        for side in [Side::Before, Side::After] {
            let value = format!("{side:?}");
            let mut held = scene.gate.hold(2, side, Asked::is_write_of_an_object);
            let commit_id = push(&scene.app, &agent, &value).await?;
            held.wait().await?;
            scene.gate.close();
            drop(held);
            // Nothing was seen for a while, and nothing of it is taken for the truth.
            scene.asks_at_most(60, WINDOW).await?;
            scene.gate.resume();
            arrived(&scene, &commit_id, &value).await?;
        }
        // Its watches are well again.
        let hand = serde_json::json!({"data": {"value": "hand"}});
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        scene.app.value("a", Some("After")).await
    });
}

#[test]
fn storms_pass() {
    story(|lab| async move {
        let scene = Scene::of(lab, "storms").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        for code in [409, 422, 429, 500] {
            scene.gate.storm(code, 10_000, Asked::is_about_an_object);
            let value = code.to_string();
            let commit_id = push(&scene.app, &agent, &value).await?;
            scene.asks_at_most(60, WINDOW / 2).await?;
            let status = scene.app.condition("SyncError", "").await?;
            ensure!(
                status["sync"]["status"] == "OutOfSync",
                "{}",
                status["sync"]
            );
            scene.gate.calm();
            arrived(&scene, &commit_id, &value).await?;
        }
        Ok(())
    });
}

#[test]
fn storms_on_the_status_pass() {
    story(|lab| async move {
        let scene = Scene::of(lab, "unwritten").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        for code in [409, 500] {
            scene
                .gate
                .storm(code, 10_000, |asked| asked.path.ends_with("/status"));
            let value = code.to_string();
            let commit_id = push(&scene.app, &agent, &value).await?;
            scene.asks_at_most(60, WINDOW).await?;
            scene.gate.calm();
            arrived(&scene, &commit_id, &value).await?;
        }
        Ok(())
    });
}

#[test]
fn a_bundle_that_cannot_be_kept_is_said() {
    story(|lab| async move {
        let scene = Scene::of(lab, "unkept").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        let bundle = |asked: &Asked| asked.path.contains("/secrets/trimtab-bundle");
        scene.gate.storm(403, 10_000, bundle);
        let commit_id = push(&scene.app, &agent, "unkept").await?;
        scene.app.condition("HistoryWarning", "").await?;
        // The deployment stands.
        scene.app.value("a", Some("unkept")).await?;
        scene.app.synced(&commit_id).await?;
        scene.gate.calm();
        let commit_id = push(&scene.app, &agent, "kept").await?;
        arrived(&scene, &commit_id, "kept").await?;
        let conditions = scene.app.status().await?["conditions"].take();
        ensure!(conditions.is_null(), "{conditions}");
        Ok(())
    });
}

#[test]
fn all_is_out_of_order_for_a_while() {
    story(|lab| async move {
        let scene = Scene::of(lab, "disorder").await?;
        let agent = scene.agent().await?;
        in_sync(&scene, &agent).await?;
        let neighbour = scene.neighbour().await?;
        scene.gate.storm(500, 10_000, |_| true);
        scene.gate.cut();
        let commit_id = push(&scene.app, &agent, "1").await?;
        scene.asks_at_most(100, WINDOW).await?;
        scene.gate.calm();
        arrived(&scene, &commit_id, "1").await?;
        let status: Value = neighbour.status().await?;
        ensure!(status["sync"]["status"] == "Synced", "{}", status["sync"]);
        Ok(())
    });
}
