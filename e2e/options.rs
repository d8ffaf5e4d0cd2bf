//! Sync options: each does what it says, on the whole application or on one object.

use serde_json::{Value, json};

use crate::given::{SOON, config_map, story};
use crate::lab::{Expectation, eventually};

/// A ConfigMap with sync options of its own.
fn with_options(name: &str, value: &str, options: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: \
         {{argocd.argoproj.io/sync-options: \"{options}\"}}\ndata: {{value: \"{value}\"}}\n"
    )
}

#[test]
fn what_says_so_is_kept_or_waits_for_a_person() {
    story(|lab| async move {
        let app = lab.given("consent").await?;
        let first = app.commit(&[
            ("rest.yaml", Some(&config_map("rest", "1"))),
            (
                "never.yaml",
                Some(&with_options("never", "1", "Prune=false")),
            ),
            (
                "asks.yaml",
                Some(&with_options("asks", "1", "Prune=confirm")),
            ),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("never.yaml", None), ("asks.yaml", None)])
            .await?;
        let status = app.condition("PruneHeld", "Prune=confirm").await?;
        app.value("asks", Some("1")).await?;
        let message = status["conditions"][0]["message"]
            .as_str()
            .unwrap_or_default();
        let token = message
            .rsplit_once('=')
            .map(|(_, token)| token)
            .unwrap_or_default();
        let approve = json!({"metadata": {"annotations": {"trimtab.dev/prune-approved": token}}});
        app.cluster.patch(&app.path(), &approve).await?;
        app.value("asks", None).await?;
        app.value("never", Some("1")).await?;
        let status = app
            .becomes("nothing held", |status| status["conditions"] == Value::Null)
            .await?;
        // What stays is still shown as not desired.
        assert_eq!(status["sync"]["status"], "OutOfSync");
        Ok(())
    });
}

#[test]
fn created_only_when_it_is_missing() {
    story(|lab| async move {
        let app = lab.given("if-not-present").await?;
        let once = |value: &str| with_options("once", value, "IfNotPresent=true");
        let first = app.commit(&[
            ("once.yaml", Some(&once("git"))),
            ("other.yaml", Some(&config_map("other", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("once"), &edit).await?;
        app.cluster.patch(&app.map("other"), &edit).await?;
        app.value("other", Some("1")).await?;
        let second = app
            .push(&lab.agent, &[("once.yaml", Some(&once("newer")))])
            .await?;
        app.synced(&second).await?;
        app.value("once", Some("hand")).await?;
        app.cluster.delete(&app.map("once")).await?;
        app.value("once", Some("newer")).await?;
        Ok(())
    });
}

#[test]
fn replaced_whole_fields_of_others_go() {
    story(|lab| async move {
        let app = lab.given("replaced").await?;
        let first = app.commit(&[("map.yaml", Some(&with_options("map", "1", "Replace=true")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let foreign = json!({"data": {"other": "x"}});
        app.cluster.patch(&app.map("map"), &foreign).await?;
        let second = app
            .push(
                &lab.agent,
                &[("map.yaml", Some(&with_options("map", "2", "Replace=true")))],
            )
            .await?;
        app.value("map", Some("2")).await?;
        app.synced(&second).await?;
        let map = app.cluster.get(&app.map("map")).await?;
        assert_eq!(map["data"], json!({"value": "2"}));
        Ok(())
    });
}

#[test]
fn forced_what_cannot_change_is_created_again_and_what_is_wrong_is_left() {
    story(|lab| async move {
        let app = lab.given("forced").await?;
        let map = |value: &str, options: &str| {
            format!("{}immutable: true\n", with_options("map", value, options))
        };
        let first = app.commit(&[("map.yaml", Some(&map("1", "Validate=true")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let uid = |live: &Value| live["metadata"]["uid"].clone();
        let before = uid(&app.cluster.get(&app.map("map")).await?);
        app.push(
            &lab.agent,
            &[("map.yaml", Some(&map("2", "Validate=true")))],
        )
        .await?;
        app.condition("SyncError", "immutable").await?;
        // A manifest that is wrong anyway costs nothing.
        let wrong =
            map("3", "Force=true").replace("name: map\n", "name: map\n  labels: {a: \"b c\"}\n");
        app.push(&lab.agent, &[("map.yaml", Some(&wrong))]).await?;
        app.condition("SyncError", "labels").await?;
        assert_eq!(uid(&app.cluster.get(&app.map("map")).await?), before);
        let third = app
            .push(&lab.agent, &[("map.yaml", Some(&map("4", "Force=true")))])
            .await?;
        app.value("map", Some("4")).await?;
        app.synced(&third).await?;
        assert_ne!(uid(&app.cluster.get(&app.map("map")).await?), before);
        Ok(())
    });
}

#[test]
fn a_secret_that_cannot_change_is_created_again_when_forced() {
    story(|lab| async move {
        let app = lab.given("forced-secret").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["Force=true"]);
        let secret = |word: &str, kind: &str| {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: word}}\ntype: {kind}\n\
                 immutable: true\nstringData: {{word: {word}}}\n"
            )
        };
        let first = app.commit(&[("word.yaml", Some(&secret("one", "Opaque")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let path = format!("/api/v1/namespaces/{}/secrets/word", app.name);
        let before = app.cluster.get(&path).await?["metadata"]["uid"].clone();
        let second = app
            .push(
                &lab.agent,
                &[("word.yaml", Some(&secret("two", "example.com/other")))],
            )
            .await?;
        app.synced(&second).await?;
        let live = app.cluster.get(&path).await?;
        assert_ne!(live["metadata"]["uid"], before);
        assert_eq!(live["type"], "example.com/other");
        assert_eq!(live["data"]["word"], "dHdv");
        // A Secret's values are nowhere in what is said about it.
        let text = app.cluster.get(&app.path()).await?.to_string();
        assert!(!text.contains("dHdv"), "a value is in the status");
        Ok(())
    });
}

#[test]
fn what_cannot_be_switched_off_is_said() {
    story(|lab| async move {
        let app = lab.given("remarks").await?;
        let options = "ServerSideApply=false,Validate=false";
        let first = app.commit(&[("map.yaml", Some(&with_options("map", "1", options)))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.condition("SyncOptionWarning", "always applied server-side")
            .await?;
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["conditions"], Value::Null);
        // The application's own as well.
        let options = json!({"spec": {"syncPolicy": {"syncOptions": ["Validate=false"]}}});
        app.cluster.patch(&app.path(), &options).await?;
        app.condition(
            "SyncOptionWarning",
            "spec.syncPolicy.syncOptions: Validate=false",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_namespace_is_created_with_its_labels() {
    story(|lab| async move {
        let app = lab.given("labelled").await?;
        let mut application = app.application();
        application["spec"]["destination"]["namespace"] = json!("labelled-made");
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
        application["spec"]["syncPolicy"]["managedNamespaceMetadata"] =
            json!({"labels": {"team": "shop"}, "annotations": {"note": "ours"}});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let namespace = app.cluster.get("/api/v1/namespaces/labelled-made").await?;
        assert_eq!(namespace["metadata"]["labels"]["team"], "shop");
        assert_eq!(namespace["metadata"]["annotations"]["note"], "ours");
        Ok(())
    });
}

#[test]
fn an_application_does_only_what_its_service_account_may() {
    story(|lab| async move {
        let app = lab.given("account").await?;
        let mut application = app.application();
        application["spec"]["serviceAccountName"] = json!("deployer-account");
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1s", "maxDuration": "1s"}});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&application).await?;
        // The account may do nothing, or is not there: the same to the API server.
        app.condition(
            "SyncError",
            "system:serviceaccount:trimtab:deployer-account",
        )
        .await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", app.name);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "deploy"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"],
                       "verbs": ["get", "create", "patch", "delete"]}],
        });
        app.cluster.create(&format!("{roles}/roles"), &role).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "deploy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deploy"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer-account", "namespace": "trimtab"}],
        });
        app.cluster
            .create(&format!("{roles}/rolebindings"), &binding)
            .await?;
        app.value("map", Some("1")).await?;
        app.synced(&first).await?;
        // A commit asks for more than it may: nothing of that kind is made, and it says who.
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: more}\n";
        app.push(&lab.agent, &[("secret.yaml", Some(secret))])
            .await?;
        app.condition("SyncError", "deployer-account").await?;
        let path = format!("/api/v1/namespaces/{}/secrets/more", app.name);
        assert_eq!(app.cluster.find(&path).await?, None);
        let second = app.push(&lab.agent, &[("secret.yaml", None)]).await?;
        app.synced(&second).await?;
        // It also deletes as that account.
        let third = app
            .push(
                &lab.agent,
                &[
                    ("map.yaml", None),
                    ("next.yaml", Some(&config_map("next", "1"))),
                ],
            )
            .await?;
        app.value("map", None).await?;
        app.synced(&third).await?;
        Ok(())
    });
}

#[test]
fn deleting_an_application_spares_what_asks_for_it_and_waits_for_a_person() {
    story(|lab| async move {
        let app = lab.given("spared").await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let first = app.commit(&[
            ("goes.yaml", Some(&config_map("goes", "1"))),
            (
                "stays.yaml",
                Some(&with_options("stays", "1", "Delete=false")),
            ),
            (
                "asks.yaml",
                Some(&with_options("asks", "1", "Delete=confirm")),
            ),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        app.cluster.delete(&app.path()).await?;
        app.value("goes", None).await?;
        app.condition("Deleting", "asks for confirmation").await?;
        app.value("asks", Some("1")).await?;
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
        let approve = json!({"metadata": {"annotations": {"trimtab.dev/deletion-approved": later.to_string()}}});
        app.cluster.patch(&app.path(), &approve).await?;
        app.value("asks", None).await?;
        eventually("the Application is gone", SOON, || async {
            Ok(match app.cluster.find(&app.path()).await? {
                None => Expectation::Met(()),
                Some(live) => Expectation::Pending(live["status"]["conditions"].to_string()),
            })
        })
        .await?;
        app.value("stays", Some("1")).await?;
        Ok(())
    });
}

/// A definition that an operator installs after it was itself applied, say.
#[test]
fn an_object_whose_kind_is_not_served_yet_is_not_asked_about_where_it_says_so() {
    story(|lab| async move {
        let app = lab.given("not-served-yet").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1s", "maxDuration": "1s"}});
        let thing = |options: &str| {
            format!(
                "apiVersion: later.example.com/v1\nkind: Thing\nmetadata:\n  name: thing\n  \
                 annotations: {{argocd.argoproj.io/sync-wave: \"1\", \
                 argocd.argoproj.io/sync-options: \"{options}\"}}\nspec: {{size: 1}}\n"
            )
        };
        app.commit(&[
            ("map.yaml", Some(&config_map("map", "1"))),
            ("thing.yaml", Some(&thing("Prune=true"))),
        ])?;
        app.create(&application).await?;
        app.condition("SyncError", "Thing").await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        let skips = thing("SkipDryRunOnMissingResource=true");
        let second = app
            .push(&lab.agent, &[("thing.yaml", Some(&skips))])
            .await?;
        app.value("map", Some("1")).await?;
        app.condition("SyncError", "Thing").await?;
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.later.example.com"},
            "spec": {
                "group": "later.example.com", "scope": "Namespaced",
                "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        app.cluster.create(definitions, &definition).await?;
        app.synced(&second).await?;
        let path = "/apis/later.example.com/v1/namespaces/not-served-yet/things/thing";
        app.cluster.get(path).await.map(drop)
    });
}

#[test]
fn the_options_of_one_sync_hold_for_all_that_it_does() {
    story(|lab| async move {
        let app = lab.given("once-optioned").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        application["spec"]["destination"]["namespace"] = json!("once-optioned-made");
        let files = [
            ("a.yaml", Some(config_map("a", "1"))),
            ("b.yaml", Some(config_map("b", "1"))),
        ];
        let files = files
            .each_ref()
            .map(|(path, text)| (*path, text.as_deref()));
        app.commit(&files)?;
        app.create(&application).await?;
        let ask = async |sync: Value, message: &str| {
            let operation = json!({"operation": {"sync": sync}});
            app.cluster.patch(&app.path(), &operation).await?;
            app.becomes(message, |status| {
                let state = &status["operationState"];
                state["finishedAt"].is_string()
                    && state["operation"]["sync"] == sync
                    && state["message"]
                        .as_str()
                        .is_some_and(|it| it.contains(message))
            })
            .await
        };
        let map = "/api/v1/namespaces/once-optioned-made/configmaps/a";
        ask(json!({"syncOptions": ["Replace=false"]}), "not found").await?;
        ask(json!({"syncOptions": ["CreateNamespace=true"]}), "2 of 2").await?;
        app.cluster.get(map).await?;
        // What a sync prunes stays when that sync says so.
        app.push(&lab.agent, &[("a.yaml", None)]).await?;
        app.becomes("a is to go", |status| {
            status["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|row| row["name"] == "a" && row["requiresPruning"] == true)
        })
        .await?;
        let keeps = json!({"prune": true, "syncOptions": ["Prune=false"]});
        ask(keeps, "nothing to change").await?;
        app.cluster.get(map).await?;
        ask(json!({"prune": true}), "1 of").await?;
        assert_eq!(app.cluster.find(map).await?, None);
        Ok(())
    });
}
