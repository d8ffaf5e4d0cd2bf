//! Two agents on one cluster by mistake.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Scene;
use crate::given::{binary, config_map, story};
use crate::lab::gate::{Asked, Gate};
use crate::lab::{Agent, AgentOptions};

/// A second agent of the same Applications, which looks at its repositories every few seconds.
async fn twin(scene: &Scene, gate: &Gate) -> Result<Agent> {
    let options = AgentOptions {
        name: format!("agent-{}-twin", scene.app.name),
        namespace: scene.app.home.clone(),
        poll_interval: "5s".into(),
        kubeconfig: Some(gate.kubeconfig("admin-token")?),
        ..AgentOptions::new(binary())
    };
    Agent::start(&scene.lab.guardian, &scene.lab.control_plane, &options).await
}

/// Nobody sees to it that there is only one. As long as both know the same commit they do the
/// same; when only one has heard of the newest, each repairs what the other did until the other
/// has polled. Nothing of others is touched, and it ends at the newest commit.
#[test]
fn they_agree_in_the_end_and_touch_nothing_else() {
    story(|lab| async move {
        let scene = Scene::of(lab, "twins").await?;
        let other = Gate::open(&lab.guardian, &lab.control_plane).await?;
        let one = scene.agent().await?;
        let two = twin(&scene, &other).await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let files = [("a.yaml", Some(a.as_str())), ("b.yaml", Some(&b))];
        let first = scene.app.commit(&files)?;
        let writes = || scene.gate.count(Asked::is_write) + other.count(Asked::is_write);
        let before = writes();
        scene.app.create(&scene.app.application()).await?;
        scene
            .converged(&first, &["ConfigMap/a", "ConfigMap/b"])
            .await?;
        ensure!(
            writes() - before <= 20,
            "{} to begin with",
            writes() - before
        );
        let hand = json!({"data": {"value": "hand"}});
        let before = writes();
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        scene.app.value("a", Some("1")).await?;
        scene.rest().await?;
        ensure!(
            writes() - before <= 10,
            "{} for one repair",
            writes() - before
        );
        // One hears of a push, the other polls.
        let (a, c) = (config_map("a", "2"), config_map("c", "2"));
        let files = [
            ("a.yaml", Some(a.as_str())),
            ("b.yaml", None),
            ("c.yaml", Some(&c)),
        ];
        let second = scene.app.push(&one, &files).await?;
        scene.app.value("c", Some("2")).await?;
        scene.rest().await?;
        scene
            .converged(&second, &["ConfigMap/a", "ConfigMap/c"])
            .await?;
        scene.app.value("a", Some("2")).await?;
        drop((one, two));
        Ok(())
    });
}
