//! The agent dies and comes back.

use serde_json::json;

use crate::given::{config_map, story};

#[test]
fn restarted_it_applies_nothing_that_is_as_it_was() {
    story(|lab| async move {
        let app = lab.given_in("warm", "warm-home").await?;
        let agent = lab.agent_for("warm-home", &[]).await?;
        let files = [
            ("a.yaml", config_map("a", "1")),
            ("b.yaml", config_map("b", "1")),
        ];
        let files: Vec<_> = files.iter().map(|(p, c)| (*p, Some(c.as_str()))).collect();
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        drop(agent);
        // One object is changed while nobody looks.
        app.cluster
            .patch(&app.map("a"), &json!({"data": {"value": "hand"}}))
            .await?;
        let agent = lab.agent_for("warm-home", &[]).await?;
        app.value("a", Some("1")).await?;
        app.synced(&first).await?;
        // The one object: the CustomResourceDefinition is as it should be.
        let applies = agent
            .metric("trimtab_kube_requests_total", &["verb=\"apply\""])
            .await?;
        assert_eq!(applies, 1.0);
        let version = app.cluster.get(&app.map("b")).await?["metadata"]["resourceVersion"].clone();
        drop(agent);
        let second = app.commit(&[("b.yaml", None)])?;
        let agent = lab.agent_for("warm-home", &[]).await?;
        app.value("b", None).await?;
        app.synced(&second).await?;
        assert!(!version.is_null());
        drop(agent);
        Ok(())
    });
}

#[test]
fn asked_to_end_it_ends_soon_and_cleanly() {
    story(|lab| async move {
        lab.control_plane
            .cluster
            .create(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": "term-home"}}),
            )
            .await?;
        let mut agent = lab.agent_for("term-home", &[]).await?;
        let started = std::time::Instant::now();
        agent.process.signal("TERM")?;
        let code = loop {
            if let Some(code) = agent.process.ended() {
                break code;
            }
            assert!(started.elapsed().as_secs() < 10, "it does not end");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        assert_eq!(code, Some(0));
        Ok(())
    });
}
