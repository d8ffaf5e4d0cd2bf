//! Objects that somebody else made before: taken over without being made again, and then ours.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::given::{Lab, Story, config_map, story};

/// Runs the real kubectl with a manifest on its standard input.
fn kubectl(lab: &Lab, app: &Story, arguments: &[&str], manifest: &str) -> Result<()> {
    let file = lab.guardian.directory().join(format!("{}.yaml", app.name));
    std::fs::write(&file, manifest)?;
    let output = lab
        .control_plane
        .kubectl()
        .args(["-n", &app.name])
        .args(arguments)
        .arg("-f")
        .arg(&file)
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {arguments:?}: {text}");
    Ok(())
}

fn two_keys(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map}}\ndata: {{value: \"{value}\", extra: x}}\n"
    )
}

/// Commits the object as it is, lets it be taken over, then commits it with a key less.
async fn taken_over(lab: &Lab, app: &Story) -> Result<Value> {
    let before = app.cluster.get(&app.map("map")).await?;
    let first = app.commit(&[("map.yaml", Some(&two_keys("git")))])?;
    app.create(&app.application()).await?;
    app.synced(&first).await?;
    let second = app
        .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "git")))])
        .await?;
    app.synced(&second).await?;
    let after = app.cluster.get(&app.map("map")).await?;
    assert_eq!(
        after["metadata"]["uid"], before["metadata"]["uid"],
        "it was made again"
    );
    assert_eq!(after["data"]["value"], "git");
    assert_eq!(
        after["data"]["extra"],
        Value::Null,
        "a key that left Git stays"
    );
    Ok(after)
}

#[test]
fn what_kubectl_applied() {
    story(|lab| async move {
        let app = lab.given("by-kubectl").await?;
        kubectl(lab, &app, &["apply"], &two_keys("hand"))?;
        let label = json!({"metadata": {"labels": {"by": "somebody"}}});
        app.cluster.patch(&app.map("map"), &label).await?;
        let after = taken_over(lab, &app).await?;
        let annotations = &after["metadata"]["annotations"];
        let last = &annotations["kubectl.kubernetes.io/last-applied-configuration"];
        assert_eq!(*last, Value::Null, "a copy of the manifest is left behind");
        assert_eq!(after["metadata"]["labels"]["by"], "somebody");
        Ok(())
    });
}

#[test]
fn what_other_tools_kept() {
    story(|lab| async move {
        for manager in ["argocd-controller", "kustomize-controller", "helm"] {
            let app = lab.given(&format!("by-{manager}")).await?;
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
                "data": {"value": "theirs", "extra": "x"}});
            app.cluster.apply(&app.map("map"), manager, &map).await?;
            taken_over(lab, &app).await?;
        }
        Ok(())
    });
}

#[test]
fn what_a_client_wrote_without_apply() {
    story(|lab| async move {
        let app = lab.given("by-argocd-update").await?;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"value": "theirs", "extra": "x"}});
        let path = format!(
            "/api/v1/namespaces/{}/configmaps?fieldManager=argocd-controller",
            app.name
        );
        app.cluster.create(&path, &map).await?;
        taken_over(lab, &app).await?;
        Ok(())
    });
}
