//! Definitions of kinds that come and go together with their objects.

use anyhow::Result;
use serde_json::json;

use super::Scene;
use crate::given::{SOON, config_map, story};
use crate::lab::{Expectation, eventually};

fn definition(plural: &str, kind: &str) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.faults.example.com")},
        "spec": {
            "group": "faults.example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                }}},
            }],
        },
    })
    .to_string()
}

fn object(kind: &str, name: &str, size: u64) -> String {
    json!({
        "apiVersion": "faults.example.com/v1", "kind": kind,
        "metadata": {"name": name}, "size": size,
    })
    .to_string()
}

async fn size(scene: &Scene, path: &str, size: u64) -> Result<()> {
    eventually(&format!("{path} has size {size}"), SOON * 2, || async {
        let live = scene.app.cluster.find(path).await?;
        Ok(match &live {
            Some(live) if live["size"] == size => Expectation::Met(()),
            _ => Expectation::Pending(format!("{live:?}; {}", scene.app.status().await?)),
        })
    })
    .await
}

#[test]
fn a_definition_removed_by_hand_comes_back_with_its_objects() {
    story(|lab| async move {
        let scene = Scene::of(lab, "gadgets").await?;
        let agent = scene.agent().await?;
        let definition = definition("gadgets", "Gadget");
        let (one, two) = (object("Gadget", "one", 1), object("Gadget", "two", 2));
        let first = scene.app.commit(&[
            ("definition.json", Some(&definition)),
            ("one.json", Some(&one)),
            ("two.json", Some(&two)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        scene.app.create(&scene.application()).await?;
        scene.converged(&first, &["ConfigMap/map"]).await?;
        let objects = "/apis/faults.example.com/v1/namespaces/gadgets/gadgets";
        size(&scene, &format!("{objects}/one"), 1).await?;
        let path =
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.faults.example.com";
        let cluster = &scene.app.cluster;
        let uid = cluster.get(path).await?["metadata"]["uid"].clone();
        cluster.delete(path).await?;
        eventually("it is another one or none", SOON, || async {
            let live = cluster.find(path).await?;
            Ok(match live.filter(|live| live["metadata"]["uid"] == uid) {
                Some(live) => Expectation::Pending(live["status"].to_string()),
                None => Expectation::Met(()),
            })
        })
        .await?;
        for (name, wanted) in [("one", 1), ("two", 2)] {
            size(&scene, &format!("{objects}/{name}"), wanted).await?;
        }
        scene.converged(&first, &["ConfigMap/map"]).await?;
        // And what is changed then arrives.
        let third = object("Gadget", "one", 3);
        let second = scene
            .app
            .push(&agent, &[("one.json", Some(&third))])
            .await?;
        size(&scene, &format!("{objects}/one"), 3).await?;
        scene.converged(&second, &["ConfigMap/map"]).await
    });
}
