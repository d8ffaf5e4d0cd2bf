//! In which order a sync writes, and where it may stop.

use anyhow::ensure;
use serde_json::json;

use super::Scene;
use crate::given::{SOON, config_map, story};
use crate::lab::gate::{Asked, Side};
use crate::lab::{Expectation, eventually};

/// A port that one Service alone can have.
const PORT: &str = "{type: NodePort, ports: [{port: 80, nodePort: 30981}]}";

fn account(name: &str) -> String {
    format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}}}\n")
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

/// The last part of the paths of the writes that were made of an object, in their order.
fn written(scene: &Scene, since: usize, method: &str) -> Vec<String> {
    let asked = scene.gate.since(since).into_iter();
    asked
        .filter(|asked| asked.is_write_of_an_object() && asked.method == method)
        .filter(|asked| {
            asked
                .path
                .starts_with(&format!("/api/v1/namespaces/{}/", scene.app.name))
        })
        .map(|asked| asked.path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn what_is_pruned_goes_in_the_reverse_order_of_need() {
    story(|lab| async move {
        let scene = Scene::of(lab, "reversed").await?;
        let agent = scene.agent().await?;
        let (c, s, m) = (
            account("c-account"),
            service("a-service"),
            config_map("b-map", "1"),
        );
        let first = scene.app.commit(&[
            ("keep.yaml", Some(&config_map("keep", "1"))),
            ("c.yaml", Some(&c)),
            ("s.yaml", Some(&s)),
            ("m.yaml", Some(&m)),
        ])?;
        scene.app.create(&scene.application()).await?;
        let names = ["ConfigMap/keep", "ConfigMap/b-map", "Service/a-service"];
        scene.converged(&first, &names).await?;
        let applied = written(&scene, 0, "PATCH");
        ensure!(applied.ends_with(&["a-service".to_owned()]), "{applied:?}");
        let before = scene.gate.total();
        let gone = [("c.yaml", None), ("s.yaml", None), ("m.yaml", None)];
        let second = scene.app.push(&agent, &gone).await?;
        scene.converged(&second, &["ConfigMap/keep"]).await?;
        let deleted = written(&scene, before, "DELETE");
        ensure!(
            deleted == ["a-service", "b-map", "c-account"],
            "{deleted:?}"
        );
        Ok(())
    });
}

#[test]
fn a_newer_commit_takes_over_between_two_batches() {
    story(|lab| async move {
        let scene = Scene::of(lab, "overtaken").await?;
        let agent = scene.agent().await?;
        scene.begun().await?;
        let before = scene.gate.total();
        let write = |asked: &Asked| asked.is_write_of_an_object();
        let mut held = scene.gate.hold(1, Side::Before, write);
        let (a, late) = (config_map("a", "2"), service("late"));
        let files = [("a.yaml", Some(a.as_str())), ("late.yaml", Some(&late))];
        scene.app.push(&agent, &files).await?;
        let asked = held.wait().await?;
        ensure!(asked.path.ends_with("/configmaps/a"), "{asked:?}");
        let third = config_map("a", "3");
        let files = [("a.yaml", Some(third.as_str())), ("late.yaml", None)];
        let git = async || agent.metric("trimtab_git_requests_total", &[]).await;
        let fetched = git().await? + 1.0;
        let newest = scene.app.push(&agent, &files).await?;
        eventually("the newer commit is fetched", SOON, || async {
            Ok(match git().await? {
                requests if requests >= fetched => Expectation::Met(()),
                requests => Expectation::Pending(format!("{requests} of {fetched} requests")),
            })
        })
        .await?;
        held.release();
        scene.converged(&newest, &["ConfigMap/a"]).await?;
        scene.app.value("a", Some("3")).await?;
        let applied = written(&scene, before, "PATCH");
        ensure!(!applied.contains(&"late".to_owned()), "{applied:?}");
        Ok(())
    });
}

#[test]
fn what_another_application_may_take_over_is_waited_for() {
    story(|lab| async move {
        let scene = Scene::of(lab, "may-move").await?;
        let agent = scene.agent().await?;
        let app = &scene.app;
        let push = async |name: &str, value: &str| {
            let web = service(name).replace("{ports: [{port: 80}]}", PORT);
            let a = config_map("a", value);
            let files = [("web.yaml", Some(web.as_str())), ("a.yaml", Some(&a))];
            app.push(&agent, &files).await
        };
        let first = push("web", "1").await?;
        app.create(&scene.application()).await?;
        app.synced(&first).await?;
        let mut other = app.application();
        other["metadata"]["name"] = json!("may-move-other");
        other["spec"]["syncPolicy"] = json!({});
        other["spec"]["destination"]["namespace"] = json!(app.home);
        app.create(&other).await?;
        // It says what it desires at once, and then hears of the next commit while it is held up.
        for (from, name, before, value) in
            [("web", "shop", "1b", "2"), ("shop", "again", "2b", "2b")]
        {
            let of_other = |asked: &Asked| {
                asked.is_write() && asked.path.contains("/applications/may-move-other/status")
            };
            let mut held = scene.gate.hold(1, Side::Before, of_other);
            let before = push(from, before).await?;
            held.wait().await?;
            app.synced(&before).await?;
            let commit_id = push(name, value).await?;
            app.becomes("waits", |status| {
                let message = status["operationState"]["message"].as_str();
                message.is_some_and(|it| it.starts_with("waiting to know whether another"))
            })
            .await?;
            held.release();
            app.in_one_sync(&commit_id).await?;
        }
        app.value("a", Some("2b")).await
    });
}
