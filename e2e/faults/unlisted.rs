//! A kind that the agent may read, apply and delete, and neither list nor watch: each object is
//! read when the application is looked at.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Scene;
use super::away::{SINGLE, account};
use crate::given::{SOON, config_map, story};
use crate::lab::gate::Asked;
use crate::lab::{Expectation, eventually};

fn lease(name: &str, holder: &str) -> String {
    format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: {name}}}\n\
         spec: {{holderIdentity: \"{holder}\"}}\n"
    )
}

/// Waits until a Lease has this holder, or (none) is gone.
async fn holder(scene: &Scene, path: &str, expected: Option<&str>) -> Result<()> {
    eventually(&format!("held by {expected:?}"), SOON, || async {
        let live = scene.app.cluster.find(path).await?;
        let now = live
            .as_ref()
            .map(|it| it["spec"]["holderIdentity"].as_str().unwrap_or("-"));
        Ok(match now == expected {
            true => Expectation::Met(()),
            false => Expectation::Pending(format!(
                "{now:?}; {}",
                scene.app.status().await?["conditions"]
            )),
        })
    })
    .await
}

fn is_apply(asked: &Asked) -> bool {
    asked.path.contains("/leases/") && asked.method == "PATCH" && !asked.is_dry_run()
}

#[test]
fn what_may_not_be_listed_is_read_repaired_and_pruned() {
    story(|lab| async move {
        let scene = Scene::of(lab, "unlisted").await?;
        let agent = scene
            .agent_as(&account(&scene, &SINGLE).await?, &scene.gate)
            .await?;
        let leases = "/apis/coordination.k8s.io/v1/namespaces/unlisted/leases";
        // One that another Application has, as far as it says itself.
        let theirs = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "theirs",
                "annotations": {"trimtab.dev/tracking-id":
                    "unlisted_other:coordination.k8s.io/Lease:unlisted/theirs"},
            },
            "spec": {"holderIdentity": "other"},
        });
        let mut other = scene.app.application();
        other["metadata"] = json!({"namespace": "unlisted", "name": "other"});
        let applications = "/apis/trimtab.dev/v1alpha1/namespaces/unlisted/applications";
        scene.app.cluster.create(applications, &other).await?;
        scene.app.cluster.create(leases, &theirs).await?;
        let first = scene.app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("ours.yaml", Some(&lease("ours", "git"))),
            ("theirs.yaml", Some(&lease("theirs", "git"))),
        ])?;
        scene.app.create(&scene.application()).await?;
        scene
            .app
            .condition("SharedResourceWarning", "theirs")
            .await?;
        holder(&scene, &format!("{leases}/theirs"), Some("other")).await?;
        let second = scene.app.push(&agent, &[("theirs.yaml", None)]).await?;
        ensure!(first != second);
        let ours = format!("{leases}/ours");
        holder(&scene, &ours, Some("git")).await?;
        scene.app.synced(&second).await?;
        scene.rest().await?;
        // A look asks and applies nothing where nothing differs.
        ensure!(scene.gate.count(is_apply) == 1, "applied again and again");
        scene.app.refresh().await?;
        scene.app.refreshed().await?;
        scene.rest().await?;
        ensure!(scene.gate.count(is_apply) == 1, "applied for a look");
        // What a hand changed shows at the next look.
        let hand = json!({"spec": {"holderIdentity": "hand"}});
        scene.app.cluster.patch(&ours, &hand).await?;
        scene.app.refresh().await?;
        holder(&scene, &ours, Some("git")).await?;
        scene.app.synced(&second).await?;
        ensure!(
            scene.gate.count(is_apply) == 2,
            "not one apply for one edit"
        );
        scene.app.push(&agent, &[("ours.yaml", None)]).await?;
        holder(&scene, &ours, None).await?;
        holder(&scene, &format!("{leases}/theirs"), Some("other")).await?;
        scene.bystander_is_untouched().await
    });
}
