//! How the agent is set up: namespaces, API groups, settings that change, Events.

use serde_json::{Value, json};

use crate::given::{SOON, binary, config_map, story};
use crate::lab::{Expectation, eventually};

#[test]
fn applications_of_other_namespaces_are_kept_when_named() {
    story(|lab| async move {
        let app = lab.given_in("team-app", "team-home").await?;
        let cluster = &app.cluster;
        cluster
            .create(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": "agent-home"}}),
            )
            .await?;
        let agent = lab
            .agent_for("agent-home", &["--application-namespaces", "team-home"])
            .await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        drop(agent);
        Ok(())
    });
}

#[test]
fn applications_of_argo_cd_are_kept_in_their_own_group() {
    story(|lab| async move {
        let app = lab.given_in("argo-app", "argo-home").await?;
        let printed = std::process::Command::new(binary())
            .args(["crd", "--group", "argoproj.io", "-o", "json"])
            .output()?;
        let printed = match serde_json::from_slice::<Value>(&printed.stdout) {
            Ok(definition) => definition,
            Err(_) => {
                let text = std::process::Command::new(binary())
                    .args(["crd", "--group", "argoproj.io"])
                    .output()?;
                let file = lab.guardian.directory().join("argo.yaml");
                std::fs::write(&file, text.stdout)?;
                let json = lab
                    .control_plane
                    .kubectl()
                    .args([
                        "create",
                        "--dry-run=client",
                        "-o",
                        "json",
                        "--validate=false",
                        "-f",
                    ])
                    .arg(&file)
                    .arg("--kubeconfig")
                    .arg(&lab.control_plane.kubeconfig)
                    .output()?;
                serde_json::from_slice(&json.stdout)?
            }
        };
        // Argo CD's definition has no status endpoint.
        let mut definition = printed;
        definition["spec"]["versions"][0]["subresources"] = json!({});
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        app.cluster.create(path, &definition).await?;
        let list = "/apis/argoproj.io/v1alpha1/namespaces/argo-home/applications";
        eventually("the definition is served", SOON, || async {
            app.cluster.get(list).await.map(Expectation::Met)
        })
        .await?;
        let agent = lab
            .agent_for("argo-home", &["--application-group", "argoproj.io"])
            .await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        let mut application = app.application();
        application["apiVersion"] = json!("argoproj.io/v1alpha1");
        app.cluster.create(list, &application).await?;
        let path = format!("{list}/argo-app");
        eventually("it is Synced", SOON, || async {
            let status = app.cluster.get(&path).await?["status"].take();
            let met = status["sync"]["status"] == "Synced" && status["sync"]["revision"] == first;
            Ok(if met {
                Expectation::Met(())
            } else {
                Expectation::Pending(status.to_string())
            })
        })
        .await?;
        app.value_of("map", "one").await?;
        drop(agent);
        Ok(())
    });
}

#[test]
fn what_happens_is_told_by_events() {
    story(|lab| async move {
        let app = lab.given("events").await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("b.yaml", None)]).await?;
        app.value("b", None).await?;
        let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nunknown: 1\n";
        app.push(&lab.agent, &[("c.yaml", Some(wrong))]).await?;
        app.condition("SyncError", "unknown").await?;
        let path = "/apis/events.k8s.io/v1/namespaces/trimtab/events";
        eventually("all four Events", SOON, || async {
            let items = app.cluster.get(path).await?["items"].take();
            let reasons: Vec<_> = items
                .as_array()
                .into_iter()
                .flatten()
                .filter(|event| event["regarding"]["name"] == "events")
                .filter_map(|event| event["reason"].as_str().map(str::to_owned))
                .collect();
            let wanted = ["SyncStarted", "SyncSucceeded", "Pruned", "SyncFailed"];
            let met = wanted
                .iter()
                .all(|reason| reasons.iter().any(|seen| seen == reason));
            Ok(if met {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{reasons:?}"))
            })
        })
        .await
    });
}

#[test]
fn settings_are_taken_when_they_change_and_a_broken_file_changes_nothing() {
    story(|lab| async move {
        lab.control_plane
            .cluster
            .create(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": "settings-home"}}),
            )
            .await?;
        let agent = lab.agent_for("settings-home", &[]).await?;
        let file = lab
            .guardian
            .directory()
            .join("agent-settings-home/trimtab.yaml");
        let settings = std::fs::read_to_string(&file)?;
        let ping = || async {
            let body = b"{\"zen\": \"x\"}";
            let signature = format!(
                "sha256={}",
                crate::lab::agent::sign(crate::lab::agent::GITHUB_SECRET, body)
            );
            let headers = [
                ("X-GitHub-Event", "ping"),
                ("Content-Type", "application/json"),
                ("X-Hub-Signature-256", signature.as_str()),
            ];
            anyhow::Ok((
                agent.deliver("github", &headers, body).await?,
                agent.deliver("renamed", &headers, body).await?,
            ))
        };
        assert_eq!(ping().await?, (202, 404));
        std::fs::write(&file, "receivers: [")?;
        eventually("the broken file is named", SOON, || async {
            let log = agent.process.log();
            Ok(if log.contains("does not parse") {
                Expectation::Met(())
            } else {
                Expectation::Pending("not yet".into())
            })
        })
        .await?;
        assert_eq!(ping().await?, (202, 404));
        std::fs::write(
            &file,
            settings.replace("\"name\":\"github\"", "\"name\":\"renamed\""),
        )?;
        eventually("the new receiver", SOON, || async {
            let answers = ping().await?;
            Ok(if answers == (404, 202) {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{answers:?}"))
            })
        })
        .await
    });
}
