//! The agent dies and comes back.

use serde_json::json;

use crate::given::{SOON, config_map, story};
use crate::lab::{Expectation, eventually};

#[test]
fn killed_in_the_middle_of_a_sync_it_loses_and_doubles_nothing() {
    story(|lab| async move {
        let app = lab.given_in("killed", "killed-home").await?;
        let mut agent = lab.agent_for("killed-home", &[]).await?;
        let manifests: Vec<_> = (0..150)
            .map(|n| {
                (
                    format!("m{n:03}.yaml"),
                    config_map(&format!("m{n:03}"), "1"),
                )
            })
            .collect();
        let files: Vec<_> = manifests
            .iter()
            .map(|(path, content)| (path.as_str(), Some(content.as_str())))
            .collect();
        let commit_id = app.commit(&files)?;
        app.create(&app.application()).await?;
        let maps = "/api/v1/namespaces/killed/configmaps?labelSelector=trimtab.dev/application";
        let count = || async {
            anyhow::Ok(
                app.cluster.get(maps).await?["items"]
                    .as_array()
                    .map_or(0, Vec::len),
            )
        };
        eventually("some objects", SOON, || async {
            let n = count().await?;
            Ok(if n > 0 {
                Expectation::Met(())
            } else {
                Expectation::Pending("none".into())
            })
        })
        .await?;
        agent.process.kill();
        let created = count().await?;
        assert!(created < 150, "it was too quick to be killed in the middle");
        // Whatever was created is in the inventory that was written ahead.
        let inventory = app.status().await?["inventory"]["entries"].clone();
        assert_eq!(inventory.as_array().map_or(0, Vec::len), 150);

        let agent = lab.agent_for("killed-home", &[]).await?;
        let status = app.synced(&commit_id).await?;
        assert_eq!(count().await?, 150);
        assert_eq!(status["history"].as_array().unwrap().len(), 1);
        let created_again = agent
            .metric("trimtab_kube_requests_total", &["verb=\"apply\""])
            .await?;
        assert!(created_again <= 151.0, "{created_again} applies");
        Ok(())
    });
}

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
        // The CustomResourceDefinition at the start, and the one object.
        let applies = agent
            .metric("trimtab_kube_requests_total", &["verb=\"apply\""])
            .await?;
        assert_eq!(applies, 2.0);
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
