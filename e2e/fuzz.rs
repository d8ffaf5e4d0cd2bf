//! Everything that a client may send, made of the API's own description by schemathesis.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::given::{Lab, config_map, story};
use crate::lab::visitor;

/// How often each route is asked for each thing that may be wrong with a request.
const EXAMPLES: &str = "12";

#[test]
fn whatever_somebody_who_may_everything_sends_is_answered_as_described() {
    story(|lab| async move { fuzz(lab, "fuzz").await });
}

async fn fuzz(lab: &Lab, name: &str) -> Result<()> {
    let program = std::env::var("TRIMTAB_FUZZ")
        .context("TRIMTAB_FUZZ is not set: hack/test sets it to what hack/fuzz prints")?;
    let app = lab.given_in(name, &format!("home-{name}")).await?;
    let agent = lab.agent_for(&app.home, &[]).await?;
    app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
    app.create(&app.application()).await?;
    app.becomes("synced", |status| status["sync"]["status"] == "Synced")
        .await?;
    visitor::create(&app.cluster, name).await?;
    let token = visitor::token(&app.cluster, name, "trimtab").await?;
    let directory = lab.guardian.directory().join(name);
    std::fs::create_dir_all(&directory)?;
    // An application and an object that are there, so that more is reached than a 404.
    let parameters = [
        ("path.namespace", app.home.as_str()),
        ("path.name", name),
        ("query.kind", "ConfigMap"),
        ("query.version", "v1"),
        ("query.resource", "a"),
        ("query.resourceNamespace", name),
    ];
    let mut settings = "[parameters]\n".to_owned();
    for (parameter, value) in parameters {
        settings.push_str(&format!("\"{parameter}\" = \"{value}\"\n"));
    }
    std::fs::write(directory.join("schemathesis.toml"), settings)?;
    let run = tokio::process::Command::new(program)
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", agent.people))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "not_a_server_error,status_code_conformance"])
        .args([
            "--checks",
            "content_type_conformance,response_schema_conformance,ignored_auth",
        ])
        // A stream has no end.
        .args(["--exclude-path", "/api/v1/stream"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--seed", "1", "--no-color"])
        .args(["--rate-limit", "90/s", "--request-timeout", "20"])
        .args(["--generation-database", "none", "--continue-on-failure"])
        .current_dir(&directory)
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    ensure!(
        run.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    ensure!(!agent.process.log().contains("panicked"), "a panic");
    Ok(())
}
