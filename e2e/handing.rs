//! A field leaves Git and somebody else goes on with it: the live value stays. Without anybody it
//! goes at once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Agent, Expectation, eventually};

/// A workload of an image that is never pulled, with or without a number of replicas.
fn workload(kind: &str, replicas: Option<u32>, image: &str) -> String {
    let replicas = replicas.map_or(String::new(), |it| format!("  replicas: {it}\n"));
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{replicas}  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: \
         web}}}}\n    spec: {{containers: [{{name: web, image: \"web:{image}\"}}]}}\n"
    )
}

fn autoscaler(target: &Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 10},
    })
}

/// Waits until a commit is applied, whatever the pods do.
async fn applied(app: &Story, commit_id: &str) -> Result<Value> {
    app.becomes("applied", |status| {
        status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit_id
    })
    .await
}

async fn gets(agent: &Agent) -> Result<f64> {
    let mut all = 0.0;
    for verb in ["get", "list"] {
        let label = format!("verb=\"{verb}\"");
        all += agent
            .metric("trimtab_kube_requests_total", &[&label])
            .await
            .unwrap_or_default();
    }
    Ok(all)
}

#[test]
fn what_an_autoscaler_takes_over_stays() {
    story(|lab| async move {
        let app = lab.given("handing").await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", app.name);
        let replicas = async || -> Result<Value> {
            Ok(app.cluster.get(&path).await?["spec"]["replicas"].take())
        };
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let scaler = autoscaler(&target).to_string();
        let first = app.commit(&[("web.yaml", Some(&workload("Deployment", Some(6), "1")))])?;
        app.create(&app.application()).await?;
        applied(&app, &first).await?;
        // A manifest and the autoscaler in one commit.
        let web = workload("Deployment", None, "2");
        let files = [
            ("web.yaml", Some(web.as_str())),
            ("hpa.yaml", Some(&scaler)),
        ];
        let second = app.push(&lab.agent, &files).await?;
        applied(&app, &second).await?;
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["spec"]["replicas"], 6);
        let image = &live["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, "web:2");
        let owners = |live: &Value| -> Vec<String> {
            let entries = live["metadata"]["managedFields"].as_array().unwrap().iter();
            let of = entries.filter(|entry| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object());
            of.map(|entry| entry["manager"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(owners(&live), ["trimtab-handover"]);
        // Whoever scales takes it from there.
        let scale = json!({"spec": {"replicas": 4}});
        app.cluster.patch(&format!("{path}/scale"), &scale).await?;
        assert!(!owners(&app.cluster.get(&path).await?).contains(&"trimtab-handover".to_owned()));
        let third = app
            .push(
                &lab.agent,
                &[("web.yaml", Some(&workload("Deployment", None, "3")))],
            )
            .await?;
        applied(&app, &third).await?;
        assert_eq!(replicas().await?, 4);
        // Back in Git it is ours, and without an autoscaler it goes for good.
        let files = [
            ("web.yaml", Some(workload("Deployment", Some(5), "3"))),
            ("hpa.yaml", None),
        ];
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, text.as_deref()))
            .collect();
        let fourth = app.push(&lab.agent, &files).await?;
        applied(&app, &fourth).await?;
        assert_eq!(replicas().await?, 5);
        let fifth = app
            .push(
                &lab.agent,
                &[("web.yaml", Some(&workload("Deployment", None, "3")))],
            )
            .await?;
        applied(&app, &fifth).await?;
        assert_eq!(replicas().await?, 1);
        Ok(())
    });
}

#[test]
fn an_autoscaler_that_is_live_already_takes_it_over_as_well() {
    story(|lab| async move {
        let app = lab.given_in("handing-live", "handing-home").await?;
        let agent = lab.agent_for("handing-home", &["--no-install-crd"]).await?;
        let path = format!("/apis/apps/v1/namespaces/{}/statefulsets/web", app.name);
        let first = app.commit(&[("web.yaml", Some(&workload("StatefulSet", Some(6), "1")))])?;
        app.create(&app.application()).await?;
        applied(&app, &first).await?;
        let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"});
        let scalers = format!(
            "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
            app.name
        );
        app.cluster.create(&scalers, &autoscaler(&target)).await?;
        let second = app
            .push(
                &agent,
                &[("web.yaml", Some(&workload("StatefulSet", None, "1")))],
            )
            .await?;
        applied(&app, &second).await?;
        assert_eq!(app.cluster.get(&path).await?["spec"]["replicas"], 6);
        // Where nothing is given up nothing is read.
        let before = gets(&agent).await?;
        let third = app
            .push(
                &agent,
                &[("web.yaml", Some(&workload("StatefulSet", None, "2")))],
            )
            .await?;
        applied(&app, &third).await?;
        let spent = gets(&agent).await? - before;
        ensure!(spent == 0.0, "{spent} reads");
        assert_eq!(app.cluster.get(&path).await?["spec"]["replicas"], 6);
        Ok(())
    });
}

#[test]
fn a_kind_of_ones_own_keeps_the_number_where_its_definition_says() {
    story(|lab| async move {
        let app = lab.given("handing-own").await?;
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "pools.handing.example"},
            "spec": {
                "group": "handing.example", "scope": "Namespaced",
                "names": {"plural": "pools", "singular": "pool", "kind": "Pool"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "size": {"type": "integer", "default": 1}, "note": {"type": "string"},
                        }},
                        "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                    }}},
                    "subresources": {"scale": {
                        "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size",
                    }},
                }],
            },
        });
        let pool = |spec: Value| {
            json!({
                "apiVersion": "handing.example/v1", "kind": "Pool", "metadata": {"name": "web"},
                "spec": spec,
            })
            .to_string()
        };
        let target = json!({"apiVersion": "handing.example/v1", "kind": "Pool", "name": "web"});
        let first = app.commit(&[
            ("crd.yaml", Some(&definition.to_string())),
            ("pool.yaml", Some(&pool(json!({"size": 6, "note": "a"})))),
        ])?;
        app.create(&app.application()).await?;
        applied(&app, &first).await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("hpa.yaml", Some(&autoscaler(&target).to_string())),
                    ("pool.yaml", Some(&pool(json!({})))),
                ],
            )
            .await?;
        applied(&app, &second).await?;
        let path = format!("/apis/handing.example/v1/namespaces/{}/pools/web", app.name);
        assert_eq!(app.cluster.get(&path).await?["spec"], json!({"size": 6}));
        Ok(())
    });
}

#[test]
fn what_a_rule_leaves_to_others_stays_when_it_leaves_git() {
    story(|lab| async move {
        let app = lab.given("handing-ignored").await?;
        let full = |data: &Value| {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": data,
            });
            map.to_string()
        };
        let data = json!({"pointed": "1", "found": "1", "ours": "1", "kept": "1"});
        let first = app.commit(&[("map.yaml", Some(&full(&data)))])?;
        let mut application = app.application();
        application["spec"]["ignoreDifferences"] = json!([{
            "kind": "ConfigMap", "jsonPointers": ["/data/pointed"],
            "jqPathExpressions": [".data | select(.kept) | .found"],
        }]);
        app.create(&application).await?;
        applied(&app, &first).await?;
        let second = app
            .push(
                &lab.agent,
                &[("map.yaml", Some(&full(&json!({"kept": "2"}))))],
            )
            .await?;
        applied(&app, &second).await?;
        let live = app.cluster.get(&app.map("map")).await?;
        let left = json!({"pointed": "1", "found": "1", "kept": "2"});
        assert_eq!(live["data"], left);
        Ok(())
    });
}

#[test]
fn what_is_taken_over_of_another_tool_is_left_to_an_autoscaler_too() {
    story(|lab| async move {
        let app = lab.given("handing-taken").await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", app.name);
        let theirs: Value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 6, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
            },
        });
        app.cluster
            .apply(&path, "argocd-controller", &theirs)
            .await?;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let first = app.commit(&[
            ("web.yaml", Some(&workload("Deployment", None, "1"))),
            ("hpa.yaml", Some(&autoscaler(&target).to_string())),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        applied(&app, &first).await?;
        eventually("nothing of the other tool is left", SOON, || async {
            let live = app.cluster.get(&path).await?;
            let entries = live["metadata"]["managedFields"].to_string();
            Ok(match entries.contains("argocd-controller") {
                false => Expectation::Met(()),
                true => Expectation::Pending(entries),
            })
        })
        .await?;
        assert_eq!(app.cluster.get(&path).await?["spec"]["replicas"], 6);
        Ok(())
    });
}

/// KEDA's definition, as far as it says what is scaled.
fn scaled_objects() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }}}},
            }],
        },
    })
}

/// KEDA's object; it takes a Deployment where nothing else is said.
fn scaled_object() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"name": "web"}, "minReplicaCount": 2,
            "triggers": [{"type": "cron", "metadata": {"desiredReplicas": "4"}}],
        },
    })
}

/// Both the object that comes with the commit, and one that is live.
#[test]
fn what_keda_takes_over_stays() {
    story(|lab| async move {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let cluster = &lab.control_plane.cluster;
        cluster.create(definitions, &scaled_objects()).await?;
        let kind = "/apis/keda.sh/v1alpha1/scaledobjects";
        eventually("KEDA's kind is served", SOON, || async {
            Ok(match cluster.find(kind).await? {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        for name in ["handing-keda", "handing-keda-live"] {
            let app = lab.given(name).await?;
            let path = format!("/apis/apps/v1/namespaces/{name}/deployments/web");
            let first = app.commit(&[("web.yaml", Some(&workload("Deployment", Some(6), "1")))])?;
            app.create(&app.application()).await?;
            applied(&app, &first).await?;
            let (web, scaled) = (workload("Deployment", None, "2"), scaled_object());
            let scaled_text = scaled.to_string();
            let mut files = vec![("web.yaml", Some(web.as_str()))];
            if name == "handing-keda" {
                files.push(("scaled.yaml", Some(&scaled_text)));
            } else {
                let kind = format!("/apis/keda.sh/v1alpha1/namespaces/{name}/scaledobjects");
                cluster.create(&kind, &scaled).await?;
            }
            let second = app.push(&lab.agent, &files).await?;
            applied(&app, &second).await?;
            let live = cluster.get(&path).await?;
            assert_eq!(live["spec"]["replicas"], 6, "{name}");
        }
        Ok(())
    });
}

#[test]
fn what_moves_to_a_manager_that_is_named_with_it_stays() {
    story(|lab| async move {
        let app = lab.given("handing-named").await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", app.name);
        let live = async || -> Result<Value> { app.cluster.get(&path).await };
        let first = app.commit(&[("web.yaml", Some(&workload("Deployment", Some(6), "1")))])?;
        app.create(&app.application()).await?;
        applied(&app, &first).await?;
        let rule = json!({"spec": {"ignoreDifferences": [
            {"group": "apps", "kind": "Deployment", "managedFieldsManagers": ["scaler"]},
        ]}});
        app.cluster.patch(&app.path(), &rule).await?;
        let web = workload("Deployment", None, "2");
        let second = app.push(&lab.agent, &[("web.yaml", Some(&web))]).await?;
        applied(&app, &second).await?;
        assert_eq!(live().await?["spec"]["replicas"], 6);
        // The manager takes it from there, and it stays its own.
        let theirs = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 4},
        });
        app.cluster.apply(&path, "scaler", &theirs).await?;
        let web = workload("Deployment", None, "3").replace(
            "spec: {containers",
            "spec: {terminationGracePeriodSeconds: 7, containers",
        );
        let third = app.push(&lab.agent, &[("web.yaml", Some(&web))]).await?;
        applied(&app, &third).await?;
        assert_eq!(live().await?["spec"]["replicas"], 4);
        // What leaves later leaves: the manager was named before.
        let web = workload("Deployment", None, "3");
        let fourth = app.push(&lab.agent, &[("web.yaml", Some(&web))]).await?;
        applied(&app, &fourth).await?;
        let grace = &live().await?["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        assert_eq!(*grace, 30);
        Ok(())
    });
}
