//! Projects: what a group of applications may deploy, from where, to where, when and as whom.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::deletion::gone;
use crate::given::{Lab, SOON, binary, config_map, story};
use crate::lab::agent::write_settings;
use crate::lab::{Agent, AgentOptions, Expectation, eventually};

/// An agent of its own with one project.
async fn agent(lab: &Lab, home: &str, project: &Value) -> Result<Governed> {
    let options = AgentOptions {
        name: format!("agent-{home}"),
        namespace: home.to_owned(),
        settings: json!({"projects": [project]}),
        ..AgentOptions::new(binary())
    };
    let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
    Ok(Governed { agent, options })
}

/// An agent and the settings that it has.
struct Governed {
    agent: Agent,
    options: AgentOptions,
}

impl Governed {
    /// Replaces the project, and waits until the agent has taken it.
    async fn settle(&mut self, lab: &Lab, project: &Value) -> Result<()> {
        let taken = |agent: &Agent| agent.process.log().matches("new settings").count();
        let before = taken(&self.agent);
        self.options.settings = json!({"projects": [project]});
        let directory = lab.guardian.directory().join(&self.options.name);
        write_settings(&directory, &self.options)?;
        eventually("new settings", SOON, || async {
            Ok(if taken(&self.agent) > before {
                Expectation::Met(())
            } else {
                Expectation::Pending("not taken".to_owned())
            })
        })
        .await
    }
}

fn team(more: &[(&str, Value)]) -> Value {
    let mut project = json!({
        "name": "team", "sourceRepos": ["*"], "destinations": [{"namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    });
    for (field, value) in more {
        project[*field] = value.clone();
    }
    project
}

#[test]
fn what_a_project_does_not_permit_is_not_applied_and_not_pruned() {
    story(|lab| async move {
        let app = lab.given_in("permitted", "permitting").await?;
        let mut governed = agent(lab, "permitting", &team(&[])).await?;
        let mut manifest = app.application();
        manifest["spec"]["project"] = json!("team");
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&manifest).await?;
        app.synced(&first).await?;
        let quota =
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {pods: 1}}\n";
        governed
            .settle(
                lab,
                &team(&[(
                    "namespaceResourceBlacklist",
                    json!([{"group": "", "kind": "ResourceQuota"}]),
                )]),
            )
            .await?;
        let second = app.commit(&[("a.yaml", None), ("q.yaml", Some(quota))])?;
        app.refresh().await?;
        app.condition("ComparisonError", "ResourceQuota").await?;
        let kept = "/api/v1/namespaces/permitted/configmaps/a";
        ensure!(app.cluster.find(kept).await?.is_some(), "it was pruned");
        let quota = "/api/v1/namespaces/permitted/resourcequotas/q";
        ensure!(app.cluster.find(quota).await?.is_none(), "it was applied");
        for (field, value, expected) in [
            ("sourceRepos", json!(["https://forge.example/*"]), "repoURL"),
            (
                "destinations",
                json!([{"namespace": "other-*"}]),
                "spec.destination.namespace",
            ),
        ] {
            governed.settle(lab, &team(&[(field, value)])).await?;
            app.condition("InvalidSpecError", expected).await?;
        }
        governed.settle(lab, &json!({"name": "another"})).await?;
        app.condition("InvalidSpecError", "there is no project \"team\"")
            .await?;
        ensure!(app.cluster.find(kept).await?.is_some(), "it was pruned");
        governed.settle(lab, &team(&[])).await?;
        app.synced(&second).await?;
        ensure!(app.cluster.find(kept).await?.is_none(), "it was not pruned");
        Ok(())
    });
}

#[test]
fn a_sync_window_holds_up_syncs_until_it_closes() {
    story(|lab| async move {
        let app = lab.given_in("windowed", "windowing").await?;
        let window = |manual: bool| {
            let window = json!({
                "kind": "deny", "schedule": "* * * * *", "duration": "24h",
                "applications": ["*"], "manualSync": manual, "description": "a freeze",
            });
            team(&[("syncWindows", json!([window]))])
        };
        let mut governed = agent(lab, "windowing", &window(false)).await?;
        let mut manifest = app.application();
        manifest["spec"]["project"] = json!("team");
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&manifest).await?;
        app.condition("SyncWindow", "a freeze").await?;
        let made = "/api/v1/namespaces/windowed/configmaps/a";
        let sync = ["sync", &app.name, "-n", "windowing", "--wait"];
        trimtab_ends(lab, &sync, 2, &["a freeze"]);
        ensure!(app.cluster.find(made).await?.is_none(), "it was applied");
        let explain = ["explain", &app.name, "-n", "windowing"];
        trimtab_ends(lab, &explain, 1, &["SyncWindow", "a freeze"]);
        governed.settle(lab, &window(true)).await?;
        app.condition("SyncWindow", "a freeze").await?;
        trimtab_ends(lab, &sync, 0, &[]);
        app.synced(&first).await?;
        let earlier = app.commit(&[("a.yaml", Some(&config_map("a", "earlier")))])?;
        let newest = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.refresh().await?;
        app.synced(&newest).await?;
        // What a window refuses pins nothing either.
        governed.settle(lab, &window(false)).await?;
        let revision = ["--revision", earlier.as_str()];
        let sync_to: Vec<_> = sync.iter().chain(&revision).copied().collect();
        trimtab_ends(lab, &sync_to, 2, &["a freeze"]);
        let status = app.status().await?;
        ensure!(status["pin"].is_null(), "{}", status["pin"]);
        governed.settle(lab, &window(true)).await?;
        let second = app.commit(&[("a.yaml", Some(&config_map("a", "2")))])?;
        app.refresh().await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        governed.settle(lab, &team(&[])).await?;
        app.synced(&second).await.map(drop)
    });
}

#[test]
fn a_project_gives_its_applications_an_account() {
    story(|lab| async move {
        let app = lab.given_in("accounted", "accounting").await?;
        let project = team(&[("serviceAccountName", json!("team-deployer"))]);
        let mut governed = agent(lab, "accounting", &project).await?;
        let mut manifest = app.application();
        manifest["spec"]["project"] = json!("team");
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&manifest).await?;
        app.condition("SyncError", "team-deployer").await?;
        governed.settle(lab, &team(&[])).await?;
        app.synced(&first).await.map(drop)
    });
}

#[test]
fn what_a_project_does_not_permit_any_more_is_not_deleted() {
    story(|lab| async move {
        let app = lab.given_in("protected", "protecting").await?;
        let mut governed = agent(lab, "protecting", &team(&[])).await?;
        let mut manifest = app.application();
        manifest["spec"]["project"] = json!("team");
        manifest["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("s.yaml", Some(secret)),
        ])?;
        app.create(&manifest).await?;
        app.synced(&first).await?;
        let secrets = json!([{"group": "", "kind": "Secret"}]);
        let without = team(&[("namespaceResourceBlacklist", secrets)]);
        governed.settle(lab, &without).await?;
        app.commit(&[("s.yaml", None)])?;
        app.refresh().await?;
        let status = app.condition("PruneRefused", "Secret").await?;
        ensure!(status["sync"]["status"] == "OutOfSync", "{status}");
        app.cluster.delete(&app.path()).await?;
        app.condition("Deleting", "permit it in the project")
            .await?;
        let kept = "/api/v1/namespaces/protected/secrets/s";
        ensure!(app.cluster.find(kept).await?.is_some(), "it was deleted");
        governed.settle(lab, &team(&[])).await?;
        gone(&app.cluster, &app.path()).await?;
        ensure!(
            app.cluster.find(kept).await?.is_none(),
            "it was not deleted"
        );
        Ok(())
    });
}
