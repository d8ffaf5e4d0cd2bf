//! The commands that talk to the agent itself, through the kubeconfig and a port-forward.

use std::{io::Read as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::lab::agent::ask;
use crate::lab::browser::{Browser, Look};
use crate::lab::{Expectation, eventually};
use crate::people::token;

/// A pod as the chart labels the agent's: the lab leads its port 8080 to the shared agent.
pub(crate) async fn pod(lab: &Lab) -> Result<()> {
    // The roles come with the first token.
    token(lab, "trimtab-viewer", "trimtab").await?;
    let cluster = &lab.control_plane.cluster;
    let path = "/api/v1/namespaces/trimtab/pods";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "agent", "labels": {"app.kubernetes.io/name": "trimtab"}},
        "spec": {"containers": [{"name": "agent", "image": "none", "ports": [{"containerPort": 8080}]}]},
    });
    let there = format!("{path}/agent");
    if cluster.find(&there).await?.is_none() {
        // Another story may be quicker.
        let _ = cluster.create(path, &pod).await;
    }
    eventually("a ready pod of the agent", SOON, || async {
        let pod = cluster.get(&there).await?;
        Ok(if pod["status"]["phase"] == "Running" {
            Expectation::Met(())
        } else {
            Expectation::Pending(pod["status"]["phase"].to_string())
        })
    })
    .await
}

/// Runs `trimtab diff` of a story's application.
fn diff(lab: &Lab, app: &Story, more: &[&str], code: i32, expected: &[&str]) {
    let mut all = vec!["diff", app.name.as_str(), "-n", "trimtab"];
    all.extend(more);
    trimtab_ends(lab, &all, code, expected);
}

fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n")
}

/// An Application that differs from what is live, and nobody syncs.
async fn out_of_sync(app: &Story) -> Result<()> {
    let differs = |status: &Value| status["sync"]["status"] == "OutOfSync";
    app.becomes("OutOfSync", differs).await.map(drop)
}

#[test]
fn diff_says_what_a_sync_would_change() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("diffed").await?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("s.yaml", Some(&secret("hunter2"))),
        ])?;
        app.create(&manifest).await?;
        out_of_sync(&app).await?;
        let created = ["# ConfigMap diffed/a would be created", "+  value: \"1\""];
        diff(lab, &app, &[], 1, &created);
        trimtab_ends(lab, &["sync", &app.name, "-n", "trimtab", "--wait"], 0, &[]);
        app.synced(&first).await?;
        diff(lab, &app, &[], 0, &[]);
        let second = [
            ("a.yaml", Some(config_map("a", "2"))),
            ("s.yaml", Some(secret("hunter3"))),
        ];
        let second = second
            .each_ref()
            .map(|(path, text)| (*path, text.as_deref()));
        app.push(&lab.agent, &second).await?;
        out_of_sync(&app).await?;
        let changed = ["-  value: \"1\"", "+  value: \"2\"", "live by trimtab"];
        diff(lab, &app, &["--resource", "a"], 1, &changed);
        let explain = ["explain", app.name.as_str(), "ConfigMap/a", "-n", "trimtab"];
        let written = ["data.value: live 1, desired 2", "written by trimtab"];
        trimtab_ends(lab, &explain, 1, &written);
        let shown = std::process::Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args(["diff", &app.name, "-n", "trimtab", "--as", "admin"])
            .output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        ensure!(
            shown.contains("Secret diffed/s would be changed"),
            "{shown}"
        );
        for canary in ["hunter", "aHVudGVy"] {
            ensure!(!shown.contains(canary), "{shown}");
        }
        diff(lab, &app, &["--revision", &first], 0, &[]);
        diff(lab, &app, &["--deployment", "99"], 2, &["99"]);
        let branch = "no-such-branch";
        diff(lab, &app, &["--revision", branch], 2, &[branch]);
        Ok(())
    });
}

#[test]
fn diff_renders_a_checkout_that_nobody_has_committed() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("checked-out").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let checkout = lab.guardian.directory().join("checkout");
        std::fs::create_dir_all(checkout.join("app"))?;
        std::fs::write(checkout.join("app/a.yaml"), config_map("a", "3"))?;
        let path = checkout.display().to_string();
        diff(lab, &app, &["--local", &path], 1, &["+  value: \"3\""]);
        let as_viewer = ["--local", &path, "--as", "viewer"];
        diff(lab, &app, &as_viewer, 2, &["may not update"]);
        let elsewhere = ["--server", "http://example.com"];
        diff(lab, &app, &elsewhere, 2, &["this machine only"]);
        let nobody = ["--server", "http://127.0.0.1:1"];
        diff(lab, &app, &nobody, 2, &["could not reach the agent"]);
        Ok(())
    });
}

#[test]
fn ui_opens_one_browser_once() {
    story(|lab| async move {
        pod(lab).await?;
        let mut child = std::process::Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args(["ui", "-n", "trimtab"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = Vec::new();
        let stdout = child.stdout.as_mut().context("an output")?;
        let mut byte = [0];
        while stdout.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        let url = String::from_utf8(line)?;
        let told = async {
            let rest = url
                .strip_prefix("http://localhost:")
                .context("an address")?;
            let port: u16 = rest.split('/').next().unwrap_or_default().parse()?;
            let here = ([127, 0, 0, 1], port).into();
            let host = format!("localhost:{port}");
            let (status, _) = ask(here, "GET", "/", &[("Host", &host)], b"").await?;
            ensure!(status == 403, "without the key: {status}");
            let evil = format!("evil.example:{port}");
            let (status, _) = ask(here, "GET", "/", &[("Host", &evil)], b"").await?;
            ensure!(status == 421, "another host: {status}");
            let browser = Browser::open(&lab.guardian, Look::default()).await?;
            browser.visit(&url).await?;
            browser.shows("trimtab-viewer").await?;
            browser.shows("live").await?;
            let other = Browser::open(&lab.guardian, Look::default()).await?;
            other.visit(&url).await?;
            other.shows("opens one browser once").await?;
            other.close().await?;
            browser.close().await
        };
        let told = told.await;
        child.kill()?;
        child.wait()?;
        told
    });
}
