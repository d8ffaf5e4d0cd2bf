//! Renders of real directories with the real tools.

use std::fs;

use serde_json::{Value, json};

use super::staged::{Staged, tools};
use super::*;

/// The keys of the objects that a source comes to.
async fn rendered(
    files: &[(&str, &str)],
    source: Value,
    tools: &Tools,
) -> Result<Vec<String>, String> {
    keys(&Staged::of(files), source, tools).await
}

async fn keys(staged: &Staged, source: Value, tools: &Tools) -> Result<Vec<String>, String> {
    let rendered = staged.render(source, tools).await?;
    let objects = rendered.objects.iter();
    Ok(objects.map(|object| object.key().to_string()).collect())
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
        ("d/a.yaml", MAP),
        ("d/b.yaml", "kind: Pod\n"),
        ("e/a.yaml", MAP),
        ("e/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("e/list.yaml", "- a\n- b\n"),
        ("e/package.json", "{\"name\": \"a\"}"),
        ("e/text.yml", "nothing but text\n"),
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
        json!({"path": "a", "directory": {"recurse": true, "include": "{one.yaml,*three*}"}}),
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
    check(json!({"path": "b", "directory": {"recurse": true}}), &[]).await;
    check(
        json!({"path": "e", "directory": {"recurse": true}}),
        &["ConfigMap/map"],
    )
    .await;
    let no_kind = rendered(
        &files,
        json!({"path": "d", "directory": {"recurse": true}}),
        &tools,
    )
    .await
    .unwrap_err();
    assert_eq!(
        no_kind,
        "d/b.yaml: document 1: a manifest without `apiVersion`"
    );
}

#[tokio::test]
async fn broken_manifests_are_refused_by_file_and_fault() {
    let tools = Tools::default();
    for (text, expected) in [
        ("a: [", "does not parse"),
        ("metadata: {name: a}\nkind: Pod\n", "without `apiVersion`"),
        ("metadata: {name: a}\napiVersion: v1\n", "without `kind`"),
        (
            "a: b\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
            "document 1: a manifest without",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, name: b}\n",
            "line 3: the key `name` is there twice in Pod/b",
        ),
    ] {
        let error = rendered(&[("f/a.yaml", text)], json!({"path": "f"}), &tools).await;
        let error = error.unwrap_err();
        assert!(
            error.starts_with("f/a.yaml: ") && error.contains(expected),
            "{error}"
        );
    }
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
    let check = async |helm: Value, expected: &str| {
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

const CHART: &str = "apiVersion: v2\nname: c\nversion: 1.0.0\n";
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";

#[tokio::test]
async fn charts_know_what_the_cluster_serves() {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Capabilities.KubeVersion.Minor }}\
        -{{ .Capabilities.APIVersions.Has \"example.com/v1\" }}\
        -{{ .Capabilities.APIVersions.Has \"example.com/v1/Thing\" }}\
        -{{ .Capabilities.APIVersions.Has \"example.com/v1/Other\" }}\"}\n";
    let template = template.replace("\"{{", "'{{").replace("}}\"}", "}}'}");
    let files = [("c/Chart.yaml", CHART), ("c/templates/a.yaml", &template)];
    let found = rendered(&files, json!({"path": "c"}), &tools()).await;
    assert_eq!(found.unwrap(), ["ConfigMap/36-true-true-false"]);
}

#[tokio::test]
async fn git_lfs_is_refused_where_it_is_read() {
    let refused =
        async |files: &[(&str, &str)], source| rendered(files, source, &tools()).await.unwrap_err();
    let lfs = |path: &str| format!("{path} is stored in Git LFS, which is not supported");
    let files = [("a/map.yaml", POINTER)];
    assert_eq!(
        refused(&files, json!({"path": "a"})).await,
        lfs("a/map.yaml")
    );
    let files = [("a/map.yaml", MAP), ("a/b.png", POINTER)];
    let found = rendered(&files, json!({"path": "a"}), &tools()).await;
    assert_eq!(found.unwrap(), ["ConfigMap/map"]);
    let generator = "configMapGenerator: [{name: m, files: [b.bin]}]\n";
    let files = [("a/kustomization.yaml", generator), ("a/b.bin", POINTER)];
    assert_eq!(refused(&files, json!({"path": "a"})).await, lfs("a/b.bin"));
    let chart = |path: &'static str| {
        [
            ("c/Chart.yaml", CHART),
            ("c/templates/a.yaml", MAP),
            (path, POINTER),
        ]
    };
    for path in [
        "c/values.yaml",
        "c/templates/b.yaml",
        "c/charts/d.tgz",
        "c/crds/x.yaml",
    ] {
        assert_eq!(refused(&chart(path), json!({"path": "c"})).await, lfs(path));
    }
    let read = chart("c/files/x.bin");
    assert!(
        rendered(&read, json!({"path": "c"}), &tools())
            .await
            .is_ok()
    );
    let source = json!({"path": "c", "helm": {"values": "a: '{{ .Files.Get \"files/x.bin\" }}'"}});
    assert_eq!(refused(&read, source).await, lfs("c/files/x.bin"));
    let values = [("c/Chart.yaml", CHART), ("v/a.yaml", POINTER)];
    let source = json!({"path": "c", "helm": {"valueFiles": ["../v/a.yaml"]}});
    assert_eq!(
        refused(&values, source).await,
        lfs("c/../v/a.yaml").replace("c/../", "")
    );
}

#[tokio::test]
async fn a_missing_chart_is_missed_when_it_is_taken_in() {
    let sub = |dependency: &str| {
        format!("apiVersion: v2\nname: sub\nversion: 1.0.0\ndependencies: [{dependency}]\n")
    };
    let check = async |dependency: &str, values: &str, expected: &str| {
        let chart = sub(dependency);
        // Helm judges conditions below a chart that names its dependencies, and there only.
        let whole = format!("{CHART}dependencies: [{{name: sub, version: 1.0.0}}]\n");
        let files = [
            ("c/Chart.yaml", whole.as_str()),
            ("c/templates/a.yaml", MAP),
            ("c/values.yaml", values),
            ("c/charts/sub/Chart.yaml", &chart),
        ];
        let found = rendered(&files, json!({"path": "c"}), &tools()).await;
        let missing = "c/charts/sub needs the chart db, which is not in its directory charts";
        match found {
            Ok(found) => assert_eq!(
                ("there", found),
                (expected, vec!["ConfigMap/map".to_owned()])
            ),
            Err(error) => {
                assert!(error.starts_with(missing), "{error}");
                assert_eq!("missing", expected, "{dependency} {values}");
            }
        }
    };
    let db = |more: &str| format!("{{name: db, version: ~1.2, repository: \"\"{more}}}");
    check(&db(""), "", "missing").await;
    check(
        &db(", condition: db.use"),
        "sub: {db: {use: false}}",
        "there",
    )
    .await;
    check(
        &db(", condition: db.use"),
        "sub: {db: {use: true}}",
        "missing",
    )
    .await;
    check(&db(", condition: db.use"), "", "missing").await;
    check(&db(", tags: [data]"), "tags: {data: false}", "there").await;
    check(&db(", tags: [data]"), "tags: {data: true}", "missing").await;
    check(
        &db(", alias: store, condition: store.use"),
        "sub: {store: {use: false}}",
        "there",
    )
    .await;
    check(
        &db(", alias: store, condition: store.use"),
        "sub: {store: {use: true}}",
        "missing",
    )
    .await;
}

#[tokio::test]
async fn links_of_a_checkout_are_followed_inside_it() {
    use std::os::unix::fs::symlink;
    let staged = Staged::of(&[
        ("lib/sub/map.yaml", MAP),
        ("a/module/map.yaml", MAP),
        ("a/module/.git/HEAD", ""),
    ]);
    let stage = staged.stage();
    symlink("../lib/sub", stage.join("a/sub")).unwrap();
    let all = json!({"path": "a", "directory": {"recurse": true, "exclude": "module/*"}});
    let render = async |source: &Value| keys(&staged, source.clone(), &Tools::default()).await;
    assert_eq!(render(&all).await.unwrap(), ["ConfigMap/map"]);
    let module = json!({"path": "a", "directory": {"recurse": true}});
    let problem = "a/module is a submodule, which is not supported";
    assert_eq!(render(&module).await.unwrap_err(), problem);
    symlink("..", stage.join("lib/sub/up")).unwrap();
    let problem = "a/sub/up/sub leads back to a directory that it is in";
    assert_eq!(render(&all).await.unwrap_err(), problem);
    fs::remove_file(stage.join("lib/sub/up")).unwrap();
    symlink("gone", stage.join("lib/sub/gone.yaml")).unwrap();
    let error = render(&all).await.unwrap_err();
    assert!(
        error.starts_with("a/sub/gone.yaml is a link that leads nowhere"),
        "{error}"
    );
    fs::remove_file(stage.join("lib/sub/gone.yaml")).unwrap();
    symlink("/etc/hostname", stage.join("a/out.yaml")).unwrap();
    let problem = "a/out.yaml is a link that leads out of the repository";
    assert_eq!(render(&all).await.unwrap_err(), problem);
}

/// A script that stands in for kustomize.
async fn with_script(script: &str) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kustomize");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let tools = Tools {
        kustomize: Some(path),
        ..Tools::default()
    };
    let mut staged = Staged::of(&[("a/kustomization.yaml", "resources: []\n")]);
    staged.limits.bytes = 1 << 20;
    keys(&staged, json!({"path": "a"}), &tools).await
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
            format!(
                "{object}; printf -- '---\\napiVersion: v1\\nkind: Pod\\nmetadata: {{name: n}}\\n'"
            ),
            "a Pod whose metadata.name is not read as a text: put it in quotes",
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
    let source = |value: Value| -> ApplicationSource { serde_json::from_value(value).unwrap() };
    let base = source(json!({"path": "a", "targetRevision": "main"}));
    let inputs = [("a".to_owned(), Some("1".to_owned()))];
    let first = digest(&base, &inputs, "n", "ns", "1.36", &[]);
    let moved = source(json!({"path": "a", "targetRevision": "other"}));
    assert_eq!(first, digest(&moved, &inputs, "n", "ns", "1.36", &[]));
    let helm = source(json!({"path": "a", "helm": {"values": "a: 1"}}));
    let others = [
        digest(&helm, &inputs, "n", "ns", "1.36", &[]),
        digest(&base, &[("a".to_owned(), None)], "n", "ns", "1.36", &[]),
        digest(&base, &inputs, "m", "ns", "1.36", &[]),
        digest(&base, &inputs, "n", "other", "1.36", &[]),
        digest(&base, &inputs, "n", "ns", "1.37", &[]),
    ];
    assert!(others.iter().all(|other| *other != first));
}

/// What reaches elsewhere is refused before the tool starts, wherever it is written.
#[tokio::test]
async fn what_plugins_and_schemas_fetch_is_refused() {
    let far = "https://example.com/x";
    let generator = format!(
        "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {{name: g}}\nfiles: ['{far}']\n"
    );
    let inline = format!("generators:\n- |-\n  {}\n", generator.replace('\n', "\n  "));
    let schema = format!("{{\"properties\": {{\"a\": {{\"$ref\": \"{far}\"}}}}}}");
    let chart = ("k/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");
    let sub = (
        "k/charts/s/Chart.yaml",
        "apiVersion: v2\nname: s\nversion: 1.0.0\n",
    );
    let kustomization = "k/kustomization.yaml";
    for files in [
        &[
            (kustomization, "generators: [g.yaml]\n"),
            ("k/g.yaml", &*generator),
        ][..],
        &[(kustomization, &*inline)],
        &[
            (kustomization, "transformers: [t]\n"),
            ("k/t/kustomization.yaml", "resources: [g.yaml]\n"),
            ("k/t/g.yaml", &generator),
        ],
        &[chart, ("k/values.schema.json", &schema)],
        &[chart, sub, ("k/charts/s/values.schema.json", &schema)],
    ] {
        let error = rendered(files, json!({"path": "k"}), &tools()).await;
        let error = error.unwrap_err();
        assert!(
            error.contains(far) && error.contains("not fetched"),
            "{error}"
        );
    }
    // What they name in the repository is there for them, wherever it is.
    let files = [
        (kustomization, "generators: [g/g.yaml]\n"),
        (
            "k/g/g.yaml",
            "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nfiles: [f.txt]\n",
        ),
        ("k/f.txt", "text\n"),
    ];
    let keys = rendered(&files, json!({"path": "k"}), &tools())
        .await
        .unwrap();
    assert!(keys[0].starts_with("ConfigMap/g-"), "{keys:?}");
}
