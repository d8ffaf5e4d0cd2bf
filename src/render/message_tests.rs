//! Errors that kustomize and helm make where no value of a Secret is quoted: all of what they say is
//! there to be read.

use serde_json::{Value, json};

use super::message::MASK;
use super::staged::{Staged, tools};

async fn said(files: &[(&str, &str)], source: Value) -> String {
    let staged = Staged::of(files);
    staged.render(source, &tools()).await.unwrap_err()
}

fn check(message: &str, expected: &[&str]) {
    assert!(!message.contains(MASK), "{message}");
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {k: v}\n";
const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: my-web, labels: {app: my-web}}\nspec: \
                          {template: {spec: {containers: [{name: web, image: nginx}]}}}\n";

#[tokio::test]
async fn kustomize_names_objects_files_and_fields() {
    for (kustomization, expected) in [
        (
            "resources: [s.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    \
             metadata: {name: other-settings}\n    data: {a: b}\n",
            &["ConfigMap.v1.[noGrp]/other-settings.[noNs]"][..],
        ),
        (
            "resources: [d.yaml]\npatches:\n- target: {kind: Deployment, name: my-web}\n  patch: |-\n    \
             - {op: remove, path: /spec/template/spec/volumes/0}\n",
            &["/spec/template/spec/volumes/0", "doc is missing path"],
        ),
        // What a label says as well is a name nevertheless.
        (
            "resources: [d.yaml, d.yaml]\n",
            &["already registered id: Deployment.v1.apps/my-web.[noNs]"],
        ),
        (
            "resources: [s.yaml, s.yaml]\n",
            &["already registered id: ConfigMap.v1.[noGrp]/settings.[noNs]"],
        ),
        (
            "configMapGenerator:\n- {name: settings, files: [app.conf]}\n",
            &["app.conf"],
        ),
        (
            "configMapGenerator:\n- {name: settings, envs: [app.env]}\n",
            &["app.env"],
        ),
        (
            "resources: [s.yaml, d.yaml]\nreplacements:\n- source: {kind: ConfigMap, name: settings, \
             fieldPath: data.missing}\n  targets: [{select: {kind: Deployment}, fieldPaths: \
             [spec.replicas]}]\n",
            &["ConfigMap.[noVer].[noGrp]/settings.[noNs]"],
        ),
        (
            "resources: [d.yaml]\npatches: [{path: patch.yaml}]\n",
            &["patch.yaml"],
        ),
        (
            "resources: [s.yaml]\nsortOptions: {order: wrong}\n",
            &["must be one of [fifo, legacy]"],
        ),
        ("resources: [unnamed.yaml]\n", &["missing metadata.name"]),
    ] {
        let files = [
            ("k/kustomization.yaml", kustomization),
            ("k/s.yaml", MAP),
            ("k/d.yaml", DEPLOYMENT),
            (
                "k/unnamed.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n",
            ),
        ];
        check(&said(&files, json!({"path": "k"})).await, expected);
    }
}

#[tokio::test]
async fn helm_names_charts_templates_and_fields() {
    let chart = "apiVersion: v2\nname: c\nversion: 1.0.0\n";
    let schema = r#"{"type": "object", "required": ["hostname"], "properties": {
        "replicas": {"enum": ["one", "three"]},
        "image": {"type": "object", "additionalProperties": false, "properties": {"tag": {}}}}}"#;
    for (chart, template, schema, expected) in [
        (
            chart,
            "a: {{ .Values.absent.deeper }}",
            "{}",
            &["nil pointer", "absent.deeper"][..],
        ),
        (
            chart,
            "a: {{ nosuchfunc 1 }}",
            "{}",
            &["function \"nosuchfunc\" not defined"],
        ),
        (
            chart,
            "a: {{ include \"c.labels\" . }}",
            "{}",
            &["no template \"c.labels\""],
        ),
        (
            chart,
            "a: {{ template \"c.name\" }}",
            "{}",
            &["template \"c.name\" not defined"],
        ),
        (
            chart,
            "{{ required \"image.tag is required\" .Values.tag }}",
            "{}",
            &["image.tag is"],
        ),
        (
            chart,
            "a: {{ if gt .Values.replicas 1 }}x{{ end }}",
            "{}",
            &["incompatible types"],
        ),
        (
            chart,
            "a: {{ .Values.replicas.count }}",
            "{}",
            &["evaluate field count"],
        ),
        (
            chart,
            "a: b",
            schema,
            &[
                "missing property 'hostname'",
                "/image",
                "'repository' not allowed",
                "'three'",
            ],
        ),
    ] {
        let files = [
            ("c/Chart.yaml", chart),
            ("c/values.schema.json", schema),
            ("c/templates/a.yaml", template),
            (
                "c/values.yaml",
                "replicas: two\nimage: {repository: nginx}\n",
            ),
        ];
        check(&said(&files, json!({"path": "c"})).await, expected);
    }
}

/// A chart that cannot be rendered at all says why.
#[tokio::test]
async fn what_is_wrong_with_a_chart_is_named() {
    let begin = "apiVersion: v2\nname: c\n";
    let needs = "version: 1.0.0\ndependencies:\n- {name: postgresql, version: 12.x.x, repository: \
                 \"https://charts.example.com\"}\n";
    for (chart, expected) in [
        (needs, &["postgresql", "charts/"][..]),
        ("", &["version is required"]),
        (
            "version: 1.0.0\ntype: library\n",
            &["library charts are not installable"],
        ),
    ] {
        let chart = format!("{begin}{chart}");
        let files = [
            ("c/Chart.yaml", chart.as_str()),
            ("c/templates/a.yaml", "a: b\n"),
        ];
        check(&said(&files, json!({"path": "c"})).await, expected);
    }
}
