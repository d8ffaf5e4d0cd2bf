//! The end of an Application.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{SOON, Story, config_map, story};
use crate::lab::git_server::Fault;
use crate::lab::{Cluster, Expectation, eventually};

/// Waits until something is not there any more.
pub(crate) async fn gone(cluster: &Cluster, path: &str) -> Result<()> {
    eventually(&format!("{path} is gone"), SOON, || async {
        Ok(match cluster.find(path).await? {
            None => Expectation::Met(()),
            Some(found) => Expectation::Pending(found["metadata"].to_string()),
        })
    })
    .await
}

#[test]
fn with_the_finalizer_the_resources_go_without_git() {
    story(|lab| async move {
        let app = lab.given("finalizer").await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        lab.git.fail("finalizer", Fault::Status(500));
        app.cluster.delete(&app.path()).await?;
        gone(&app.cluster, &app.path()).await?;
        app_maps_are_gone(&app.cluster, &app.map("a"), &app.map("b")).await
    });
}

async fn app_maps_are_gone(cluster: &Cluster, a: &str, b: &str) -> Result<()> {
    assert!(
        cluster.find(a).await?.is_none(),
        "{a} outlived its Application"
    );
    assert!(
        cluster.find(b).await?.is_none(),
        "{b} outlived its Application"
    );
    Ok(())
}

#[test]
fn without_the_finalizer_the_resources_stay() {
    story(|lab| async move {
        let app = lab.given("orphan").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.cluster.delete(&app.path()).await?;
        gone(&app.cluster, &app.path()).await?;
        // Another Application that comes and goes with its resources shows that the agent had time.
        let witness = lab.given("orphan-witness").await?;
        let mut application = witness.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let first = witness.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        witness.create(&application).await?;
        witness.synced(&first).await?;
        witness.cluster.delete(&witness.path()).await?;
        gone(&witness.cluster, &witness.path()).await?;
        app.value_of("a", "1").await
    });
}

impl Story {
    /// The value now, without waiting, and without an Application.
    pub(crate) async fn value_of(&self, name: &str, value: &str) -> Result<()> {
        let map = self.cluster.get(&self.map(name)).await?;
        assert_eq!(map["data"]["value"], value);
        Ok(())
    }
}

/// A ConfigMap that a managed one owns, held by a finalizer, as a controller makes it.
async fn child(app: &Story, parent: &str) -> Result<String> {
    let uid = app.cluster.get(&app.map(parent)).await?["metadata"]["uid"].take();
    let owner = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": parent, "uid": uid,
        "blockOwnerDeletion": true,
    });
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": format!("{parent}-child"), "ownerReferences": [owner],
            "finalizers": ["lab/held"],
        },
    });
    let path = format!("/api/v1/namespaces/{}/configmaps", app.name);
    app.cluster.create(&path, &child).await?;
    Ok(app.map(&format!("{parent}-child")))
}

/// Waits until an object is as wanted.
async fn is(app: &Story, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    eventually(what, SOON, || async {
        let metadata = app.cluster.get(path).await?["metadata"].take();
        Ok(match wanted(&metadata) {
            true => Expectation::Met(()),
            false => Expectation::Pending(metadata.to_string()),
        })
    })
    .await
}

/// In the foreground what an object owns goes first; as an orphan it stays.
#[test]
fn what_is_owned_goes_or_stays_as_the_policy_says() {
    story(|lab| async move {
        let app = lab.given("propagated").await?;
        let mut application = app.application();
        let policy = |policy: &str| json!([format!("PrunePropagationPolicy={policy}")]);
        application["spec"]["syncPolicy"]["syncOptions"] = policy("foreground");
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[
            ("a.yaml", Some(&a)),
            ("b.yaml", Some(&b)),
            ("c.yaml", Some(&config_map("c", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let of_a = child(&app, "a").await?;
        app.push(&lab.agent, &[("a.yaml", None)]).await?;
        is(&app, &of_a, "the child of a goes", |it| {
            it["deletionTimestamp"].is_string()
        })
        .await?;
        let waits = |it: &Value| it["finalizers"] == json!(["foregroundDeletion"]);
        is(&app, &app.map("a"), "a waits for it", waits).await?;
        let free = json!({"metadata": {"finalizers": null}});
        app.cluster.patch(&of_a, &free).await?;
        gone(&app.cluster, &app.map("a")).await?;
        let orphan = json!({"spec": {"syncPolicy": {"syncOptions": policy("orphan")}}});
        app.cluster.patch(&app.path(), &orphan).await?;
        let of_b = child(&app, "b").await?;
        app.push(&lab.agent, &[("b.yaml", None)]).await?;
        gone(&app.cluster, &app.map("b")).await?;
        let stays =
            |it: &Value| it["deletionTimestamp"].is_null() && it["ownerReferences"].is_null();
        is(&app, &of_b, "the child of b has no owner", stays).await?;
        // The same for a deletion of the Application, by the finalizer that says so.
        let of_c = child(&app, "c").await?;
        let delete = ["delete", &app.name, "--cascade", "foreground", "--yes"];
        trimtab_ends(lab, &delete, 0, &[]);
        is(&app, &of_c, "the child of c goes", |it| {
            it["deletionTimestamp"].is_string()
        })
        .await?;
        is(&app, &app.map("c"), "c waits for it", waits).await?;
        assert!(
            app.cluster.find(&app.path()).await?.is_some(),
            "it does not wait"
        );
        app.cluster.patch(&of_c, &free).await?;
        gone(&app.cluster, &app.path()).await?;
        gone(&app.cluster, &app.map("c")).await
    });
}

/// A status that an agent of another version wrote, say: nobody knows what there is to delete.
#[test]
fn an_inventory_that_cannot_be_read_holds_a_deletion_up() {
    story(|lab| async move {
        let app = lab.given_in("unread-inventory", "unreading").await?;
        let agent = lab.agent_for("unreading", &[]).await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&application).await?;
        let status = app.synced(&first).await?;
        drop(agent);
        let entry = &status["inventory"]["entries"][0];
        let mut wrong = entry.clone();
        wrong["w"] = json!(1_i64 << 40);
        let status = format!("{}/status", app.path());
        let patch = |entry: &Value| json!({"status": {"inventory": {"entries": [entry]}}});
        app.cluster.patch(&status, &patch(&wrong)).await?;
        let agent = lab.agent_for("unreading", &[]).await?;
        // Nothing is done while nobody knows what there is, and all goes on when it is corrected.
        app.condition("ComparisonError", "cannot be read").await?;
        let second = app
            .push(&agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.condition("ComparisonError", "cannot be read").await?;
        app.value_of("a", "1").await?;
        app.cluster.patch(&status, &patch(entry)).await?;
        app.value("a", Some("2")).await?;
        let after = app.synced(&second).await?;
        assert_eq!(after["history"].as_array().map(Vec::len), Some(2));
        app.cluster.patch(&status, &patch(&wrong)).await?;
        app.cluster.delete(&app.path()).await?;
        app.condition("Deleting", "cannot be read").await?;
        app.value_of("a", "2").await?;
        app.cluster.patch(&status, &patch(entry)).await?;
        gone(&app.cluster, &app.path()).await?;
        gone(&app.cluster, &app.map("a")).await?;
        drop(agent);
        Ok(())
    });
}
