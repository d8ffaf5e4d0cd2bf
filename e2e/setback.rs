//! etcd is set back to an older state, on a control plane of its own.

use anyhow::Context as _;
use serde_json::json;

use crate::given::{Story, binary, config_map, story};
use crate::lab::process::Guardian;
use crate::lab::{Agent, AgentOptions, ControlPlane, Repository, tools};

/// Versions that a watch from before is ahead: at rest a cluster needs minutes to pass them.
const AHEAD: usize = 400;

#[test]
fn a_cluster_that_was_set_back_is_listed_again() {
    story(|lab| async move {
        let guardian = Guardian::start()?;
        let mut control_plane = ControlPlane::start(&guardian, &tools()?).await?;
        let cluster = control_plane.cluster.clone();
        for name in ["setback", "trimtab"] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            });
            cluster.create("/api/v1/namespaces", &namespace).await?;
        }
        let root = lab.guardian.directory().join("repositories");
        let app = Story {
            name: "setback".to_owned(),
            home: "trimtab".to_owned(),
            repository: Repository::create(&root, "setback")?,
            url: lab.git.url("setback"),
            cluster: cluster.clone(),
        };
        let agent = Agent::start(&guardian, &control_plane, &AgentOptions::new(binary())).await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let copy = control_plane.back_up(&guardian)?;
        let (a, b) = (config_map("a", "2"), config_map("b", "2"));
        let files = [("a.yaml", Some(a.as_str())), ("b.yaml", Some(b.as_str()))];
        let second = app.push(&agent, &files).await?;
        app.synced(&second).await?;
        let other = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {},
        });
        let maps = "/api/v1/namespaces/trimtab/configmaps";
        cluster.create(maps, &other).await?;
        for number in 0..AHEAD {
            let patch = json!({"data": {"number": number.to_string()}});
            cluster.patch(&format!("{maps}/other"), &patch).await?;
        }
        control_plane.set_back(&guardian, &copy).await?;
        let told = || agent.process.tail(15);
        // Nobody pushes: what was undone is done again.
        app.value("a", Some("2")).await.with_context(told)?;
        app.value("b", Some("2")).await?;
        app.synced(&second).await?;
        // What happens from now on is seen.
        let hand = json!({"data": {"value": "hand"}});
        cluster.patch(&app.map("a"), &hand).await?;
        app.value("a", Some("2")).await?;
        app.synced(&second).await.map(drop)
    });
}
