//! Errors that kustomize and helm make about a Secret: they say where and what, and never a value.

use serde_json::{Value, json};

use super::staged::{Staged, tools};

/// What may not be in any message.
const CANARY: &str = "CANARY7f3a";

async fn message(files: &[(&str, &str)], source: Value) -> String {
    let replaced: Vec<(&str, String)> = files
        .iter()
        .map(|(path, text)| (*path, text.replace("CANARY", CANARY)))
        .collect();
    let files: Vec<_> = replaced
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let source = source.to_string().replace("CANARY", CANARY);
    let source = serde_json::from_str(&source).unwrap();
    Staged::of(&files)
        .render(source, &tools())
        .await
        .unwrap_err()
}

fn check(message: &str, expected: &[&str]) {
    assert!(!message.contains("CANARY"), "{message}");
    for part in ["horse", "battery"] {
        assert!(!message.contains(part), "{message}");
    }
    for word in expected {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: CANARY}\n";

#[tokio::test]
async fn of_kustomize() {
    for (kustomization, expected) in [
        (
            "resources: [s.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    \
             metadata: {name: s}\n    stringData:\n      k: CANARY horse\n     broken battery\n",
            &["kustomize failed", "patch"][..],
        ),
        (
            "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |-\n    \
             - {op: test, path: /stringData/k, value: CANARY2}\n",
            &["test", "/stringData/k"],
        ),
        (
            "secretGenerator:\n- name: s\n  literals: [CANARY horse battery]\n",
            &["literal"],
        ),
        (
            "secretGenerator:\n- name: s\n  literals: [a=CANARY, a=CANARY]\n",
            &["illegally repeats the key `a`"],
        ),
        (
            "secretGenerator:\n- {name: s, literals: [a=CANARY]}\n- {name: s, literals: [a=CANARY]}\n",
            &["kustomize failed"],
        ),
        ("resources: [broken.yaml]\n", &["broken.yaml"]),
        (
            "secretGenerator: CANARY horse battery\n",
            &["kustomize failed"],
        ),
        (
            "secretGenerator:\n- {name: s, literal: [a=CANARY]}\n",
            &["unknown field", "literal"],
        ),
    ] {
        let files = [
            ("k/kustomization.yaml", kustomization),
            ("k/s.yaml", SECRET),
            (
                "k/broken.yaml",
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  k: CANARY horse\n battery\n",
            ),
        ];
        check(&message(&files, json!({"path": "k"})).await, expected);
    }
}

#[tokio::test]
async fn of_helm() {
    let schema = r#"{"type": "object", "properties": {"password": {"pattern": "^[0-9]+$"}}}"#;
    for (template, schema, expected) in [
        (
            "{{ fail (printf \"the password %s is weak\" .Values.password) }}",
            "{}",
            &["templates/a.yaml:1:", "the password", "is weak"][..],
        ),
        (
            "{{ .Values.password | mustFromJson }}",
            "{}",
            &["templates/a.yaml:1:"],
        ),
        (
            "{{ .Values.password | b64dec | fail }}",
            "{}",
            &["templates/a.yaml:1:"],
        ),
        (
            "{{ mustToDate \"2006-01-02\" .Values.password }}",
            "{}",
            &["templates/a.yaml:1:"],
        ),
        (
            "{{ include .Values.password . }}",
            "{}",
            &["templates/a.yaml:1:", "template"],
        ),
        (
            "{{ index .Values.password \"a\" }}",
            "{}",
            &["templates/a.yaml:1:"],
        ),
        (
            "{{ .Values.password.deeper }}",
            "{}",
            &["templates/a.yaml:1:", "deeper"],
        ),
        ("{{ tpl .Values.code . }}", "{}", &["helm failed"]),
        (
            "a: {{ .Values.password }}: {{ .Values.phrase }}: x",
            "{}",
            &["templates/a.yaml", "YAML parse error"],
        ),
        (
            "{{ mustRegexMatch .Values.regex \"x\" }}",
            "{}",
            &["templates/a.yaml:1:"],
        ),
        ("a: b", schema, &["/password", "does not match pattern"]),
        (
            "{{ .Values.password | unclosed",
            "{}",
            &["templates/a.yaml:1"],
        ),
    ] {
        let files = [
            ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
            ("c/values.schema.json", schema),
            ("c/templates/a.yaml", template),
            ("c/values.yaml", "password: x\nphrase: y\n"),
        ];
        let values = json!({
            "password": "CANARY", "phrase": "CANARY horse battery", "code": "{{ CANARY horse }}",
            "regex": "[CANARY",
        });
        let source = json!({"path": "c", "helm": {"valuesObject": values}});
        check(&message(&files, source).await, expected);
    }
}

#[tokio::test]
async fn of_values() {
    let files = [
        ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("c/templates/a.yaml", "a: b\n"),
        ("v.yaml", "password: CANARY: horse battery\n"),
    ];
    for helm in [
        json!({"parameters": [{"name": "a[x]", "value": "CANARY horse"}]}),
        json!({"values": "CANARY horse battery"}),
        json!({"values": "password: CANARY: horse battery\n"}),
        json!({"valueFiles": ["../v.yaml"]}),
    ] {
        let source = json!({"path": "c", "helm": helm});
        check(&message(&files, source).await, &["helm failed"]);
    }
}
