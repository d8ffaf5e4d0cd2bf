//! Two agents on one cluster by mistake.

use anyhow::ensure;
use serde_json::json;

use super::Scene;
use crate::given::{config_map, story};
use crate::lab::gate::{Asked, Gate};

/// Nobody sees to it that there is only one. As long as both know the same commit they do the
/// same. When only one has heard of the newest, each repairs what the other did until both take it
/// for a fight; nothing of others is touched, and it ends when both know the same again.
#[test]
fn they_agree_in_the_end_and_touch_nothing_else() {
    story(|lab| async move {
        let scene = Scene::of(lab, "twins").await?;
        let other = Gate::open(&lab.guardian, &lab.control_plane).await?;
        let one = scene.agent().await?;
        let two = scene.agent_as("admin-token", &other).await?;
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
        // One hears of a push, the other does not: each repairs what the other does, until both
        // take it for a fight.
        let (a, c) = (config_map("a", "2"), config_map("c", "2"));
        let files = [
            ("a.yaml", Some(a.as_str())),
            ("b.yaml", None),
            ("c.yaml", Some(&c)),
        ];
        let before = writes();
        let second = scene.app.push(&one, &files).await?;
        scene.app.value("c", Some("2")).await?;
        scene.rest().await?;
        ensure!(
            writes() - before <= 400,
            "{} while they disagree",
            writes() - before
        );
        scene.bystander_is_untouched().await?;
        two.push_github(&scene.app.url, "main", &second).await?;
        scene
            .converged(&second, &["ConfigMap/a", "ConfigMap/c"])
            .await?;
        scene.app.value("a", Some("2")).await?;
        drop((one, two));
        Ok(())
    });
}
