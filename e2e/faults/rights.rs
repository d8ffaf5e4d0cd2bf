//! The agent's rights are taken away and given back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use super::away::{answers, as_of};
use crate::given::{SOON, config_map, story};
use crate::lab::agent::{ask, get};
use crate::lab::gate::{Asked, Side};
use crate::lab::{Agent, Expectation, eventually, visitor};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const NAMES: [&str; 2] = ["ConfigMap/a", "ConfigMap/b"];

/// A binding of a ClusterRole to the agent's account.
fn binding(name: &str, role: &str, home: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": home}],
    })
}

/// Waits until the agent's account may, or may not, change ConfigMaps.
async fn may(scene: &Scene, allowed: bool) -> Result<()> {
    let review = json!({"spec": {
        "user": format!("system:serviceaccount:{}:agent", scene.app.home),
        "resourceAttributes": {
            "namespace": scene.app.name, "verb": "patch", "resource": "configmaps",
        },
    }});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    eventually("the rights are as wanted", SOON, || async {
        let answer = scene.app.cluster.create(path, &review).await?;
        Ok(match answer["status"]["allowed"] == allowed {
            true => Expectation::Met(()),
            false => Expectation::Pending(answer["status"].to_string()),
        })
    })
    .await
}

/// What the agent says while it may do nothing: that all is as of before, and of no application that
/// it is in sync.
async fn says_that_it_knows_nothing_new(scene: &Scene, agent: &Agent, token: &str) -> Result<()> {
    answers(agent, 0.0).await?;
    let about = as_of(agent, token).await?;
    ensure!(about == (true, true), "it is as of before: {about:?}");
    let bearer = format!("Bearer {token}");
    let host = agent.people.to_string();
    let headers = [("authorization", bearer.as_str()), ("Host", host.as_str())];
    let (_, answer) = ask(agent.people, "GET", "/api/v1/about", &headers, b"").await?;
    let answer: Value = serde_json::from_str(&answer)?;
    let why = answer["asOf"]["why"].as_str().unwrap_or_default();
    ensure!(why.contains("forbidden"), "{answer}");
    let path = format!("/applications/{}/{}", scene.app.home, scene.app.name);
    for path in [format!("/api/v1{path}"), path] {
        let (status, answer) = ask(agent.people, "GET", &path, &headers, b"").await?;
        ensure!(
            status != 200 && !answer.contains("Synced"),
            "{path}: {status}: {answer}"
        );
    }
    // Deliveries go on being taken.
    for probe in ["/healthz", "/readyz"] {
        let (status, body) = get(agent.operations, probe).await?;
        ensure!(status == 200, "{probe}: {body}");
    }
    Ok(())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn in_the_middle_of_a_sync() {
    story(|lab| async move {
        let scene = Scene::of(lab, "rights").await?;
        let cluster = &scene.app.cluster;
        let home = scene.app.home.clone();
        let accounts = format!("/api/v1/namespaces/{home}/serviceaccounts");
        let account = json!({"metadata": {"name": "agent"}});
        cluster.create(&accounts, &account).await?;
        let token = json!({"spec": {}});
        let token = cluster
            .create(&format!("{accounts}/agent/token"), &token)
            .await?;
        let token = token["status"]["token"].as_str().context("a token")?;
        // What the agent needs for itself, and what it needs for what it applies.
        let own = json!({
            "metadata": {"name": "rights-own"},
            "rules": [
                {"apiGroups": ["trimtab.dev"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["*"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["apiextensions.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            ],
        });
        cluster
            .create(&format!("{RBAC}/clusterroles"), &own)
            .await?;
        let bindings = format!("{RBAC}/clusterrolebindings");
        for (name, role) in [
            ("rights-own", "rights-own"),
            ("rights-all", "cluster-admin"),
        ] {
            cluster
                .create(&bindings, &binding(name, role, &home))
                .await?;
        }
        may(&scene, true).await?;
        let agent = scene.agent_as(token, &scene.gate).await?;
        let (a, old) = (config_map("a", "0"), config_map("old", "0"));
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&a)), ("old.yaml", Some(&old))])?;
        scene.app.create(&scene.application()).await?;
        scene
            .converged(&first, &["ConfigMap/a", "ConfigMap/old"])
            .await?;

        let mut held = scene
            .gate
            .hold(1, Side::Before, Asked::is_write_of_an_object);
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let files = [
            ("a.yaml", Some(a.as_str())),
            ("b.yaml", Some(&b)),
            ("old.yaml", None),
        ];
        let second = scene.app.push(&agent, &files).await?;
        held.wait().await?;
        cluster.delete(&format!("{bindings}/rights-all")).await?;
        may(&scene, false).await?;
        held.release();
        let status = scene.app.condition("SyncError", "forbidden").await?;
        ensure!(status["sync"]["status"] == "OutOfSync", "{status}");
        scene.asks_at_most(40, Duration::from_secs(4)).await?;
        scene.app.value("old", Some("0")).await?;
        scene.inventory_holds_all().await?;
        scene.bystander_is_untouched().await?;
        cluster
            .create(&bindings, &binding("rights-all", "cluster-admin", &home))
            .await?;
        scene.converged(&second, &NAMES).await?;

        // Without any right it can write no status, says so elsewhere, and does no harm.
        visitor::create(cluster, "rights-visitor").await?;
        let visitor = visitor::token(cluster, "rights-visitor", "trimtab").await?;
        answers(&agent, 1.0).await?;
        let about = as_of(&agent, &visitor).await?;
        ensure!(about == (false, false), "it is as of now: {about:?}");
        for name in ["rights-all", "rights-own"] {
            cluster.delete(&format!("{bindings}/{name}")).await?;
        }
        may(&scene, false).await?;
        scene.gate.cut();
        let hand = json!({"data": {"value": "hand"}});
        cluster.patch(&scene.app.map("a"), &hand).await?;
        says_that_it_knows_nothing_new(&scene, &agent, &visitor).await?;
        scene.asks_at_most(60, Duration::from_secs(4)).await?;
        scene.inventory_holds_all().await?;
        scene.bystander_is_untouched().await?;
        for (name, role) in [
            ("rights-own", "rights-own"),
            ("rights-all", "cluster-admin"),
        ] {
            cluster
                .create(&bindings, &binding(name, role, &home))
                .await?;
        }
        scene.app.value("a", Some("1")).await?;
        scene.converged(&second, &NAMES).await?;
        answers(&agent, 1.0).await?;
        let about = as_of(&agent, &visitor).await?;
        ensure!(about == (false, false), "it is as of now again: {about:?}");
        Ok(())
    });
}
