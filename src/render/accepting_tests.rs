//! What kustomize takes as a kustomization is never refused for how it is written: each of many is
//! given to the real tool alone, and through our reading of it.

use serde_json::json;

use super::staged::{Staged, tools};
use super::*;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: b}\n";

/// Ways to write `resources: [map.yaml]`, and what may stand beside it. Not all are taken.
const TEXTS: [&str; 40] = [
    "resources: [map.yaml]\n",
    "resources:\n- map.yaml",
    "resources:\n  - map.yaml\n---\n",
    "---\nresources: [map.yaml]\n",
    "--- # words\nresources: [map.yaml]\n...\n",
    "---\nresources: [map.yaml]\n---\nnamespace: b\n",
    "---\n---\nresources: [map.yaml]\n",
    "# words\n\nresources: [map.yaml]\n",
    "%YAML 1.1\n---\nresources: [map.yaml]\n",
    "%YAML 1.2\n---\nresources: [map.yaml]\n",
    "\u{feff}resources: [map.yaml]\n",
    "resources: [map.yaml]\r\nnamePrefix: x-\r\n",
    "{\"resources\": [\"map.yaml\"]}",
    "{\"resources\":\n\t[\"map.yaml\"]}",
    "{resources: [\tmap.yaml\t]}",
    "{resources: [map.yaml,]}",
    "Resources: [map.yaml]\n",
    "resources: [map.yaml]\nresources: [map.yaml]\n",
    "namespace: x\nnamespace: y\nresources: [map.yaml]\n",
    "resources: ['map.yaml']\n",
    "resources: [\"map\\u002eyaml\"]\n",
    "resources: [./map.yaml]\n",
    "resources:\n- >-\n  map.yaml\n",
    "resources: !!seq [!!str map.yaml]\n",
    "resources: &r [map.yaml]\n",
    "commonLabels: &l {a: b}\ncommonAnnotations: *l\nresources: [map.yaml]\n",
    "commonLabels:\n  <<: {a: b}\n  c: d\nresources: [map.yaml]\n",
    "? resources\n: [map.yaml]\n",
    "\"resources\": [map.yaml]\n",
    "resources: [map.yaml]\nbases: []\n",
    "resources: [map.yaml]\npatches: null\n",
    "resources: [map.yaml]\npatchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: map}\n  data: {c: d}\n",
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [map.yaml]\n",
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: a}\nresources: [map.yaml]\n",
    "resources: [map.yaml]\nconfigMapGenerator:\n- name: g\n  literals: [a=1, 'b=x: y']\n",
    "resources: [map.yaml]\nbuildMetadata: [originAnnotations]\n",
    "resources: [map.yaml]\nunknown: 1\n",
    "resources: map.yaml\n",
    "resources:\n\t- map.yaml\n",
    "resources: [map.yaml\n",
];

#[tokio::test]
async fn what_kustomize_takes_is_not_refused() {
    let tools = tools();
    let (mut taken, mut wrong) = (0, Vec::new());
    for text in TEXTS {
        let files = [("k/kustomization.yaml", text), ("k/map.yaml", MAP)];
        let staged = Staged::of(&files);
        let theirs = exec::run(exec::Command {
            program: tools.kustomize.clone().unwrap(),
            arguments: vec!["build".into(), ".".into()],
            environment: vec![("HOME".into(), "/nonexistent".into())],
            directory: staged.stage().join("k"),
            timeout: Duration::from_secs(60),
            output_limit: 1 << 20,
            confinement: None,
            priority: Priority::Usual,
        });
        let theirs = theirs.await.is_ok();
        let ours = staged.render(json!({"path": "k"}), &tools).await;
        taken += usize::from(theirs);
        match (theirs, ours) {
            (true, Err(why)) => wrong.push(format!("{text:?}: {why}")),
            (false, Ok(_)) => wrong.push(format!("{text:?} is taken by us alone")),
            (true, Ok(rendered)) if rendered.objects.is_empty() => {
                wrong.push(format!("{text:?}: nothing is read"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(taken > 25, "{taken} are taken at all");
}
