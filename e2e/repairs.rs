//! A refused apply is not the end: what stands in the way goes, what can never change is created
//! again where it asks for that, and else the condition names the remedy.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};

/// Waits until the Application is Synced at a commit, whatever its health.
async fn in_sync(app: &Story, commit_id: &str) -> Result<Value> {
    app.becomes("Synced", |status| {
        status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit_id
    })
    .await
}

/// Waits until a live object is as wanted.
async fn live(app: &Story, path: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(&format!("{path}: {what}"), SOON, || async {
        let live = app.cluster.find(path).await?.unwrap_or_default();
        Ok(match is(&live) {
            true => Expectation::Met(live),
            false => {
                let conditions = app.status().await?["conditions"].take();
                Expectation::Pending(format!("{}; {conditions}", live["spec"]))
            }
        })
    })
    .await
}

/// A JSON patch as somebody sends it by kubectl.
async fn edit(app: &Story, path: &str, patch: &Value) -> Result<()> {
    let request = http::Request::builder()
        .method(Method::PATCH)
        .uri(format!("{path}?fieldManager=kubectl-patch"))
        .header("content-type", "application/json-patch+json")
        .body(serde_json::to_vec(patch)?)?;
    app.cluster.client().request::<Value>(request).await?;
    Ok(())
}

fn service(port: u16, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  selector: {{app: web}}\n  \
         ports: [{{name: http, port: {port}, targetPort: 8080}}]\n{more}"
    )
}

#[test]
fn a_port_that_somebody_changed_is_as_git_says_again() {
    story(|lab| async move {
        let app = lab.given("ports").await?;
        let web = "/api/v1/namespaces/ports/services/web";
        let first = app.commit(&[
            ("web.yaml", Some(&service(80, ""))),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let replaced = json!([
            {"op": "replace", "path": "/spec/ports/0/port", "value": 83},
            {"op": "add", "path": "/spec/ports/1", "value": {"name": "more", "port": 90}},
        ]);
        let is = |live: &Value, port: u16| {
            let ports = live["spec"]["ports"].as_array();
            let mut ports: Vec<_> = ports
                .into_iter()
                .flatten()
                .map(|it| it["port"].as_u64().unwrap_or_default())
                .collect();
            ports.sort_unstable();
            // What does not stand in the way stays.
            ports == [u64::from(port), 90]
        };
        edit(&app, web, &replaced).await?;
        live(&app, web, "port 80", |live| is(live, 80)).await?;
        in_sync(&app, &first).await?;
        // The same in the way of a commit, and of the question before it.
        let pause = json!({"spec": {"syncPolicy": {"automated": {"selfHeal": false}}}});
        app.cluster.patch(&app.path(), &pause).await?;
        let ports = json!([
            {"name": "http", "port": 84, "targetPort": 8080}, {"name": "more", "port": 90},
        ]);
        let replaced = json!([{"op": "replace", "path": "/spec/ports", "value": ports}]);
        edit(&app, web, &replaced).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("web.yaml", Some(&service(81, ""))),
                    ("a.yaml", Some(&config_map("a", "2"))),
                ],
            )
            .await?;
        live(&app, web, "port 81", |live| is(live, 81)).await?;
        in_sync(&app, &second).await?;
        app.value("a", Some("2")).await
    });
}

#[test]
fn a_port_that_somebody_changed_goes_where_nothing_of_kubectl_stays() {
    story(|lab| async move {
        let app = lab.given("reverted-ports").await?;
        let web = "/api/v1/namespaces/reverted-ports/services/web";
        let first = app.commit(&[("web.yaml", Some(&service(80, "")))])?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["RevertKubectlFields=true"]);
        app.create(&application).await?;
        in_sync(&app, &first).await?;
        let replaced = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": 83}]);
        let is = |live: &Value, port: u16| {
            let ports = live["spec"]["ports"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            matches!(ports, [only] if only["port"] == port)
        };
        edit(&app, web, &replaced).await?;
        live(&app, web, "port 80 alone", |live| is(live, 80)).await?;
        in_sync(&app, &first).await?;
        let changed = [("web.yaml", Some(&*service(81, "")))];
        let second = app.push(&lab.agent, &changed).await?;
        in_sync(&app, &second).await?;
        live(&app, web, "port 81 alone", |live| is(live, 81)).await?;
        Ok(())
    });
}

fn deployment(strategy: &str, probe: &str, volume: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: web}}}}
  {strategy}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - {{name: web, image: web, env: [{{name: WORD, value: a}}], livenessProbe: {{{probe}}}}}
      volumes: [{{name: data, {volume}}}]
"
    )
}

#[test]
fn a_default_that_the_new_strategy_excludes_goes() {
    story(|lab| async move {
        let app = lab.given("strategies").await?;
        let web = |strategy: &str| deployment(strategy, "exec: {command: [a]}", "emptyDir: {}");
        let set = |strategy: &str| {
            format!(
                "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db}}\nspec:\n  replicas: \
                 0\n  serviceName: db\n  {strategy}\n  selector: {{matchLabels: {{app: db}}}}\n  \
                 template:\n    metadata: {{labels: {{app: db}}}}\n    spec: {{containers: [{{name: \
                 db, image: db}}]}}\n"
            )
        };
        let path = "/apis/apps/v1/namespaces/strategies/deployments/web";
        let first = app.commit(&[("web.yaml", Some(&web(""))), ("db.yaml", Some(&set("")))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let uid = app.cluster.get(path).await?["metadata"]["uid"].take();
        for strategy in [
            "strategy: {type: Recreate}",
            "strategy: {type: RollingUpdate}",
            "strategy: {type: Recreate, rollingUpdate: null}",
        ] {
            let next = app
                .push(
                    &lab.agent,
                    &[
                        ("web.yaml", Some(&web(strategy))),
                        ("db.yaml", Some(&set("updateStrategy: {type: OnDelete}"))),
                    ],
                )
                .await?;
            in_sync(&app, &next).await?;
            let live = app.cluster.get(path).await?;
            let recreate = strategy.contains("Recreate");
            let strategy = &live["spec"]["strategy"];
            ensure!((strategy["type"] == "Recreate") == recreate, "{strategy}");
            ensure!(
                strategy["rollingUpdate"].is_null() == recreate,
                "{strategy}"
            );
            ensure!(live["metadata"]["uid"] == uid, "it was created again");
        }
        Ok(())
    });
}

#[test]
fn a_handler_or_a_volume_that_somebody_replaced_is_as_git_says_again() {
    story(|lab| async move {
        let app = lab.given("members").await?;
        let path = "/apis/apps/v1/namespaces/members/deployments/web";
        let web = deployment("", "httpGet: {port: 80}", "configMap: {name: a}");
        let first = app.commit(&[("web.yaml", Some(&web))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let pod = "/spec/template/spec";
        let container = format!("{pod}/containers/0");
        edit(
            &app,
            path,
            &json!([
                {"op": "remove", "path": format!("{container}/livenessProbe/httpGet")},
                {"op": "add", "path": format!("{container}/livenessProbe/tcpSocket"),
                 "value": {"port": 81}},
                {"op": "add", "path": format!("{container}/livenessProbe/periodSeconds"),
                 "value": 33},
                {"op": "remove", "path": format!("{container}/env/0/value")},
                {"op": "add", "path": format!("{container}/env/0/valueFrom"),
                 "value": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"op": "remove", "path": format!("{pod}/volumes/0/configMap")},
                {"op": "add", "path": format!("{pod}/volumes/0/hostPath"), "value": {"path": "/a"}},
            ]),
        )
        .await?;
        let live = live(&app, path, "as in Git", |live| {
            let pod = &live["spec"]["template"]["spec"];
            pod["containers"][0]["livenessProbe"]["httpGet"]["port"] == 80
        })
        .await?;
        in_sync(&app, &first).await?;
        let pod = &live["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        ensure!(
            container["livenessProbe"]["tcpSocket"].is_null(),
            "{container}"
        );
        ensure!(
            container["env"] == json!([{"name": "WORD", "value": "a"}]),
            "{container}"
        );
        ensure!(pod["volumes"][0]["configMap"]["name"] == "a", "{pod}");
        ensure!(pod["volumes"][0]["hostPath"].is_null(), "{pod}");
        // What excludes nothing is somebody's and stays.
        ensure!(
            container["livenessProbe"]["periodSeconds"] == 33,
            "{container}"
        );
        Ok(())
    });
}

/// A definition of the kind `Gate` with versions: name, served, stored, fields of its spec.
fn gates(group: &str, versions: &[(&str, bool, bool, Value)]) -> Value {
    let versions = versions.iter().map(|(name, served, storage, fields)| {
        json!({
            "name": name, "served": served, "storage": storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": fields},
                "status": {"type": "object", "properties": {"last": {"type": "string"}}},
            }}},
        })
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gates.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions.collect::<Vec<_>>(),
            "names": {"kind": "Gate", "plural": "gates", "singular": "gate", "listKind": "GateList"},
        },
    })
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn gate(group: &str, version: &str, spec: &str) -> String {
    format!("apiVersion: {group}/{version}\nkind: Gate\nmetadata: {{name: main}}\nspec: {spec}\n")
}

#[test]
fn an_object_goes_on_at_a_newer_version_also_when_the_old_one_is_served_no_more() {
    story(|lab| async move {
        let app = lab.given("versions").await?;
        let group = "versions.example.com";
        let port = || json!({"port": {"type": "string"}});
        let more = || {
            json!({"port": {"type": "string"},
                             "policy": {"type": "string", "default": "deny"}})
        };
        let both = gates(
            group,
            &[("v1beta1", true, false, port()), ("v1", true, true, more())],
        );
        app.cluster.create(DEFINITIONS, &both).await?;
        let first = app.commit(&[("gate.yaml", Some(&gate(group, "v1beta1", "{port: a}")))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("gate.yaml", Some(&gate(group, "v1", "{port: b}"))),
                    ("a.yaml", Some(&config_map("a", "1"))),
                ],
            )
            .await?;
        in_sync(&app, &second).await?;
        let path = format!("/apis/{group}/v1/namespaces/versions/gates/main");
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["spec"], json!({"port": "b", "policy": "deny"}));
        // An entry of somebody at a version that is served no more.
        let old = format!("/apis/{group}/v1beta1/namespaces/versions/gates/main");
        let noted = json!({"metadata": {"labels": {"by": "somebody"}}});
        app.cluster.patch(&old, &noted).await?;
        let third = app
            .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        in_sync(&app, &third).await?;
        let one = gates(
            group,
            &[
                ("v1beta1", false, false, port()),
                ("v1", true, true, more()),
            ],
        );
        let definition = format!("{DEFINITIONS}/gates.{group}");
        app.cluster.patch(&definition, &one).await?;
        eventually("the old version is served no more", SOON, || async {
            Ok(match app.cluster.find(&old).await? {
                None => Expectation::Met(()),
                Some(_) => Expectation::Pending("it is".to_owned()),
            })
        })
        .await?;
        let fourth = app
            .push(
                &lab.agent,
                &[("gate.yaml", Some(&gate(group, "v1", "{port: c}")))],
            )
            .await?;
        in_sync(&app, &fourth).await?;
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["spec"]["port"], "c");
        assert_eq!(live["metadata"]["labels"]["by"], "somebody");
        Ok(())
    });
}

#[test]
fn a_field_that_a_write_at_an_older_version_lost_comes_back() {
    story(|lab| async move {
        let app = lab.given("lost-field").await?;
        let group = "lost.example.com";
        let url = || json!({"url": {"type": "string"}});
        let more = json!({"url": {"type": "string"}, "extra": {"type": "string"}});
        let both = gates(
            group,
            &[("v1beta1", true, false, url()), ("v1", true, true, more)],
        );
        app.cluster.create(DEFINITIONS, &both).await?;
        let main = gate(group, "v1", "{url: a, extra: x}");
        let first = app.commit(&[("gate.yaml", Some(&main))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let path =
            |version: &str| format!("/apis/{group}/{version}/namespaces/lost-field/gates/main");
        let status = format!("{}/status?fieldManager=prober", path("v1beta1"));
        let last = json!({"status": {"last": "t"}});
        app.cluster.patch(&status, &last).await?;
        let is = |live: &Value| live["spec"]["extra"] == "x" && live["status"]["last"] == "t";
        live(&app, &path("v1"), "the field is back", is).await?;
        in_sync(&app, &first).await?;
        Ok(())
    });
}

#[test]
fn a_write_at_an_older_version_that_loses_nothing_leads_to_no_write() {
    story(|lab| async move {
        let app = lab.given("equal-versions").await?;
        let group = "equal.example.com";
        let url = || json!({"url": {"type": "string"}});
        let both = gates(
            group,
            &[("v1beta1", true, false, url()), ("v1", true, true, url())],
        );
        app.cluster.create(DEFINITIONS, &both).await?;
        let main = gate(group, "v1", "{url: a}");
        let first = app.commit(&[("gate.yaml", Some(&main))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let path =
            |version: &str| format!("/apis/{group}/{version}/namespaces/equal-versions/gates/main");
        let status = format!("{}/status?fieldManager=prober", path("v1beta1"));
        let last = json!({"status": {"last": "t"}});
        let written = app.cluster.patch(&status, &last).await?;
        // By then it was looked at again, with the commit and in full.
        let map = config_map("map", "1");
        let second = app.push(&lab.agent, &[("map.yaml", Some(&*map))]).await?;
        in_sync(&app, &second).await?;
        let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        app.cluster.patch(&app.path(), &hard).await?;
        app.refreshed().await?;
        in_sync(&app, &second).await?;
        let now = app.cluster.get(&path("v1")).await?;
        ensure!(now["status"]["last"] == "t", "{now}");
        ensure!(
            now["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"],
            "it was written: {now}"
        );
        Ok(())
    });
}

#[test]
fn what_cannot_be_repaired_names_its_remedy_in_one_line() {
    story(|lab| async move {
        let app = lab.given("remedies").await?;
        let pod = |image: &str, env: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: tool}}\nspec: {{containers: [{{name: \
                 tool, image: {image}, env: [{env}]}}]}}\n"
            )
        };
        let first = app.commit(&[("pod.yaml", Some(&pod("a", "")))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let more = pod("a", "{name: MORE, value: more}");
        app.push(&lab.agent, &[("pod.yaml", Some(&more))]).await?;
        let status = app
            .condition("SyncError", "Force=true on the object")
            .await?;
        let message = status["conditions"][0]["message"]
            .as_str()
            .unwrap_or_default();
        ensure!(
            !message.contains('\n') && message.contains("pod updates may not"),
            "{message}"
        );
        // A claim is deleted with what it holds only where it says so itself.
        let claim = |size: &str| {
            format!(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec: \
                 {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}\n"
            )
        };
        let both = [("pod.yaml", None), ("data.yaml", Some(claim("2Gi")))];
        let both: Vec<_> = both
            .iter()
            .map(|(path, it)| (*path, it.as_deref()))
            .collect();
        let third = app.push(&lab.agent, &both).await?;
        in_sync(&app, &third).await?;
        let force = json!({"spec": {"syncPolicy": {"syncOptions": ["Force=true"]}}});
        app.cluster.patch(&app.path(), &force).await?;
        app.push(&lab.agent, &[("data.yaml", Some(&claim("1Gi")))])
            .await?;
        app.condition("SyncError", "on the object itself").await?;
        Ok(())
    });
}

/// Objects with one field that can never change, before and after: file, manifest with `OPTIONS`
/// for the annotations and `VALUE` for the value, the two values, the path, and where it shows.
const FIXED: [(&str, [&str; 2], &str, &str); 10] = [
    (
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: fixed, OPTIONS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: VALUE}
subjects: [{kind: Group, name: dev, apiGroup: rbac.authorization.k8s.io}]
",
        ["view", "edit"],
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NAMESPACE/rolebindings/fixed",
        "/roleRef/name",
    ),
    (
        "apiVersion: v1
kind: Pod
metadata: {name: fixed, OPTIONS}
spec: {containers: [{name: tool, image: tool, env: [{name: WORD, value: VALUE}]}]}
",
        ["one", "two"],
        "/api/v1/namespaces/NAMESPACE/pods/fixed",
        "/spec/containers/0/env/0/value",
    ),
    (
        "apiVersion: batch/v1
kind: Job
metadata: {name: fixed, OPTIONS}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: tool, image: VALUE}]}}
",
        ["one", "two"],
        "/apis/batch/v1/namespaces/NAMESPACE/jobs/fixed",
        "/spec/template/spec/containers/0/image",
    ),
    (
        "apiVersion: v1
kind: Service
metadata: {name: fixed, OPTIONS}
spec: {type: NodePort, clusterIP: VALUE, ports: [{port: 80, nodePort: 31987}]}
",
        ["10.96.200.77", "10.96.200.78"],
        "/api/v1/namespaces/NAMESPACE/services/fixed",
        "/spec/clusterIP",
    ),
    (
        "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAMESPACE-fixed, OPTIONS}
provisioner: VALUE
",
        ["example.com/one", "example.com/two"],
        "/apis/storage.k8s.io/v1/storageclasses/NAMESPACE-fixed",
        "/provisioner",
    ),
    (
        "apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: NAMESPACE-fixed, OPTIONS}
value: VALUE
",
        ["1000", "2000"],
        "/apis/scheduling.k8s.io/v1/priorityclasses/NAMESPACE-fixed",
        "/value",
    ),
    (
        "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: NAMESPACE-fixed, OPTIONS}
spec: {controller: VALUE}
",
        ["example.com/one", "example.com/two"],
        "/apis/networking.k8s.io/v1/ingressclasses/NAMESPACE-fixed",
        "/spec/controller",
    ),
    (
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: fixed, OPTIONS}
spec:
  replicas: 0
  serviceName: VALUE
  selector: {matchLabels: {app: fixed}}
  template: {metadata: {labels: {app: fixed}}, spec: {containers: [{name: a, image: a}]}}
",
        ["one", "two"],
        "/apis/apps/v1/namespaces/NAMESPACE/statefulsets/fixed",
        "/spec/serviceName",
    ),
    (
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: fixed-claims, OPTIONS}
spec:
  replicas: 0
  selector: {matchLabels: {app: fixed-claims}}
  template: {metadata: {labels: {app: fixed-claims}}, spec: {containers: [{name: a, image: a}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: VALUE}}}
",
        ["1Gi", "2Gi"],
        "/apis/apps/v1/namespaces/NAMESPACE/statefulsets/fixed-claims",
        "/spec/volumeClaimTemplates/0/spec/resources/requests/storage",
    ),
    (
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: fixed, OPTIONS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: VALUE}}}
",
        ["2Gi", "1Gi"],
        "/api/v1/namespaces/NAMESPACE/persistentvolumeclaims/fixed",
        "/spec/resources/requests/storage",
    ),
];

/// All of them with their first or second value.
fn fixed(namespace: &str, options: &str, which: usize, but: &[&str]) -> String {
    let chosen = FIXED
        .iter()
        .filter(|(text, ..)| !but.iter().any(|kind| text.contains(kind)));
    let texts = chosen.map(|(text, values, ..)| {
        text.replace("OPTIONS", options)
            .replace("VALUE", values[which])
            .replace("NAMESPACE", namespace)
    });
    texts.collect::<Vec<_>>().join("---\n")
}

/// Checks that every object has its second value, as a new object.
async fn are_new(app: &Story, before: &[(String, Value)]) -> Result<()> {
    for (path, uid) in before {
        let found = FIXED
            .iter()
            .find(|(.., of, _)| of.replace("NAMESPACE", &app.name) == *path);
        let Some((_, values, _, pointer)) = found else {
            continue;
        };
        let live = app.cluster.get(path).await?;
        let value = live.pointer(pointer).cloned().unwrap_or_default();
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        ensure!(value == values[1], "{path}: {value}");
        ensure!(live["metadata"]["uid"] != *uid, "{path}: the same object");
    }
    Ok(())
}

async fn uids(app: &Story, but: &[&str]) -> Result<Vec<(String, Value)>> {
    let mut uids = Vec::new();
    for (text, _, path, _) in FIXED {
        if but.iter().any(|kind| text.contains(kind)) {
            continue;
        }
        let path = path.replace("NAMESPACE", &app.name);
        let uid = app.cluster.get(&path).await?["metadata"]["uid"].take();
        uids.push((path, uid));
    }
    Ok(uids)
}

#[test]
fn what_can_never_change_is_created_again_when_it_asks_for_it() {
    story(|lab| async move {
        let app = lab.given("recreated").await?;
        let options = "annotations: {argocd.argoproj.io/sync-options: 'Force=true'}";
        let group = "recreated.example.com";
        let definition = |scope: &str| {
            let mut gates = gates(group, &[("v1", true, true, json!({}))]);
            gates["spec"]["scope"] = json!(scope);
            gates["metadata"]["annotations"] =
                json!({"argocd.argoproj.io/sync-options": "Force=true"});
            gates.to_string()
        };
        let first = app.commit(&[
            ("all.yaml", Some(&fixed(&app.name, options, 0, &[]))),
            ("crd.json", Some(&definition("Namespaced"))),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let before = uids(&app, &[]).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("all.yaml", Some(&fixed(&app.name, options, 1, &[]))),
                    ("crd.json", Some(&definition("Cluster"))),
                ],
            )
            .await?;
        in_sync(&app, &second).await?;
        are_new(&app, &before).await?;
        let definition = app
            .cluster
            .get(&format!("{DEFINITIONS}/gates.{group}"))
            .await?;
        assert_eq!(definition["spec"]["scope"], "Cluster");
        Ok(())
    });
}

#[test]
fn a_sync_that_a_person_forces_creates_again_what_holds_nothing() {
    story(|lab| async move {
        let app = lab.given("forced-by-hand").await?;
        let but = ["StatefulSet", "PersistentVolumeClaim", "kind: Service"];
        let text = |which| fixed(&app.name, "labels: {a: b}", which, &but);
        let first = app.commit(&[("all.yaml", Some(&text(0)))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let before = uids(&app, &but).await?;
        let second = app
            .push(&lab.agent, &[("all.yaml", Some(&text(1)))])
            .await?;
        app.condition("SyncError", "Force=true").await?;
        crate::cli::trimtab_ends(lab, &["sync", "forced-by-hand", "--force"], 0, &[]);
        in_sync(&app, &second).await?;
        are_new(&app, &before).await
    });
}

#[test]
fn a_service_that_is_headless_no_more_is_created_again_when_it_asks_for_it() {
    story(|lab| async move {
        for (name, options) in [
            ("headless", "Force=true"),
            ("headless-replaced", "\"Force=true,Replace=true\""),
        ] {
            let app = lab.given(name).await?;
            let web = format!("/api/v1/namespaces/{name}/services/web");
            let headless = service(80, "  clusterIP: None\n");
            let first = app.commit(&[("web.yaml", Some(&headless))])?;
            app.create(&app.application()).await?;
            in_sync(&app, &first).await?;
            let forced = service(80, "").replace(
                "{name: web}",
                &format!("{{name: web, annotations: {{trimtab.dev/sync-options: {options}}}}}"),
            );
            let second = app.push(&lab.agent, &[("web.yaml", Some(&forced))]).await?;
            in_sync(&app, &second).await?;
            let live = app.cluster.get(&web).await?;
            ensure!(live["spec"]["clusterIP"] != "None", "{}", live["spec"]);
        }
        Ok(())
    });
}
