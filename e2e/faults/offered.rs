//! What charts are told of the cluster, and when that changes.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::given::{SOON, Story, story};
use crate::lab::{Expectation, eventually};

const CHART: &str = "apiVersion: v2\nname: chart\nversion: 1.0.0\n";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A map `map` whose value is made by a template.
fn template(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map}}\ndata:\n  value: {{{{ {value} | quote }}}}\n"
    )
}

fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("probes.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Probe", "plural": "probes"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}],
        },
    })
}

async fn chart(app: &Story, value: &str) -> Result<String> {
    let template = template(value);
    app.commit(&[
        ("Chart.yaml", Some(CHART)),
        ("templates/map.yaml", Some(&template)),
    ])
}

#[test]
fn a_chart_knows_the_kinds_of_the_cluster_and_hears_of_new_ones() {
    story(|lab| async move {
        let scene = Scene::of(lab, "chart-kinds").await?;
        let _agent = scene.agent().await?;
        let group = "chart-kinds.example.com";
        let has = |what: &str| format!("(.Capabilities.APIVersions.Has \"{what}\")");
        let asks = format!(
            "printf \"%v %v %v %v\" {} {} {} {}",
            has("policy/v1/PodDisruptionBudget"),
            has("policy/v0/PodDisruptionBudget"),
            has(&format!("{group}/v1")),
            has(&format!("{group}/v1/Probe")),
        );
        let commit_id = chart(&scene.app, &asks).await?;
        scene.app.create(&scene.application()).await?;
        scene.converged(&commit_id, &["ConfigMap/map"]).await?;
        scene
            .app
            .value("map", Some("true false false false"))
            .await?;
        // One that asks nothing is not rendered anew, which would give another text.
        let beside = scene.neighbour().await?;
        let plain = beside.commit(&[
            ("map.yaml", None),
            ("Chart.yaml", Some(CHART)),
            ("templates/map.yaml", Some(&template("randAlphaNum 8"))),
        ])?;
        beside.refresh().await?;
        beside.synced(&plain).await?;
        let text = async || {
            let map = beside.cluster.get(&beside.map("map")).await?;
            anyhow::Ok(map["data"]["value"].clone())
        };
        let before = text().await?;
        let cluster = &scene.app.cluster;
        cluster.create(DEFINITIONS, &definition(group)).await?;
        scene.app.value("map", Some("true false true true")).await?;
        let name = format!("{DEFINITIONS}/probes.{group}");
        cluster.delete(&name).await?;
        scene
            .app
            .value("map", Some("true false false false"))
            .await?;
        ensure!(
            text().await? == before,
            "a chart was rendered that asks nothing"
        );
        scene.converged(&commit_id, &["ConfigMap/map"]).await
    });
}

#[test]
fn a_chart_hears_of_another_version_of_the_api_server() {
    story(|lab| async move {
        let scene = Scene::of(lab, "chart-version").await?;
        let agent = scene.agent().await?;
        let commit_id = chart(&scene.app, ".Capabilities.KubeVersion.Version").await?;
        scene.app.create(&scene.application()).await?;
        scene.converged(&commit_id, &["ConfigMap/map"]).await?;
        let mut version = scene.app.cluster.get("/version").await?;
        let served = version["gitVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        scene.app.value("map", Some(&served)).await?;
        version["gitVersion"] = json!("v1.99.0");
        scene.gate.say("/version", version);
        // It goes away, and comes back as another one.
        scene.gate.close();
        eventually("a watch that failed", SOON, || async {
            let log = agent.process.log();
            let failed = log.contains("the watch of Applications failed");
            Ok(match failed {
                true => Expectation::Met(()),
                false => Expectation::Pending(agent.process.tail(3)),
            })
        })
        .await?;
        scene.gate.resume();
        scene.app.value("map", Some("v1.99.0")).await?;
        scene.converged(&commit_id, &["ConfigMap/map"]).await
    });
}
