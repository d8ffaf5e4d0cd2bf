//! What the API server refuses: it is named in a condition, costs nobody else anything, deletes
//! nothing, and is over when its cause is.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Agent, Cluster, Expectation, eventually};

const WINDOW: Duration = Duration::from_secs(4);
/// Attempts come every second or two, with a question, a write and a status each.
const BOUND: usize = 40;

/// An Application with `a` and `old`, in sync.
async fn in_sync(scene: &Scene) -> Result<()> {
    let (a, old) = (config_map("a", "0"), config_map("old", "0"));
    let files = [("a.yaml", Some(a.as_str())), ("old.yaml", Some(&old))];
    let first = scene.app.commit(&files)?;
    scene.app.create(&scene.application()).await?;
    scene
        .converged(&first, &["ConfigMap/a", "ConfigMap/old"])
        .await
}

/// Pushes a commit that changes `a`, leaves `old` out, and brings one more manifest.
async fn push(scene: &Scene, agent: &Agent, more: &str) -> Result<String> {
    let a = config_map("a", "1");
    let files = [
        ("a.yaml", Some(a.as_str())),
        ("old.yaml", None),
        ("more.yaml", Some(more)),
    ];
    scene.app.push(agent, &files).await
}

/// What holds while something is refused: the condition says why, nothing is deleted, there is no
/// hot loop, and another Application of the same agent goes on as ever.
async fn refused(scene: &Scene, agent: &Agent, beside: &Story, why: &str) -> Result<()> {
    let status = scene.app.condition("SyncError", why).await?;
    ensure!(status["sync"]["status"] == "OutOfSync", "{status}");
    scene.asks_at_most(BOUND, WINDOW).await?;
    scene.app.value("old", Some("0")).await?;
    scene.inventory_holds_all().await?;
    scene.bystander_is_untouched().await?;
    let value = scene.gate.total().to_string();
    let commit_id = beside
        .push(agent, &[("map.yaml", Some(&config_map("map", &value)))])
        .await?;
    beside.value("map", Some(&value)).await?;
    beside.synced(&commit_id).await.map(drop)
}

/// Tries a write as administrator until its outcome is as wanted: what decides about writes learns
/// of its rules with some delay.
async fn until(cluster: &Cluster, path: &str, object: &Value, accepted: bool) -> Result<()> {
    let path = format!("{path}?dryRun=All");
    let what = if accepted { "accepted" } else { "refused" };
    eventually(&format!("a write is {what}"), SOON, || async {
        let outcome = cluster.create(&path, object).await;
        Ok(match outcome.is_ok() == accepted {
            true => Expectation::Met(()),
            false => Expectation::Pending(format!("{outcome:?}")),
        })
    })
    .await
}

#[test]
fn an_admission_policy_says_no() {
    story(|lab| async move {
        let scene = Scene::of(lab, "policy").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        let cluster = &scene.app.cluster;
        let root = "/apis/admissionregistration.k8s.io/v1";
        let policies = format!("{root}/validatingadmissionpolicies");
        let bindings = format!("{root}/validatingadmissionpolicybindings");
        cluster
            .create(
                &policies,
                &json!({
                    "metadata": {"name": "policy"},
                    "spec": {
                        "matchConstraints": {"resourceRules": [{
                            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                            "operations": ["CREATE", "UPDATE"],
                        }]},
                        "validations": [{
                            "expression": "object.metadata.name != 'more'",
                            "message": "the policy of the house",
                        }],
                    },
                }),
            )
            .await?;
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "policy"}});
        let binding = json!({
            "metadata": {"name": "policy"},
            "spec": {
                "policyName": "policy", "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": selector},
            },
        });
        cluster.create(&bindings, &binding).await?;
        let more = json!({"metadata": {"name": "more"}});
        let maps = "/api/v1/namespaces/policy/configmaps";
        until(cluster, maps, &more, false).await?;
        let commit_id = push(&scene, &agent, &config_map("more", "1")).await?;
        refused(&scene, &agent, &beside, "the policy of the house").await?;
        // All was asked about before the first write.
        scene.app.value("a", Some("0")).await?;
        cluster.delete(&format!("{bindings}/policy")).await?;
        cluster.delete(&format!("{policies}/policy")).await?;
        until(cluster, maps, &more, true).await?;
        scene
            .converged(&commit_id, &["ConfigMap/a", "ConfigMap/more"])
            .await
    });
}

#[test]
fn a_webhook_that_decides_is_down() {
    story(|lab| async move {
        let scene = Scene::of(lab, "webhook").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        let cluster = &scene.app.cluster;
        let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "webhook"}});
        let hook = json!({
            "metadata": {"name": "webhook"},
            "webhooks": [{
                "name": "nobody.example.com", "failurePolicy": "Fail", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "namespaceSelector": selector,
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"],
                           "resources": ["configmaps"]}],
            }],
        });
        cluster.create(hooks, &hook).await?;
        let more = json!({"metadata": {"name": "more"}});
        let maps = "/api/v1/namespaces/webhook/configmaps";
        until(cluster, maps, &more, false).await?;
        let commit_id = push(&scene, &agent, &config_map("more", "1")).await?;
        refused(&scene, &agent, &beside, "nobody.example.com").await?;
        cluster.delete(&format!("{hooks}/webhook")).await?;
        until(cluster, maps, &more, true).await?;
        scene
            .converged(&commit_id, &["ConfigMap/a", "ConfigMap/more"])
            .await
    });
}

#[test]
fn a_webhook_that_converts_is_down() {
    story(|lab| async move {
        let scene = Scene::of(lab, "converting").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        let version = |name: &str, storage: bool| {
            json!({
                "name": name, "served": true, "storage": storage,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            })
        };
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "turns.converted.example.com"},
            "spec": {
                "group": "converted.example.com", "scope": "Namespaced",
                "names": {"plural": "turns", "singular": "turn", "kind": "Turn"},
                "versions": [version("v1", true), version("v2", false)],
                "conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://127.0.0.1:1/convert"},
                }},
            },
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let cluster = &scene.app.cluster;
        cluster.create(definitions, &definition).await?;
        let turn = "apiVersion: converted.example.com/v2\nkind: Turn\nmetadata: {name: turn}\n";
        let second = push(&scene, &agent, turn).await?;
        refused(&scene, &agent, &beside, "conversion webhook").await?;
        scene.app.value("a", Some("0")).await?;
        let path = format!("{definitions}/turns.converted.example.com");
        let none = json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}});
        cluster.patch(&path, &none).await?;
        scene.converged(&second, &["ConfigMap/a"]).await?;
        let turn = "/apis/converted.example.com/v2/namespaces/converting/turns/turn";
        cluster.get(turn).await.map(drop)
    });
}

#[test]
fn a_field_cannot_change() {
    story(|lab| async move {
        let scene = Scene::of(lab, "selector").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        let deployment = |app: &str| {
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  \
                 selector: {{matchLabels: {{app: {app}}}}}\n  template:\n    metadata: {{labels: \
                 {{app: {app}}}}}\n    spec: {{containers: [{{name: web, image: web}}]}}\n"
            )
        };
        let one = deployment("one");
        let second = scene.app.push(&agent, &[("more.yaml", Some(&one))]).await?;
        let names = ["ConfigMap/a", "ConfigMap/old", "Deployment/web"];
        scene.converged(&second, &names).await?;
        let path = "/apis/apps/v1/namespaces/selector/deployments/web";
        let uid = scene.app.cluster.get(path).await?["metadata"]["uid"].clone();
        push(&scene, &agent, &deployment("two")).await?;
        refused(&scene, &agent, &beside, "immutable").await?;
        let live = scene.app.cluster.get(path).await?;
        ensure!(live["metadata"]["uid"] == uid, "it was created again");
        let fourth = push(&scene, &agent, &one).await?;
        scene
            .converged(&fourth, &["ConfigMap/a", "Deployment/web"])
            .await?;
        let live = scene.app.cluster.get(path).await?;
        ensure!(live["metadata"]["uid"] == uid, "it was created again");
        Ok(())
    });
}

#[test]
fn an_object_is_too_large() {
    story(|lab| async move {
        let scene = Scene::of(lab, "large").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        // More than a ConfigMap may hold, then more than a request may.
        for (size, why) in [(1_100_000, "1048576"), (3_500_000, "413")] {
            push(&scene, &agent, &config_map("more", &"x".repeat(size))).await?;
            refused(&scene, &agent, &beside, why).await?;
        }
        let commit_id = push(&scene, &agent, &config_map("more", "small")).await?;
        scene
            .converged(&commit_id, &["ConfigMap/a", "ConfigMap/more"])
            .await
    });
}

#[test]
fn a_quota_is_used_up() {
    story(|lab| async move {
        let scene = Scene::of(lab, "quota").await?;
        let agent = scene.agent().await?;
        in_sync(&scene).await?;
        let beside = scene.neighbour().await?;
        let cluster = &scene.app.cluster;
        let quotas = "/api/v1/namespaces/quota/resourcequotas";
        let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"services": "1"}}});
        cluster.create(quotas, &quota).await?;
        let path = format!("{quotas}/few");
        eventually("the quota is counted", SOON, || async {
            let quota = cluster.get(&path).await?;
            Ok(match quota["status"]["used"]["services"].as_str() {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending(quota["status"].to_string()),
            })
        })
        .await?;
        let service = |name: &str| {
            format!(
                "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
\
                 spec: {{ports: [{{port: 80}}]}}
"
            )
        };
        let both = format!("{}---\n{}", service("one"), service("two"));
        let commit_id = push(&scene, &agent, &both).await?;
        refused(&scene, &agent, &beside, "exceeded quota: few").await?;
        let more = json!({"spec": {"hard": {"services": "5"}}});
        cluster.patch(&path, &more).await?;
        scene
            .converged(&commit_id, &["ConfigMap/a", "Service/one", "Service/two"])
            .await
    });
}
