//! The end of an Application.

use anyhow::Result;
use serde_json::json;

use crate::given::{SOON, config_map, story};
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

impl crate::given::Story {
    /// The value now, without waiting, and without an Application.
    pub(crate) async fn value_of(&self, name: &str, value: &str) -> Result<()> {
        let map = self.cluster.get(&self.map(name)).await?;
        assert_eq!(map["data"]["value"], value);
        Ok(())
    }
}
