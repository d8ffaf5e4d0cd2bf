//! Watches that end, and watches that lie.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::given::{SOON, config_map, story};
use crate::lab::{Expectation, eventually};

/// Whether an event is about a ConfigMap of this name and namespace.
fn is_about(event: &Value, namespace: &str, name: &str) -> bool {
    let object = &event["object"];
    object["kind"] == "ConfigMap"
        && object["metadata"]["namespace"] == namespace
        && object["metadata"]["name"] == name
}

#[test]
fn a_watch_that_is_too_old_begins_anew_and_misses_nothing() {
    story(|lab| async move {
        let scene = Scene::of(lab, "expired").await?;
        let agent = scene.agent().await?;
        let (a, b) = (config_map("a", "git"), config_map("b", "git"));
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        scene.app.create(&scene.app.application()).await?;
        let names = ["ConfigMap/a", "ConfigMap/b"];
        scene.converged(&first, &names).await?;
        scene
            .gate
            .swallow(|event| is_about(event, "expired", "a") || is_about(event, "expired", "b"));
        let hand = json!({"data": {"value": "hand"}});
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        scene.app.cluster.delete(&scene.app.map("b")).await?;
        eventually("both are swallowed", SOON, || async {
            Ok(match scene.gate.swallowed() {
                2.. => Expectation::Met(()),
                n => Expectation::Pending(format!("{n} are")),
            })
        })
        .await?;
        scene.gate.tell_all();
        scene.gate.expire_watches();
        scene.app.value("a", Some("git")).await?;
        scene.app.value("b", Some("git")).await?;
        scene.converged(&first, &names).await?;
        // And the new watch is a good one.
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        scene.app.value("a", Some("git")).await?;
        // A watch that is too old again and again is no reason for a hot loop.
        for _ in 0..5 {
            scene.gate.expire_watches();
        }
        scene.converged(&first, &names).await?;
        drop(agent);
        Ok(())
    });
}

/// A watch that lies is believed: the cluster is not asked behind its back. What it hides comes to
/// light with the next list of its kind (see above) and after a restart, and what a commit changes
/// is applied whatever the watch says.
#[test]
fn what_a_watch_hides_is_repaired_by_a_commit_about_it_and_by_a_restart() {
    story(|lab| async move {
        let scene = Scene::of(lab, "hidden").await?;
        let agent = scene.agent().await?;
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&config_map("a", "git")))])?;
        scene.app.create(&scene.app.application()).await?;
        scene.converged(&first, &["ConfigMap/a"]).await?;
        scene.gate.swallow(|event| is_about(event, "hidden", "a"));
        hide(&scene, json!({"data": {"value": "hand", "more": "hand"}})).await?;
        let newer = config_map("a", "newer");
        let second = scene.app.push(&agent, &[("a.yaml", Some(&newer))]).await?;
        scene.app.value("a", Some("newer")).await?;
        scene.converged(&second, &["ConfigMap/a"]).await?;
        hide(&scene, json!({"data": {"value": "hand"}})).await?;
        drop(agent);
        let agent = scene.agent().await?;
        scene.app.value("a", Some("newer")).await?;
        scene.converged(&second, &["ConfigMap/a"]).await?;
        drop(agent);
        Ok(())
    });
}

/// Changes `a` by hand and waits until the agent was kept from seeing it.
async fn hide(scene: &Scene, change: Value) -> Result<()> {
    let before = scene.gate.swallowed();
    scene
        .app
        .cluster
        .patch(&scene.app.map("a"), &change)
        .await?;
    eventually("it is swallowed", SOON, || async {
        Ok(if scene.gate.swallowed() > before {
            Expectation::Met(())
        } else {
            Expectation::Pending("not yet".to_owned())
        })
    })
    .await
}

#[test]
fn what_a_watch_hides_is_repaired_by_a_hard_refresh() {
    story(|lab| async move {
        let scene = Scene::of(lab, "hidden-hard").await?;
        let agent = scene.agent().await?;
        let files = [("a.yaml", Some(config_map("a", "git")))];
        let files = files
            .each_ref()
            .map(|(path, text)| (*path, text.as_deref()));
        let first = scene.app.commit(&files)?;
        scene.app.create(&scene.app.application()).await?;
        scene.converged(&first, &["ConfigMap/a"]).await?;
        scene
            .gate
            .swallow(|event| is_about(event, "hidden-hard", "a"));
        let hand = json!({"data": {"value": "hand"}});
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        eventually("it is swallowed", SOON, || async {
            Ok(match scene.gate.swallowed() {
                0 => Expectation::Pending("not yet".to_owned()),
                _ => Expectation::Met(()),
            })
        })
        .await?;
        let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        scene.app.cluster.patch(&scene.app.path(), &hard).await?;
        scene.app.value("a", Some("git")).await?;
        drop(agent);
        Ok(())
    });
}

/// The status is written before the wish is taken away, so an event that is late still holds it.
#[test]
fn a_wish_to_refresh_that_was_answered_does_not_come_back_with_a_late_event() {
    story(|lab| async move {
        let scene = Scene::of(lab, "late").await?;
        let agent = scene.agent().await?;
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&config_map("a", "git")))])?;
        scene.app.create(&scene.app.application()).await?;
        scene.converged(&first, &["ConfigMap/a"]).await?;
        scene.gate.swallow(|event| {
            let object = &event["object"];
            object["kind"] == "Application"
                && object["metadata"]["name"] == "late"
                && object["metadata"]["annotations"]["trimtab.dev/refresh"].is_null()
        });
        let before = agent.metric("trimtab_git_requests_total", &[]).await?;
        scene.app.repository.delete_branch("main")?;
        scene.app.refresh().await?;
        scene.app.condition("SourceError", "main").await?;
        scene.app.refreshed().await?;
        // It looks again for each of these, and has the late event since the first.
        for _ in 0..3 {
            let hand = json!({"data": {"value": "hand"}});
            scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
            scene.app.value("a", Some("git")).await?;
        }
        scene.rest().await?;
        let asked = agent.metric("trimtab_git_requests_total", &[]).await? - before;
        ensure!(asked == 1.0, "{asked} requests for one wish");
        drop(agent);
        Ok(())
    });
}

#[test]
fn what_controllers_write_of_the_status_asks_nothing() {
    story(|lab| async move {
        let scene = Scene::of(lab, "churn").await?;
        let agent = scene.agent().await?;
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 0\n  \
                   selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: \
                   web}}\n    spec: {containers: [{name: web, image: web}]}\n";
        let first = scene.app.commit(&[
            ("a.yaml", Some(&config_map("a", "git"))),
            ("web.yaml", Some(web)),
        ])?;
        scene.app.create(&scene.app.application()).await?;
        let names = ["ConfigMap/a", "Deployment/web"];
        scene.converged(&first, &names).await?;
        let before = scene.gate.total();
        let status = "/apis/apps/v1/namespaces/churn/deployments/web/status";
        for n in 1..=20 {
            let churn = json!({"status": {"collisionCount": n}});
            scene.app.cluster.patch(status, &churn).await?;
        }
        // It has seen these when it has seen what comes after.
        let hand = json!({"data": {"value": "hand"}});
        scene.app.cluster.patch(&scene.app.map("a"), &hand).await?;
        scene.app.value("a", Some("git")).await?;
        scene.converged(&first, &names).await?;
        let mut asked = scene.gate.since(before);
        asked.retain(|asked| {
            let about_a = asked.path.ends_with("/configmaps/a");
            let reports = asked.path.contains("/applications/") || asked.path.contains("/events");
            !(about_a || reports || asked.is_watch())
        });
        ensure!(asked.is_empty(), "{asked:?}");
        drop(agent);
        Ok(())
    });
}
