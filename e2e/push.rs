//! A push goes live: by GitHub, by GitLab, and without any webhook by the poll.

use crate::given::{config_map, story};

#[test]
fn a_push_by_github_goes_live() {
    story(|lab| async move {
        let app = lab.given("push-github").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.value("map", Some("one")).await?;

        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "two")))])
            .await?;
        app.value("map", Some("two")).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["timing"]["trigger"], "push");
        assert_eq!(status["history"].as_array().unwrap().len(), 2);
        assert_eq!(status["operationState"]["phase"], "Succeeded");
        assert_eq!(
            status["operationState"]["syncResult"]["resources"][0]["message"],
            "configured"
        );
        Ok(())
    });
}

#[test]
fn a_push_by_gitlab_goes_live() {
    story(|lab| async move {
        let app = lab.given("push-gitlab").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;

        let second = app.commit(&[("map.yaml", Some(&config_map("map", "two")))])?;
        assert_eq!(lab.agent.push_gitlab(&app.url, "main", &second).await?, 202);
        app.value("map", Some("two")).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn the_poll_finds_what_no_webhook_told() {
    story(|lab| async move {
        let app = lab.given_in("poll-only", "poll-home").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        let agent = {
            use crate::lab::{Agent, AgentOptions};
            let options = AgentOptions {
                name: "agent-poll".into(),
                namespace: "poll-home".into(),
                poll_interval: "1s".into(),
                ..AgentOptions::new(crate::given::binary())
            };
            Agent::start(&lab.guardian, &lab.control_plane, &options).await?
        };
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = app.commit(&[("map.yaml", Some(&config_map("map", "two")))])?;
        app.value("map", Some("two")).await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["timing"]["trigger"], "poll");
        drop(agent);
        Ok(())
    });
}

#[test]
fn without_automation_nothing_is_applied_until_asked() {
    story(|lab| async move {
        let app = lab.given("manual").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = serde_json::json!({});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&application).await?;
        app.becomes("OutOfSync and Missing", |status| {
            status["sync"]["status"] == "OutOfSync" && status["health"]["status"] == "Missing"
        })
        .await?;
        assert!(app.cluster.find(&app.map("map")).await?.is_none());

        let operation = serde_json::json!({"operation": {"sync": {"dryRun": true}}});
        app.cluster.patch(&app.path(), &operation).await?;
        let status = app
            .becomes("dry run", |s| s["operationState"]["phase"] == "Succeeded")
            .await?;
        assert_eq!(
            status["operationState"]["syncResult"]["resources"][0]["message"],
            "created"
        );
        assert!(
            app.cluster.find(&app.map("map")).await?.is_none(),
            "a dry run writes nothing"
        );

        let operation = serde_json::json!({"operation": {
            "initiatedBy": {"username": "ada"}, "sync": {},
        }});
        app.cluster.patch(&app.path(), &operation).await?;
        let status = app.synced(&first).await?;
        app.value("map", Some("one")).await?;
        assert_eq!(status["history"][0]["initiatedBy"]["username"], "ada");
        assert!(app.cluster.get(&app.path()).await?["operation"].is_null());
        Ok(())
    });
}

#[test]
fn a_private_repository_is_read_with_its_secret() {
    story(|lab| async move {
        let app = lab.given("private").await?;
        lab.git.protect("private", "robot", "hunter2-canary");
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&app.application()).await?;
        app.condition("SourceError", "").await?;
        let secret = |password: &str| {
            serde_json::json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "private-repository", "labels": {"trimtab.dev/secret-type": "repository"}},
                "stringData": {"url": app.url, "username": "robot", "password": password},
            })
        };
        let path = "/api/v1/namespaces/trimtab/secrets/private-repository";
        app.cluster
            .apply(path, "story", &secret("wrong-canary"))
            .await?;
        let refresh = |kind: &str| {
            serde_json::json!({
                "metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}},
            })
        };
        app.cluster.patch(&app.path(), &refresh("normal")).await?;
        app.cluster
            .apply(path, "story", &secret("hunter2-canary"))
            .await?;
        app.cluster.patch(&app.path(), &refresh("hard")).await?;
        app.synced(&first).await?;
        let everything = format!(
            "{}{}",
            app.cluster.get(&app.path()).await?,
            lab.agent.process.log()
        );
        assert!(!everything.contains("canary\""), "a password was shown");
        assert!(!everything.contains("hunter2"), "a password was shown");
        Ok(())
    });
}
