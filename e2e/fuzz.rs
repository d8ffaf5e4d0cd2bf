//! Everything that a client may send, made of the API's own description by schemathesis.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::given::{Lab, Story, config_map, story};
use crate::lab::visitor;
use crate::people::token;

/// What holds for every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method,\
    allow_header_conformance,ignored_auth";
/// How often each route is asked for each thing that may be wrong with a request.
const EXAMPLES: &str = "40";

#[test]
fn whatever_somebody_who_may_everything_sends_is_answered_as_described() {
    story(|lab| async move {
        let app = given(lab, "fuzz").await?;
        visitor::create(&app.cluster, "fuzz").await?;
        let token = visitor::token(&app.cluster, "fuzz", "trimtab").await?;
        fuzz(lab, &app, &token, &[]).await
    });
}

/// What a viewer may not is shown elsewhere, for every route.
#[test]
fn whatever_a_viewer_reads_is_answered_as_described() {
    story(|lab| async move {
        let app = given(lab, "fuzz-viewer").await?;
        let token = token(lab, "trimtab-viewer", "trimtab").await?;
        let binding = json!({
            "metadata": {"name": "viewer"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "trimtab-viewer",
            },
            "subjects": [
                {"kind": "ServiceAccount", "name": "trimtab-viewer", "namespace": "trimtab"},
            ],
        });
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let path = format!("{rbac}/namespaces/{}/rolebindings", app.home);
        app.cluster.create(&path, &binding).await?;
        fuzz(lab, &app, &token, &["--include-method", "GET"]).await
    });
}

/// An application and an object that are there, so that more is reached than a 404.
async fn given(lab: &'static Lab, name: &str) -> Result<Story> {
    let app = lab.given_in(name, &format!("home-{name}")).await?;
    app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
    app.create(&app.application()).await?;
    Ok(app)
}

async fn fuzz(lab: &Lab, app: &Story, token: &str, only: &[&str]) -> Result<()> {
    let program = std::env::var("TRIMTAB_FUZZ")
        .context("TRIMTAB_FUZZ is not set: hack/test sets it to what hack/fuzz prints")?;
    let agent = lab.agent_for(&app.home, &[]).await?;
    let name = app.name.as_str();
    app.becomes("synced", |status| status["sync"]["status"] == "Synced")
        .await?;
    let directory = lab.guardian.directory().join(name);
    std::fs::create_dir_all(&directory)?;
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
        .args(["--checks", CHECKS])
        .args(only)
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
