//! Values arrive as the user's own tools read them: nulls, texts, ports, repeated keys, files that
//! hold no manifest, and Secrets that are quoted by nobody.

use serde_json::{Value, json};

use anyhow::{Result, ensure};

use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::lab::agent::ask;
use crate::lab::{Agent, AgentOptions, Expectation, eventually, visitor};

const CHART: &str = "apiVersion: v2\nname: c\nversion: 1.0.0\n";

/// A definition of a namespaced kind in `<group>.example.com` with this schema of its spec.
async fn define(app: &Story, group: &str, kind: &str, spec: Value) -> Result<()> {
    let plural = format!("{}s", kind.to_lowercase());
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}.example.com")},
        "spec": {
            "group": format!("{group}.example.com"), "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {"spec": spec}},
            }}],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    app.cluster.create(path, &definition).await?;
    Ok(())
}

#[test]
fn a_null_arrives_where_it_means_something() {
    story(|lab| async move {
        let app = lab.given("nulls").await?;
        let open = json!({"x-kubernetes-preserve-unknown-fields": true});
        let spec = json!({"type": "object", "properties": {"values": open}});
        define(&app, "nulls", "Release", spec).await?;
        let child = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "nulls-child"},
            "spec": {
                "project": "default",
                "source": {"repoURL": app.url, "path": "chart", "targetRevision": "main",
                    "helm": {"valuesObject": {"limits": {"cpu": null, "memory": "64Mi"}}}},
                "destination": {"namespace": "nulls"},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            },
        });
        let release = "apiVersion: nulls.example.com/v1\nkind: Release\nmetadata: {name: api}\n\
            spec: {values: {limits: {cpu: null, memory: 64Mi}}}\n";
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, labels: {a: null}}\n\
            data: {value: null, other: x}\n";
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: result}\n\
            data: {value: {{ toJson .Values.limits | quote }}}\n";
        let commit_id = app.repository.commit(
            "main",
            &[
                ("app/child.yaml", Some(&child.to_string())),
                ("app/release.yaml", Some(release)),
                ("app/map.yaml", Some(map)),
                ("chart/Chart.yaml", Some(CHART)),
                (
                    "chart/values.yaml",
                    Some("limits: {cpu: 200m, memory: 32Mi}\n"),
                ),
                ("chart/templates/c.yaml", Some(template)),
            ],
            "nulls",
        )?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        app.value("result", Some(r#"{"memory":"64Mi"}"#)).await?;
        let release = "/apis/nulls.example.com/v1/namespaces/nulls/releases/api";
        let release = app.cluster.get(release).await?;
        let limits = &release["spec"]["values"]["limits"];
        assert_eq!(limits, &json!({"cpu": null, "memory": "64Mi"}));
        let map = app.cluster.get(&app.map("map")).await?;
        assert_eq!(map["data"], json!({"value": "", "other": "x"}));
        assert_eq!(map["metadata"]["labels"]["a"], "");
        // What was sent is what is there: nothing is done again.
        app.refresh().await?;
        app.refreshed().await?;
        let again = app.cluster.get(&app.map("map")).await?;
        let version = |map: &Value| map["metadata"]["resourceVersion"].clone();
        assert_eq!(version(&map), version(&again));
        Ok(())
    });
}

#[test]
fn a_custom_resource_keeps_the_shape_of_its_own_ports() {
    story(|lab| async move {
        let app = lab.given("own-ports").await?;
        let port = json!({"type": "object", "properties": {
            "number": {"type": "integer"}, "name": {"type": "string"},
        }});
        let container = json!({"type": "object", "properties": {
            "name": {"type": "string"}, "ports": {"type": "array", "items": port},
        }});
        let spec = json!({"type": "object", "properties": {
            "containers": {"type": "array", "items": container},
        }});
        define(&app, "ports", "Workload", spec).await?;
        let workload = "apiVersion: ports.example.com/v1\nkind: Workload\nmetadata: {name: api}\n\
            spec:\n  containers:\n  - name: api\n    ports: [{number: 8080, name: http}]\n";
        let commit_id = app.commit(&[("w.yaml", Some(workload))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let path = "/apis/ports.example.com/v1/namespaces/own-ports/workloads/api";
        let port = app.cluster.get(path).await?["spec"]["containers"][0]["ports"][0].take();
        assert_eq!(port, json!({"number": 8080, "name": "http"}));
        Ok(())
    });
}

#[test]
fn texts_that_look_like_something_else_are_texts() {
    story(|lab| async move {
        let app = lab.given("texts").await?;
        let map = |name: &str, text: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {text}}}\n"
            )
        };
        let plain = [
            ("commit", "12e4567", "12e4567"),
            ("true", "tRUE", "tRUE"),
            ("on", "oN", "oN"),
            ("no", "nO", "nO"),
            ("next-line", "\"a\\Nb\"", "a\u{85}b"),
            ("delete", "\"a\\x7fb\"", "a\u{7f}b"),
            ("separator", "\"a \\L b\\Pc\"", "a \u{2028} b\u{2029}c"),
        ];
        let files: Vec<_> = plain
            .iter()
            .map(|(name, text, _)| (format!("{name}.yaml"), map(&format!("m-{name}"), text)))
            .collect();
        let mut all: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let keys = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keys}\n\
            data: {y: a, 0644: b, 'on': c, tRUE: d}\n";
        let stream = "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"j1\"}}\n\
            {\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"j2\"}}\n";
        all.extend([("keys.yaml", Some(keys)), ("stream.json", Some(stream))]);
        let commit_id = app.commit(&all)?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        for (name, _, expected) in &plain {
            app.value(&format!("m-{name}"), Some(expected)).await?;
        }
        let keys = app.cluster.get(&app.map("keys")).await?["data"].take();
        // As kubectl reads them.
        assert_eq!(
            keys,
            json!({"true": "a", "420": "b", "on": "c", "tRUE": "d"})
        );
        for name in ["j1", "j2"] {
            assert!(app.cluster.find(&app.map(name)).await?.is_some(), "{name}");
        }
        Ok(())
    });
}

#[test]
fn what_kustomize_prints_without_quotes_is_a_text() {
    story(|lab| async move {
        let app = lab.given("kustomized-texts").await?;
        let kustomization = "namespace: x\nconfigMapGenerator:\n\
            - {name: a, literals: [value=12e4567], options: {disableNameSuffixHash: true}}\n\
            - {name: b, literals: [\"value=a\u{2028}b\"], options: {disableNameSuffixHash: true}}\n\
            namespace: kustomized-texts\n---\nresources: [nowhere.yaml]\n---\n";
        let commit_id = app.commit(&[("kustomization.yaml", Some(kustomization))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        app.value("a", Some("12e4567")).await?;
        app.value("b", Some("a\u{2028}b")).await?;
        app.condition("RepeatedKeyWarning", "the key `namespace` is there twice")
            .await?;
        Ok(())
    });
}

#[test]
fn of_a_key_that_is_there_twice_the_last_counts_and_is_named() {
    story(|lab| async move {
        let app = lab.given("repeated-keys").await?;
        let second = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: second\n  labels:\n    \
            app.kubernetes.io/name: a\n    app.kubernetes.io/name: b\ndata: {value: \"1\"}\n";
        let third = second.replace("second", "third").replace(": b\n", ": a\n");
        let commit_id = app.commit(&[
            ("Chart.yaml", Some(CHART)),
            ("templates/a.yaml", Some(&config_map("first", "1"))),
            ("templates/b.yaml", Some(second)),
            ("templates/c.yaml", Some(&third)),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let status = app
            .condition("RepeatedKeyWarning", "c/templates/b.yaml")
            .await?;
        let conditions = status["conditions"].to_string();
        for part in [
            "app.kubernetes.io/name",
            "ConfigMap/second",
            // The same value twice is no other matter.
            "ConfigMap/third",
            "the last one counts",
        ] {
            assert!(conditions.contains(part), "{conditions}");
        }
        let map = app.cluster.get(&app.map("second")).await?;
        assert_eq!(map["metadata"]["labels"]["app.kubernetes.io/name"], "b");
        // The same as a plain file is refused, in our words.
        app.push(
            &lab.agent,
            &[
                ("Chart.yaml", None),
                ("templates/a.yaml", None),
                ("templates/b.yaml", None),
                ("templates/c.yaml", None),
                ("second.yaml", Some(second)),
            ],
        )
        .await?;
        app.condition(
            "ComparisonError",
            "app/second.yaml: line 7: the key `app.kubernetes.io/name` is there twice in ConfigMap/second",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn files_without_manifests_are_left_out_and_counted() {
    story(|lab| async move {
        let app = lab.given("other-files").await?;
        let commit_id = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("values.yaml", Some("replicas: 3\n")),
            ("list.yml", Some("- a\n- b\n")),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let status = app.condition("SkippedFilesWarning", "2 files").await?;
        let conditions = status["conditions"].to_string();
        for file in ["app/values.yaml", "app/list.yml"] {
            assert!(conditions.contains(file), "{conditions}");
        }
        app.push(&lab.agent, &[("values.yaml", Some("replicas: [\n"))])
            .await?;
        app.condition(
            "ComparisonError",
            "app/values.yaml: document 1 does not parse",
        )
        .await?;
        app.value("a", Some("1")).await?;
        Ok(())
    });
}

/// An agent that logs every line, as for somebody who looks for a fault.
async fn talkative_agent(lab: &Lab, home: &str) -> Result<Agent> {
    let options = AgentOptions {
        name: format!("agent-{home}"),
        namespace: home.to_owned(),
        arguments: vec![
            "--no-install-crd".to_owned(),
            "--log-level=trace".to_owned(),
        ],
        ..AgentOptions::new(binary())
    };
    Agent::start(&lab.guardian, &lab.control_plane, &options).await
}

/// What the Secrets of the story below hold.
const VALUES: [&str; 2] = ["canary-s", "7134998"];

/// The API's answers and the pages about an application quote no value; those that tell of the fault
/// do tell of it.
async fn is_shown_without_values(
    app: &Story,
    agent: &Agent,
    token: &str,
    type_: &str,
) -> Result<()> {
    let bearer = format!("Bearer {token}");
    let host = agent.people.to_string();
    let headers = [("authorization", bearer.as_str()), ("Host", host.as_str())];
    let path = format!("/applications/{}/{}", app.home, app.name);
    for (page, tells) in [
        (format!("/api/v1{path}"), true),
        (format!("/api/v1{path}/events"), false),
        (format!("/api/v1{path}/diff"), false),
        (format!("/api/v1{path}/history"), false),
        ("/api/v1/applications".to_owned(), false),
        (path.clone(), true),
        (format!("{path}/events"), true),
        (format!("{path}/diff"), true),
        (format!("{path}/manifest"), true),
        ("/".to_owned(), false),
    ] {
        let (status, text) = ask(agent.people, "GET", &page, &headers, b"").await?;
        let known = VALUES.iter().find(|value| text.contains(**value));
        ensure!(known.is_none(), "{page} has {known:?}: {text}");
        if tells {
            ensure!(status == 200, "{page}: {status}: {text}");
            // As a word of the API, or of people.
            let words = ["does not render", "did not succeed", "failed", type_];
            ensure!(words.iter().any(|it| text.contains(it)), "{page}: {text}");
        }
    }
    Ok(())
}

/// The Events of a namespace come to tell of these, and quote no value.
async fn events_tell_without_values(app: &Story, texts: &[&str]) -> Result<()> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", app.home);
    eventually("the Events are written", SOON, || async {
        let events = app.cluster.get(&path).await?["items"].to_string();
        let known = VALUES.iter().find(|value| events.contains(**value));
        ensure!(known.is_none(), "an Event has {known:?}: {events}");
        let missing: Vec<_> = texts
            .iter()
            .filter(|text| !events.contains(**text))
            .collect();
        Ok(if missing.is_empty() {
            Expectation::Met(())
        } else {
            Expectation::Pending(format!("{missing:?} are not in {events}"))
        })
    })
    .await
}

#[test]
fn nobody_quotes_a_secret() {
    story(|lab| async move {
        let app = lab.given_in("quoted", "quoted-home").await?;
        let agent = talkative_agent(lab, "quoted-home").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        visitor::create(&app.cluster, "quoted-visitor").await?;
        let token = visitor::token(&app.cluster, "quoted-visitor", "trimtab").await?;
        let secret =
            |field: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{field}\n");
        let patch = "resources: [s.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    \
            metadata: {name: s}\n    stringData:\n      k: canary-s1\n     broken\n";
        let good = secret("stringData: {k: canary-s2}");
        let (base64, number) = (
            secret("data: {key1: canary-s3!}"),
            secret("data: {key1: 7134998}"),
        );
        let (unknown, key) = (
            secret("canary: canary-s4"),
            secret("stringData: {'key 1': canary-s5}"),
        );
        let chart = [
            ("Chart.yaml", Some(CHART)),
            ("values.yaml", Some("password: canary-s6\n")),
            (
                "templates/s.yaml",
                Some("{{ fail (printf \"%s is weak\" .Values.password) }}"),
            ),
        ];
        for (files, type_, expected) in [
            (
                &[
                    ("kustomization.yaml", Some(patch)),
                    ("s.yaml", Some(good.as_str())),
                ][..],
                "ComparisonError",
                "unable to parse SM or JSON patch",
            ),
            (&chart[..], "ComparisonError", "templates/s.yaml:1:"),
            (
                &[("s.yaml", Some(base64.as_str()))][..],
                "SyncError",
                "illegal base64 data",
            ),
            (
                &[("s.yaml", Some(number.as_str()))][..],
                "SyncError",
                ".data.key1",
            ),
            (
                &[("s.yaml", Some(unknown.as_str()))][..],
                "SyncError",
                "field not declared in schema",
            ),
            (
                &[("s.yaml", Some(key.as_str()))][..],
                "SyncError",
                "a valid config key",
            ),
        ] {
            app.push(&agent, files).await?;
            let status = app.condition(type_, expected).await?;
            for value in VALUES {
                assert!(!status.to_string().contains(value), "{status}");
            }
            is_shown_without_values(&app, &agent, &token, type_).await?;
            let gone: Vec<_> = files.iter().map(|(path, _)| (*path, None)).collect();
            let good = app.push(&agent, &gone).await?;
            app.synced(&good).await?;
        }
        let log = agent.process.log();
        assert!(
            log.contains("TRACE") || log.contains("DEBUG"),
            "its details are there"
        );
        assert!(!VALUES.iter().any(|value| log.contains(value)));
        let texts = ["illegal base64 data", ".data.key1", "a valid config key"];
        events_tell_without_values(&app, &texts).await
    });
}
