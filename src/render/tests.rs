//! Renders of real directories with the real tools.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::*;

/// The tools that `hack/tools` built.
fn tools() -> Tools {
    let directory = std::env::var_os("TRIMTAB_TOOLS_BIN").map(PathBuf::from);
    let tools = Tools::find(directory.as_deref());
    assert!(
        tools.kustomize.is_some() && tools.helm.is_some(),
        "kustomize and helm are needed: run TRIMTAB_TOOLS_BIN=$(hack/tools) cargo test"
    );
    tools
}

async fn rendered(
    files: &[(&str, &str)],
    source: serde_json::Value,
    tools: &Tools,
) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let (stage, scratch) = (
        directory.path().join("stage"),
        directory.path().join("scratch"),
    );
    fs::create_dir(&scratch).unwrap();
    for (path, text) in files {
        let path = stage.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let source = serde_json::from_value(source).unwrap();
    let request = Request {
        stage: &stage,
        scratch: &scratch,
        source: &source,
        name: "app",
        namespace: "shop",
        kube_version: "1.36.3",
        timeout: Duration::from_secs(20),
        limits: YamlLimits {
            bytes: 1 << 20,
            objects: 100,
        },
    };
    match render(tools, &request).await {
        Ok((_, objects)) => Ok(objects
            .iter()
            .map(|object| object.key().to_string())
            .collect()),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(directory.path().to_str().unwrap()), "{text}");
            Err(text)
        }
    }
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";

#[tokio::test]
async fn directories() {
    let files = [
        ("a/one.yaml", MAP),
        (
            "a/two.json",
            r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}"#,
        ),
        (
            "a/skipped.yaml",
            "# +argocd:skip-file-rendering\nnot: [a manifest",
        ),
        (
            "a/sub/three.yml",
            "\u{feff}apiVersion: v1\r\nkind: Pod\r\nmetadata: {name: p}\r\n",
        ),
        ("a/notes.txt", "nothing"),
        ("b/kustomization.yaml", "resources: [x.yaml]\n"),
    ];
    let tools = Tools::default();
    let check = async |source, expected: &[&str]| {
        assert_eq!(rendered(&files, source, &tools).await.unwrap(), expected);
    };
    check(json!({"path": "a"}), &["ConfigMap/map", "Secret/s"]).await;
    check(
        json!({"path": "a", "directory": {"recurse": true}}),
        &["ConfigMap/map", "Pod/p", "Secret/s"],
    )
    .await;
    check(
        json!({"path": "a", "directory": {"recurse": true, "include": "{one.yaml,sub/*}"}}),
        &["ConfigMap/map", "Pod/p"],
    )
    .await;
    check(
        json!({"path": "a", "directory": {"include": "*", "exclude": "*.json"}}),
        &["ConfigMap/map"],
    )
    .await;
    let missing = rendered(&files, json!({"path": "c"}), &tools).await;
    assert_eq!(missing.unwrap_err(), "c does not exist in the repository");
    let plain = json!({"path": "b", "directory": {"recurse": true}});
    let no_kind = rendered(&files, plain, &tools).await.unwrap_err();
    assert_eq!(
        no_kind,
        "b/kustomization.yaml: document 1: a manifest without `apiVersion`"
    );
}

#[tokio::test]
async fn kustomizations() {
    let files = [
        (
            "a/kustomization.yaml",
            "resources: [map.yaml]\nnamePrefix: x-\n",
        ),
        ("a/map.yaml", MAP),
    ];
    assert_eq!(
        rendered(&files, json!({"path": "a"}), &tools())
            .await
            .unwrap(),
        ["ConfigMap/x-map"]
    );
    let files = [("a/kustomization.yaml", "resources: [missing.yaml]\n")];
    let error = rendered(&files, json!({"path": "a"}), &tools())
        .await
        .unwrap_err();
    assert!(error.contains("missing.yaml"), "{error}");
    let error = rendered(&files, json!({"path": "a"}), &Tools::default())
        .await
        .unwrap_err();
    assert!(error.starts_with("kustomize is needed"), "{error}");
}

/// `helm: {}` and its like are what a form leaves behind: they choose among what is there.
#[test]
fn what_says_nothing_chooses_among_what_is_there() {
    let recurse = json!({"recurse": true});
    let values = json!({"values": "a: 1"});
    let (chart, kustomization) = ("Chart.yaml", "kustomization.yaml");
    for (source, files, expected) in [
        (json!({}), &[][..], Tool::Directory),
        (json!({}), &[chart, kustomization], Tool::Helm),
        (json!({"directory": {}}), &[kustomization], Tool::Kustomize),
        (
            json!({"directory": recurse}),
            &[kustomization],
            Tool::Directory,
        ),
        (
            json!({"directory": recurse, "kustomize": {}}),
            &[kustomization],
            Tool::Kustomize,
        ),
        (
            json!({"directory": recurse, "kustomize": {}}),
            &[chart],
            Tool::Directory,
        ),
        (
            json!({"directory": recurse, "helm": {}}),
            &[chart],
            Tool::Helm,
        ),
        (json!({"helm": {}}), &[kustomization], Tool::Kustomize),
        (json!({"helm": {}}), &[], Tool::Directory),
        (json!({"helm": values}), &[kustomization], Tool::Helm),
        (
            json!({"helm": values, "kustomize": {}}),
            &[chart, kustomization],
            Tool::Helm,
        ),
        (
            json!({"kustomize": {}}),
            &[chart, kustomization],
            Tool::Kustomize,
        ),
        (json!({"kustomize": {}}), &[chart], Tool::Helm),
    ] {
        let read = serde_json::from_value(source.clone()).unwrap();
        let found = detect(&read, |name| files.contains(&name));
        assert_eq!(found, expected, "{source} with {files:?}");
    }
}

#[tokio::test]
async fn charts() {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-{{ .Release.Namespace }}-{{ .Values.a }}\"}\n";
    let test =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: t, annotations: {\"helm.sh/hook\": test}}\n";
    let files = [
        ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("c/values.yaml", "a: 1\n"),
        ("c/templates/map.yaml", template),
        ("c/templates/test.yaml", test),
        ("v/values.yaml", "a: 2\n"),
    ];
    let check = async |helm: serde_json::Value, expected: &str| {
        let source = json!({"path": "c", "helm": helm});
        assert_eq!(
            rendered(&files, source, &tools()).await.unwrap(),
            [expected]
        );
    };
    check(json!({}), "ConfigMap/app-shop-1").await;
    check(
        json!({"releaseName": "r", "namespace": "n"}),
        "ConfigMap/r-n-1",
    )
    .await;
    check(
        json!({"valueFiles": ["../v/values.yaml"]}),
        "ConfigMap/app-shop-2",
    )
    .await;
    check(
        json!({"valueFiles": ["../v/values.yaml"], "values": "a: 3"}),
        "ConfigMap/app-shop-3",
    )
    .await;
    check(
        json!({"values": "a: 3", "valuesObject": {"a": 4}}),
        "ConfigMap/app-shop-4",
    )
    .await;
    check(
        json!({"valuesObject": {"a": 4}, "parameters": [{"name": "a", "value": "5"}]}),
        "ConfigMap/app-shop-5",
    )
    .await;
    let source = json!({"path": "c", "helm": {"valueFiles": ["nope.yaml"]}});
    let error = rendered(&files, source, &tools()).await.unwrap_err();
    assert_eq!(error, "c/nope.yaml does not exist in the repository");
    let source = json!({"path": "c", "helm": {"releaseName": "--debug"}});
    assert!(rendered(&files, source, &tools()).await.is_err());
}

/// A script that stands in for kustomize.
async fn with_script(script: &str) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kustomize");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let tools = Tools {
        kustomize: Some(path),
        helm: None,
    };
    let files = [("a/kustomization.yaml", "resources: []\n")];
    rendered(&files, json!({"path": "a"}), &tools).await
}

#[tokio::test]
async fn partial_output_is_no_output() {
    let object = "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a}\\n'";
    assert_eq!(with_script(object).await.unwrap(), ["ConfigMap/a"]);
    for (script, expected) in [
        (format!("{object}; echo no >&2; exit 1"), "exit code 1): no"),
        (
            format!("{object}; printf -- '---\\nkind: [\\n'"),
            "document 2",
        ),
        (
            format!("{object}; printf -- '---\\napiVersion: v1\\nkind: Pod\\n'"),
            "without metadata.name",
        ),
        (
            "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaa; done".to_owned(),
            "more than 1048576 bytes",
        ),
        (
            "echo \"$PATH$KUBERNETES_SERVICE_HOST\" >&2; exit 9".to_owned(),
            "no-programs",
        ),
    ] {
        let error = with_script(&script).await.unwrap_err();
        assert!(error.contains(expected), "{script}: {error}");
    }
}

#[test]
fn the_digest_names_everything_but_the_revision() {
    let source =
        |value: serde_json::Value| -> ApplicationSource { serde_json::from_value(value).unwrap() };
    let base = source(json!({"path": "a", "targetRevision": "main"}));
    let inputs = [("a".to_owned(), Some("1".to_owned()))];
    let first = digest(&base, &inputs, "n", "ns", "1.36");
    let moved = source(json!({"path": "a", "targetRevision": "other"}));
    assert_eq!(first, digest(&moved, &inputs, "n", "ns", "1.36"));
    let helm = source(json!({"path": "a", "helm": {"values": "a: 1"}}));
    let others = [
        digest(&helm, &inputs, "n", "ns", "1.36"),
        digest(&base, &[("a".to_owned(), None)], "n", "ns", "1.36"),
        digest(&base, &inputs, "m", "ns", "1.36"),
        digest(&base, &inputs, "n", "other", "1.36"),
        digest(&base, &inputs, "n", "ns", "1.37"),
    ];
    assert!(others.iter().all(|other| *other != first));
}
