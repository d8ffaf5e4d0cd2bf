//! Two applications and one object: it moves without being deleted, and is never fought over.

use anyhow::Result;
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Agent, Expectation, eventually};

/// A second Application of the same repository, of the directory `second`.
async fn second(app: &Story) -> Result<Story> {
    let mut application = app.application();
    application["metadata"]["name"] = json!(format!("{}-second", app.name));
    application["spec"]["source"]["path"] = json!("second");
    app.create(&application).await?;
    Ok(Story {
        name: format!("{}-second", app.name),
        home: app.home.clone(),
        repository: app.repository.clone(),
        url: app.url.clone(),
        cluster: app.cluster.clone(),
    })
}

async fn push(app: &Story, agent: &Agent, files: &[(&str, Option<&str>)]) -> Result<String> {
    let commit_id = app.repository.commit("main", files, "a change")?;
    agent.push_github(&app.url, "main", &commit_id).await?;
    Ok(commit_id)
}

/// Waits until the object says that it belongs to an Application.
async fn belongs(app: &Story, map: &str, owner: &str) -> Result<Value> {
    eventually(&format!("{map} belongs to {owner}"), SOON, || async {
        let live = app.cluster.find(&app.map(map)).await?;
        let tracked = live
            .as_ref()
            .and_then(|it| it["metadata"]["annotations"]["trimtab.dev/tracking-id"].as_str());
        Ok(match tracked {
            Some(id) if id.starts_with(&format!("trimtab_{owner}:")) => {
                Expectation::Met(live.unwrap_or_default())
            }
            other => Expectation::Pending(format!("{other:?}")),
        })
    })
    .await
}

#[test]
fn an_object_moves_in_one_commit_without_being_deleted() {
    story(|lab| async move {
        let app = lab.given("moving").await?;
        let keep = config_map("keep", "1");
        let keep2 = config_map("keep2", "1");
        let moving = config_map("moving", "1");
        let first = app.repository.commit(
            "main",
            &[
                ("app/keep.yaml", Some(&keep)),
                ("app/moving.yaml", Some(&moving)),
                ("second/keep.yaml", Some(&keep2)),
            ],
            "a change",
        )?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let other = second(&app).await?;
        other.synced(&first).await?;
        let before = belongs(&app, "moving", &app.name).await?;
        // There and back, so that each of the two is once the giver.
        for (from, to, owner) in [
            ("app", "second", other.name.as_str()),
            ("second", "app", app.name.as_str()),
        ] {
            let files = [
                (format!("{from}/moving.yaml"), None),
                (format!("{to}/moving.yaml"), Some(moving.as_str())),
            ];
            let files: Vec<_> = files
                .iter()
                .map(|(path, text)| (path.as_str(), *text))
                .collect();
            let commit_id = push(&app, &lab.agent, &files).await?;
            let after = belongs(&app, "moving", owner).await?;
            assert_eq!(
                after["metadata"]["uid"], before["metadata"]["uid"],
                "to {to}"
            );
            app.synced(&commit_id).await?;
            other.synced(&commit_id).await?;
        }
        Ok(())
    });
}

#[test]
fn two_that_desire_one_object_both_say_so_and_the_second_waits() {
    story(|lab| async move {
        let app = lab.given("contested").await?;
        let (mine, theirs) = (
            config_map("shared", "first"),
            config_map("shared", "second"),
        );
        let keep = config_map("keep", "1");
        let first = app.repository.commit(
            "main",
            &[
                ("app/keep.yaml", Some(&keep)),
                ("app/shared.yaml", Some(&mine)),
                ("second/shared.yaml", Some(&theirs)),
            ],
            "a change",
        )?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let other = second(&app).await?;
        other
            .condition(
                "SharedResourceWarning",
                "belongs to Application trimtab/contested",
            )
            .await?;
        app.condition(
            "SharedResourceWarning",
            "desired by Application trimtab/contested-second",
        )
        .await?;
        let before = belongs(&app, "shared", &app.name).await?;
        assert_eq!(before["data"]["value"], "first");
        // The first lets go: the second takes over, and nothing is deleted in between.
        let third = push(&app, &lab.agent, &[("app/shared.yaml", None)]).await?;
        let after = belongs(&app, "shared", &other.name).await?;
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(after["data"]["value"], "second");
        other
            .becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        let status = app.synced(&third).await?;
        assert_eq!(status["conditions"], Value::Null);
        Ok(())
    });
}

#[test]
fn a_fight_over_a_field_is_given_up_and_says_with_whom() {
    story(|lab| async move {
        let app = lab.given("fight").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let fought = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"value": "theirs"}});
        // Another controller that writes whenever it is put back.
        eventually("the fight is given up", SOON, || async {
            let live = app.cluster.get(&app.map("map")).await?;
            if live["data"]["value"] == "git" {
                app.cluster
                    .apply(&app.map("map"), "stubborn", &fought)
                    .await?;
            }
            let conditions = app.status().await?["conditions"].to_string();
            Ok(if conditions.contains("FightDetected") {
                Expectation::Met(())
            } else {
                Expectation::Pending(conditions)
            })
        })
        .await?;
        app.condition("FightDetected", "stubborn at ").await?;
        app.value("map", Some("theirs")).await?;
        // A commit is a new beginning.
        let second = app
            .push(
                &lab.agent,
                &[("map.yaml", Some(&config_map("map", "newer")))],
            )
            .await?;
        app.value("map", Some("newer")).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["conditions"], Value::Null);
        Ok(())
    });
}
