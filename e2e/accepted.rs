//! What tools that write whole objects get through with is applied as well: items of a list that
//! are there twice, nulls that a kind does not take; and what a refusal of the API server leaves
//! open is said.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Waits until the Application is Synced at a commit, whatever its health.
async fn in_sync(app: &Story, commit_id: &str) -> Result<Value> {
    app.becomes("Synced", |status| {
        status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit_id
    })
    .await
}

fn condition(status: &Value, type_: &str) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|it| it["type"] == type_);
    let message = found.next().and_then(|it| it["message"].as_str());
    message.unwrap_or_default().to_owned()
}

/// A Deployment with two of everything that may be there twice.
fn twice(last: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      imagePullSecrets: [{{name: pull}}, {{name: pull}}]
      hostAliases: [{{ip: 10.0.0.1, hostnames: [a]}}, {{ip: 10.0.0.1, hostnames: [b]}}]
      containers:
      - name: web
        image: web
        env: [{{name: A, value: first}}, {{name: B, value: b}}, {{name: A, value: {last}}}]
        ports: [{{containerPort: 80, name: http}}, {{containerPort: 80, name: web}}]
      - name: side
        image: side
        env: [{{name: A, value: x}}, {{name: A, value: z}}]
"
    )
}

const ACCOUNT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\nsecrets: [{name: \
                       a}, {name: a}]\nimagePullSecrets: [{name: p}, {name: p}]\n";

/// A hook that is done when it is there.
const HOOK: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: before\n  annotations: \
                    {argocd.argoproj.io/hook: PreSync}\nsecrets: [{name: a}, {name: a}]\n";

#[test]
fn of_items_that_are_there_twice_the_last_one_counts() {
    story(|lab| async move {
        let app = lab.given("twice").await?;
        let first = app.commit(&[
            ("web.yaml", Some(&twice("last"))),
            ("account.yaml", Some(ACCOUNT)),
            ("hook.yaml", Some(HOOK)),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        let status = in_sync(&app, &first).await?;
        let path = "/apis/apps/v1/namespaces/twice/deployments/web";
        let live = app.cluster.get(path).await?;
        let pod = &live["spec"]["template"]["spec"];
        let env = json!([{"name": "B", "value": "b"}, {"name": "A", "value": "last"}]);
        ensure!(pod["containers"][0]["env"] == env, "{pod}");
        let port = json!([{"containerPort": 80, "name": "web", "protocol": "TCP"}]);
        ensure!(pod["containers"][0]["ports"] == port, "{pod}");
        ensure!(
            pod["containers"][1]["env"] == json!([{"name": "A", "value": "z"}]),
            "{pod}"
        );
        ensure!(
            pod["imagePullSecrets"] == json!([{"name": "pull"}]),
            "{pod}"
        );
        let aliases = json!([{"ip": "10.0.0.1", "hostnames": ["b"]}]);
        ensure!(pod["hostAliases"] == aliases, "{pod}");
        let account = app
            .cluster
            .get("/api/v1/namespaces/twice/serviceaccounts/web")
            .await?;
        ensure!(account["secrets"] == json!([{"name": "a"}]), "{account}");
        let said = condition(&status, "RepeatedItemWarning");
        for words in [
            "web",
            "containers[name=web].env[name=A]",
            "the last one counts",
        ] {
            ensure!(said.contains(words), "{said}");
        }
        // It stays so: no drift, and nothing is written by a look at all of it.
        let version = live["metadata"]["resourceVersion"].clone();
        app.refreshed().await?;
        let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        app.cluster.patch(&app.path(), &hard).await?;
        app.refreshed().await?;
        in_sync(&app, &first).await?;
        let now = app.cluster.get(path).await?;
        ensure!(now["metadata"]["resourceVersion"] == version, "{now}");
        // Somebody's change goes, as of any other.
        let replicas = json!({"spec": {"replicas": 1}});
        app.cluster.patch(path, &replicas).await?;
        eventually("as in Git", SOON, || async {
            let live = app.cluster.get(path).await?;
            Ok(match live["spec"]["replicas"] == 0 {
                true => Expectation::Met(()),
                false => Expectation::Pending(live["spec"].to_string()),
            })
        })
        .await?;
        // Another value, and then one that is there once.
        let second = app
            .push(&lab.agent, &[("web.yaml", Some(&twice("later")))])
            .await?;
        in_sync(&app, &second).await?;
        let live = app.cluster.get(path).await?;
        let env = &live["spec"]["template"]["spec"]["containers"][0]["env"][1];
        ensure!(env["value"] == "later", "{env}");
        let third = app
            .push(
                &lab.agent,
                &[(
                    "web.yaml",
                    Some(&twice("later").replace("{name: A, value: first}, ", "")),
                )],
            )
            .await?;
        let status = in_sync(&app, &third).await?;
        let said = condition(&status, "RepeatedItemWarning");
        ensure!(!said.contains("containers[name=web].env"), "{said}");
        Ok(())
    });
}

#[test]
fn what_may_not_be_there_twice_is_refused() {
    story(|lab| async move {
        let app = lab.given("named-twice").await?;
        let web = twice("a").replace("name: side\n        image", "name: web\n        image");
        app.commit(&[("web.yaml", Some(&web))])?;
        app.create(&app.application()).await?;
        let status = app
            .condition("SyncError", "Duplicate value: \"web\"")
            .await?;
        ensure!(status["sync"]["status"] == "OutOfSync", "{status}");
        let path = "/apis/apps/v1/namespaces/named-twice/deployments/web";
        ensure!(app.cluster.find(path).await?.is_none(), "it was applied");
        Ok(())
    });
}

/// A definition with these versions (the last is stored) and fields of the spec.
fn gates(group: &str, versions: &[&str], fields: &Value) -> String {
    let last = versions.len() - 1;
    let versions = versions.iter().enumerate().map(|(at, name)| {
        let spec = json!({"type": "object", "properties": fields});
        json!({"name": name, "served": true, "storage": at == last, "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": spec}},
        }})
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gates.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions.collect::<Vec<_>>(),
            "names": {"kind": "Gate", "plural": "gates", "singular": "gate", "listKind": "GateList"},
        },
    })
    .to_string()
}

fn gate(group: &str, version: &str, spec: &Value) -> String {
    json!({
        "apiVersion": format!("{group}/{version}"), "kind": "Gate", "metadata": {"name": "main"},
        "spec": spec,
    })
    .to_string()
}

#[test]
fn a_null_that_the_kind_does_not_take_is_left_out() {
    story(|lab| async move {
        let app = lab.given("refused-nulls").await?;
        let group = "nulls.example.com";
        let fields = json!({
            "tolerations": {"type": "array", "items": {"type": "object"}},
            "free": {"type": "string", "nullable": true},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "size": {"x-kubernetes-int-or-string": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {
                "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
            }},
        });
        let spec = json!({
            "tolerations": null, "free": null, "mode": null, "size": null,
            "labels": {"a.b/c": null, "d": "e"},
            "list": [{"a": "1"}, {"a": "2", "b": null}],
        });
        let first = app.commit(&[
            ("crd.yaml", Some(&gates(group, &["v1"], &fields))),
            ("gate.yaml", Some(&gate(group, "v1", &spec))),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        let status = in_sync(&app, &first).await?;
        let path = format!("/apis/{group}/v1/namespaces/{}/gates/main", app.name);
        let live = app.cluster.get(&path).await?;
        let expected = json!({
            "free": null, "labels": {"d": "e"}, "list": [{"a": "1"}, {"a": "2"}],
        });
        ensure!(live["spec"] == expected, "{live}");
        let stored = status["stored"].to_string();
        ensure!(stored.contains("spec.tolerations"), "{stored}");
        // With the definition there, and another commit.
        let second = app
            .push(
                &lab.agent,
                &[
                    ("a.yaml", Some(&config_map("a", "2"))),
                    (
                        "gate.yaml",
                        Some(&gate(
                            group,
                            "v1",
                            &json!({"tolerations": null, "mode": "a"}),
                        )),
                    ),
                ],
            )
            .await?;
        in_sync(&app, &second).await?;
        let live = app.cluster.get(&path).await?;
        ensure!(live["spec"] == json!({"mode": "a"}), "{live}");
        app.value("a", Some("2")).await
    });
}

#[test]
fn the_keys_whose_values_are_no_base64_are_named() {
    story(|lab| async move {
        let app = lab.given("base64").await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
            "data": {"password": "hunter2!", "user": "YQ==", "token": "also plain"},
        });
        app.commit(&[("secret.yaml", Some(&secret.to_string()))])?;
        app.create(&app.application()).await?;
        let status = app.condition("SyncError", "data.password").await?;
        let said = condition(&status, "SyncError");
        ensure!(
            said.contains("data.token") && said.contains("base64"),
            "{said}"
        );
        ensure!(!said.contains("data.user"), "{said}");
        ensure!(!status.to_string().contains("hunter2"), "{said}");
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "icon"},
            "binaryData": {"icon.png": "-"},
        });
        app.push(
            &lab.agent,
            &[("secret.yaml", None), ("map.yaml", Some(&map.to_string()))],
        )
        .await?;
        app.condition("SyncError", "binaryData.icon.png")
            .await
            .map(drop)
    });
}

#[test]
fn a_version_in_which_objects_may_be_stored_is_migrated_and_never_forced() {
    story(|lab| async move {
        let app = lab.given("migrating").await?;
        let group = "migrating.example.com";
        let fields = json!({"n": {"type": "integer"}});
        let first = app.commit(&[
            ("crd.yaml", Some(&gates(group, &["v1alpha1"], &fields))),
            (
                "gate.yaml",
                Some(&gate(group, "v1alpha1", &json!({"n": 1}))),
            ),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let path = format!("{DEFINITIONS}/gates.{group}");
        let uid = app.cluster.get(&path).await?["metadata"]["uid"].take();
        // Whatever it asks for: its objects would go with it.
        let mut forced: Value = serde_json::from_str(&gates(group, &["v1"], &fields))?;
        for options in ["", "Force=true"] {
            forced["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-options": options});
            app.push(
                &lab.agent,
                &[
                    ("crd.yaml", Some(&forced.to_string())),
                    ("gate.yaml", Some(&gate(group, "v1", &json!({"n": 1})))),
                    ("a.yaml", Some(&config_map("a", options))),
                ],
            )
            .await?;
            let status = app.condition("SyncError", "status.storedVersions").await?;
            let said = condition(&status, "SyncError");
            ensure!(
                said.contains("kubectl replace") && !said.contains("Force"),
                "{said}"
            );
        }
        ensure!(app.cluster.get(&path).await?["metadata"]["uid"] == uid);
        Ok(())
    });
}

#[test]
fn a_field_may_change_its_type_with_the_definition() {
    story(|lab| async move {
        let app = lab.given("retyped").await?;
        let group = "retyped.example.com";
        let fields = |n: &str| {
            json!({"n": {"type": n}, "in": {"type": "object", "properties": {
            "m": {"type": n}, "other": {"type": "string"}}}})
        };
        let first = app.commit(&[
            ("crd.yaml", Some(&gates(group, &["v1"], &fields("integer")))),
            (
                "gate.yaml",
                Some(&gate(group, "v1", &json!({"n": 5, "in": {"m": 6}}))),
            ),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let path = format!("/apis/{group}/v1/namespaces/retyped/gates/main");
        app.cluster
            .patch(&path, &json!({"spec": {"in": {"other": "of another"}}}))
            .await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("crd.yaml", Some(&gates(group, &["v1"], &fields("string")))),
                    (
                        "gate.yaml",
                        Some(&gate(group, "v1", &json!({"n": "5", "in": {"m": "6"}}))),
                    ),
                ],
            )
            .await?;
        in_sync(&app, &second).await?;
        let live = app.cluster.get(&path).await?;
        let expected = json!({"n": "5", "in": {"m": "6", "other": "of another"}});
        ensure!(live["spec"] == expected, "{live}");
        // What leaves Git later goes.
        let third = app
            .push(
                &lab.agent,
                &[("gate.yaml", Some(&gate(group, "v1", &json!({"n": "5"}))))],
            )
            .await?;
        in_sync(&app, &third).await?;
        let live = app.cluster.get(&path).await?;
        ensure!(live["spec"]["in"]["m"].is_null(), "{live}");
        Ok(())
    });
}
