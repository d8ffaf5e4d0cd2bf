//! How often the agent asks: counted, so that no clock decides.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::given::{config_map, story};
use crate::lab::Agent;

/// Dry runs and applies so far.
async fn asked(agent: &Agent) -> Result<(f64, f64)> {
    let count = async |verb: &str| {
        let label = format!("verb=\"{verb}\"");
        agent.metric("trimtab_kube_requests_total", &[&label]).await
    };
    Ok((count("dry_run").await?, count("apply").await?))
}

#[test]
fn a_foreign_edit_costs_one_apply_and_a_restart_nothing() {
    story(|lab| async move {
        let app = lab.given_in("counted", "counting").await?;
        let agent = lab.agent_for("counting", &["--no-install-crd"]).await?;
        let files: Vec<_> = (0..10)
            .map(|n| (format!("m{n}.yaml"), config_map(&format!("m{n}"), "1")))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let before = asked(&agent).await?;
        // One object whose owner changed is known to differ: asking first would tell nothing more.
        // A label of somebody else concerns no field of ours.
        let foreign = json!({"metadata": {"labels": {"theirs": "x"}}});
        app.cluster.patch(&app.map("m1"), &foreign).await?;
        let edit = json!({"data": {"value": "by hand"}});
        app.cluster.patch(&app.map("m0"), &edit).await?;
        app.value("m0", Some("1")).await?;
        // What was applied is remembered in the status; an agent that ends before applies again.
        app.becomes("a repair in the log", |status| {
            let attempts = status["attempts"].as_array();
            attempts.is_some_and(|all| all.iter().any(|attempt| attempt["by"] == "drift"))
        })
        .await?;
        let after = asked(&agent).await?;
        let spent = (after.0 - before.0, after.1 - before.1);
        drop(agent);
        let agent = lab.agent_for("counting", &["--no-install-crd"]).await?;
        // It has looked at everything when it repairs what is changed now.
        app.cluster.patch(&app.map("m2"), &edit).await?;
        app.value("m2", Some("1")).await?;
        let restarted = asked(&agent).await?;
        ensure!(
            spent == (0.0, 1.0) && restarted == (0.0, 1.0),
            "one edit: {spent:?} dry runs and applies; a restart and one edit: {restarted:?}"
        );
        Ok(())
    });
}
