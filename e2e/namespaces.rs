//! The destination namespace of an application that asks for it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::deletion::gone;
use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};
use crate::reach;

/// The story's Application into a namespace of another name, which it makes.
fn making(app: &Story, namespace: &str) -> Value {
    let mut application = app.application();
    application["spec"]["destination"]["namespace"] = json!(namespace);
    application["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
    application["spec"]["syncPolicy"]["retry"] =
        json!({"backoff": {"duration": "1s", "maxDuration": "2s"}});
    application
}

/// Waits until a namespace has a label of this value.
async fn labelled(app: &Story, namespace: &str, label: &str, value: &str) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{namespace}");
    eventually(&format!("{label}={value}"), SOON, || async {
        let live = app.cluster.get(&path).await?;
        Ok(match live["metadata"]["labels"][label] == value {
            true => Expectation::Met(live),
            false => Expectation::Pending(live["metadata"]["labels"].to_string()),
        })
    })
    .await
}

#[test]
fn one_that_was_deleted_is_created_again_with_all_that_was_in_it() {
    story(|lab| async move {
        let app = lab.given("remade").await?;
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("b.yaml", Some(&config_map("b", "1"))),
        ])?;
        app.create(&making(&app, "remade-made")).await?;
        app.synced(&first).await?;
        let map = "/api/v1/namespaces/remade-made/configmaps/a";
        let before = app.cluster.get(map).await?["metadata"]["uid"].take();
        app.cluster.delete("/api/v1/namespaces/remade-made").await?;
        eventually("another map in another namespace", SOON, || async {
            Ok(match app.cluster.find(map).await? {
                Some(live) if live["metadata"]["uid"] != before => Expectation::Met(()),
                other => Expectation::Pending(format!("{}", other.is_some())),
            })
        })
        .await?;
        app.synced(&first).await.map(drop)
    });
}

#[test]
fn its_labels_follow_the_application_and_those_of_others_stay() {
    story(|lab| async move {
        let app = lab.given("relabelled").await?;
        let mut application = making(&app, "relabelled-made");
        let metadata = |team: &str| json!({"labels": {"team": team}});
        let policy = &mut application["spec"]["syncPolicy"];
        policy["managedNamespaceMetadata"] = metadata("one");
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        labelled(&app, "relabelled-made", "team", "one").await?;
        let namespace = "/api/v1/namespaces/relabelled-made";
        let foreign = json!({"metadata": {"labels": {"mine": "stays"}}});
        app.cluster.patch(namespace, &foreign).await?;
        // Another wish is a change, though no object differs.
        let wish = json!({"spec": {"syncPolicy": {"managedNamespaceMetadata": metadata("two")}}});
        app.cluster.patch(&app.path(), &wish).await?;
        let live = labelled(&app, "relabelled-made", "team", "two").await?;
        ensure!(live["metadata"]["labels"]["mine"] == "stays", "{live}");
        app.synced(&first).await?;
        // What a hand changes shows with a hard refresh.
        let edit = json!({"metadata": {"labels": {"team": "hand"}}});
        app.cluster.patch(namespace, &edit).await?;
        let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        app.cluster.patch(&app.path(), &hard).await?;
        labelled(&app, "relabelled-made", "team", "two").await?;
        app.synced(&first).await.map(drop)
    });
}

#[test]
fn several_applications_give_one_namespace_their_labels() {
    story(|lab| async move {
        let app = lab.given("labelling").await?;
        // One describes the namespace itself, two ask for labels of it.
        let described = "apiVersion: v1\nkind: Namespace\nmetadata: {name: labelling-made, labels: {of: manifest}}\n";
        app.repository.commit(
            "main",
            &[
                ("ns/ns.yaml", Some(described)),
                ("one/a.yaml", Some(&config_map("a", "1"))),
                ("two/b.yaml", Some(&config_map("b", "1"))),
            ],
            "a namespace and what goes into it",
        )?;
        let labels = ["one", "two", "manifest"];
        for label in labels {
            let mut application = match label {
                "manifest" => app.application(),
                _ => making(&app, "labelling-made"),
            };
            application["metadata"]["name"] = json!(format!("labelling-{label}"));
            match label {
                "manifest" => application["spec"]["source"]["path"] = json!("ns"),
                label => {
                    let wish = json!({"labels": {label: "yes"}});
                    application["spec"]["syncPolicy"]["managedNamespaceMetadata"] = wish;
                    application["spec"]["source"]["path"] = json!(label);
                }
            }
            app.create(&application).await?;
        }
        labelled(&app, "labelling-made", "of", "manifest").await?;
        labelled(&app, "labelling-made", "one", "yes").await?;
        labelled(&app, "labelling-made", "two", "yes").await?;
        // Nobody takes away what another gave, also when asked to look at everything.
        for label in labels {
            let path = app
                .path()
                .replace("/labelling", &format!("/labelling-{label}"));
            let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
            app.cluster.patch(&path, &hard).await?;
            eventually(&format!("{label} is Synced"), SOON, || async {
                let live = app.cluster.get(&path).await?;
                let asked = &live["metadata"]["annotations"]["trimtab.dev/refresh"];
                Ok(
                    match asked.is_null() && live["status"]["sync"]["status"] == "Synced" {
                        true => Expectation::Met(()),
                        false => Expectation::Pending(live["status"].to_string()),
                    },
                )
            })
            .await?;
        }
        let live = app.cluster.get("/api/v1/namespaces/labelling-made").await?;
        let found = &live["metadata"]["labels"];
        ensure!(
            found["of"] == "manifest" && found["one"] == "yes" && found["two"] == "yes",
            "{found}"
        );
        Ok(())
    });
}

/// Without automation it is shown as the difference that it is.
#[test]
fn what_it_lacks_is_shown_and_a_sync_gives_it() {
    story(|lab| async move {
        reach::pod(lab).await?;
        let app = lab.given("lacking-labels").await?;
        let mut application = making(&app, "lacking-made");
        let policy = &mut application["spec"]["syncPolicy"];
        policy["automated"] = Value::Null;
        app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&application).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        // A dry run says so and makes nothing; then all of it is made.
        let dry_run = ["sync", app.name.as_str(), "--dry-run"];
        trimtab_ends(
            lab,
            &dry_run,
            1,
            &["Namespace", "lacking-made", "ConfigMap"],
        );
        let namespace = "/api/v1/namespaces/lacking-made";
        ensure!(app.cluster.find(namespace).await?.is_none(), "it was made");
        trimtab_ends(lab, &["sync", &app.name, "--wait"], 0, &[]);
        let wish = json!({"spec": {"syncPolicy": {
            "managedNamespaceMetadata": {"labels": {"team": "shop"}},
        }}});
        app.cluster.patch(&app.path(), &wish).await?;
        app.becomes("OutOfSync", |status| {
            status["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|row| row["kind"] == "Namespace" && row["status"] == "OutOfSync")
        })
        .await?;
        let diff = ["diff", app.name.as_str()];
        trimtab_ends(
            lab,
            &diff,
            1,
            &["Namespace lacking-made would be changed", "+    team: shop"],
        );
        let explain = ["explain", app.name.as_str()];
        trimtab_ends(lab, &explain, 1, &["Namespace lacking-made differs"]);
        trimtab_ends(lab, &["sync", &app.name, "--wait"], 0, &[]);
        labelled(&app, "lacking-made", "team", "shop").await?;
        trimtab_ends(lab, &diff, 0, &[]);
        // It stays when the Application goes.
        app.cluster.delete(&app.path()).await?;
        gone(&app.cluster, &app.path()).await?;
        app.cluster.get(namespace).await.map(drop)
    });
}
