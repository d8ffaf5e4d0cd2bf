//! Going back, and going on while Git is away.

use anyhow::Result;
use serde_json::{Value, json};

use crate::given::{Story, config_map, story};
use crate::lab::git_server::Fault;

/// Asks to go back, as the command line does.
async fn roll_back(app: &Story, wish: Value) -> Result<()> {
    let operation = json!({"operation": {"rollback": wish, "initiatedBy": {"username": "alice"}}});
    app.cluster.patch(&app.path(), &operation).await.map(drop)
}

#[test]
fn a_deployment_comes_back_and_stays_until_the_next_commit() {
    story(|lab| async move {
        let app = lab.given("rollback").await?;
        let first = app.commit(&[
            ("map.yaml", Some(&config_map("map", "1"))),
            ("old.yaml", Some(&config_map("old", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("map.yaml", Some(&config_map("map", "2"))),
                    ("old.yaml", None),
                    ("new.yaml", Some(&config_map("new", "2"))),
                ],
            )
            .await?;
        app.value("old", None).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["history"].as_array().map(Vec::len), Some(2));
        roll_back(&app, json!({"id": 0, "prune": true})).await?;
        app.value("map", Some("1")).await?;
        app.value("old", Some("1")).await?;
        app.value("new", None).await?;
        let status = app.synced(&first).await?;
        assert_eq!(status["pin"]["by"], "alice");
        app.condition("RolledBack", "to deployment 0").await?;
        // It is kept as it is now, against hands and against a look at Git.
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        app.value("map", Some("1")).await?;
        app.refresh().await?;
        app.cluster.patch(&app.map("map"), &edit).await?;
        app.value("map", Some("1")).await?;
        // Undone, the newest commit counts again; what is not there is refused.
        roll_back(&app, json!({"undo": true, "prune": true})).await?;
        app.value("map", Some("2")).await?;
        app.synced(&second).await?;
        roll_back(&app, json!({"id": 77})).await?;
        app.becomes("refused", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("no such deployment"))
        })
        .await?;
        // And a commit ends it.
        roll_back(&app, json!({"id": 0, "prune": true})).await?;
        app.value("map", Some("1")).await?;
        let third = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "3")))])
            .await?;
        app.value("map", Some("3")).await?;
        let status = app.synced(&third).await?;
        assert_eq!(status["pin"], Value::Null);
        assert_eq!(status["conditions"], Value::Null);
        Ok(())
    });
}

#[test]
fn a_revision_that_a_person_names_stays_until_the_next_commit() {
    story(|lab| async move {
        let app = lab.given("sync-revision").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        app.synced(&second).await?;
        let ask = async |sync: Value| {
            let operation =
                json!({"operation": {"sync": sync, "initiatedBy": {"username": "alice"}}});
            app.cluster.patch(&app.path(), &operation).await.map(drop)
        };
        ask(json!({"revision": first})).await?;
        app.value("map", Some("1")).await?;
        let status = app.synced(&first).await?;
        assert_eq!(status["pin"]["by"], "alice");
        assert_eq!(status["pin"]["id"], Value::Null);
        app.condition("RolledBack", "to revision").await?;
        // Against hands as well, and after a look at Git.
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        app.value("map", Some("1")).await?;
        app.refresh().await?;
        // What is not there is refused and changes nothing.
        for (wish, why) in [
            (json!({"revision": "no-such-branch"}), "no-such-branch"),
            (json!({"revision": second, "dryRun": true}), "dry run"),
        ] {
            ask(wish).await?;
            app.becomes("refused", |status| {
                status["operationState"]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(why))
            })
            .await?;
        }
        app.value("map", Some("1")).await?;
        // The newest one ends it, and so does a commit.
        ask(json!({"revision": "main"})).await?;
        app.value("map", Some("2")).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["pin"], Value::Null);
        ask(json!({"revision": first})).await?;
        app.value("map", Some("1")).await?;
        let third = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "3")))])
            .await?;
        app.value("map", Some("3")).await?;
        let status = app.synced(&third).await?;
        assert_eq!(status["pin"], Value::Null);
        Ok(())
    });
}

#[test]
fn without_git_and_disk_drift_is_repaired_and_a_deployment_comes_back() {
    story(|lab| async move {
        let app = lab.given_in("no-git", "home-no-git").await?;
        let mut agent = lab.agent_for(&app.home, &[]).await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = app
            .push(&agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        app.synced(&second).await?;
        agent.process.kill();
        lab.git.fail(&app.name, Fault::Status(503));
        // Another agent has an empty disk.
        let agent = lab.agent_for(&app.home, &[]).await?;
        app.condition("SourceError", "").await?;
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.value("map", Some("2")).await?;
        roll_back(&app, json!({"id": 0})).await?;
        app.value("map", Some("1")).await?;
        app.condition("RolledBack", "to deployment 0").await?;
        // Git is back with what it had: the rollback holds.
        lab.git.heal(&app.name);
        app.refresh().await?;
        app.becomes("no SourceError", |status| {
            let conditions = status["conditions"].as_array();
            conditions
                .is_some_and(|conditions| conditions.iter().all(|it| it["type"] != "SourceError"))
        })
        .await?;
        app.value("map", Some("1")).await?;
        let third = app
            .push(&agent, &[("map.yaml", Some(&config_map("map", "3")))])
            .await?;
        app.synced(&third).await?;
        Ok(())
    });
}

#[test]
fn a_commit_that_does_not_render_stops_nothing_but_itself() {
    story(|lab| async move {
        let app = lab.given("unrendered").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("map.yaml", Some("{{ nonsense"))])
            .await?;
        app.condition("ComparisonError", "map.yaml").await?;
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.value("map", Some("1")).await?;
        Ok(())
    });
}
