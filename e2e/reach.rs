//! The commands that talk to the agent itself, through the kubeconfig and a port-forward.

use std::{io::Read as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, binary, config_map, story};
use crate::lab::agent::ask;
use crate::lab::browser::{Browser, Look};
use crate::lab::{Expectation, eventually};
use crate::people::token;

/// A pod as the chart labels the agent's: the lab leads its port 8080 to the shared agent.
async fn pod(lab: &Lab) -> Result<()> {
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

#[test]
fn diff_says_what_a_sync_would_change() {
    story(|lab| async move {
        pod(lab).await?;
        let app = lab.given("diffed").await?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        let secret = |value: &str| {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n"
            )
        };
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("s.yaml", Some(&secret("hunter2"))),
        ])?;
        app.create(&manifest).await?;
        let args = |more: &[&str]| {
            let mut all: Vec<String> = vec![
                "diff".into(),
                app.name.clone(),
                "-n".into(),
                "trimtab".into(),
            ];
            all.extend(more.iter().map(ToString::to_string));
            all
        };
        let ends = |more: &[&str], code: i32, expected: &[&str]| {
            let args = args(more);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            trimtab_ends(lab, &args, code, expected);
        };
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        ends(
            &[],
            1,
            &["# ConfigMap diffed/a would be created", "+  value: \"1\""],
        );
        trimtab_ends(lab, &["sync", &app.name, "-n", "trimtab", "--wait"], 0, &[]);
        app.synced(&first).await?;
        ends(&[], 0, &[]);
        app.push(
            &lab.agent,
            &[
                ("a.yaml", Some(&config_map("a", "2"))),
                ("s.yaml", Some(&secret("hunter3"))),
            ],
        )
        .await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        ends(
            &["--resource", "a"],
            1,
            &["-  value: \"1\"", "+  value: \"2\"", "live by trimtab"],
        );
        let shown = std::process::Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args(args(&["--as", "admin"]))
            .output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        ensure!(
            shown.contains("Secret diffed/s would be changed"),
            "{shown}"
        );
        for canary in ["hunter", "aHVudGVy"] {
            ensure!(!shown.contains(canary), "{shown}");
        }
        ends(&["--revision", &first], 0, &[]);
        ends(&["--revision", "no-such-branch"], 2, &["no-such-branch"]);
        ends(&["--deployment", "99"], 2, &["99"]);
        // A checkout with another change, which nobody has committed.
        let checkout = lab.guardian.directory().join("diffed-checkout");
        std::fs::create_dir_all(checkout.join("app"))?;
        std::fs::write(checkout.join("app/a.yaml"), config_map("a", "3"))?;
        let path = checkout.display().to_string();
        ends(&["--local", &path], 1, &["+  value: \"3\""]);
        ends(
            &["--local", &path, "--as", "viewer"],
            2,
            &["may not update"],
        );
        ends(
            &["--server", "http://example.com"],
            2,
            &["this machine only"],
        );
        ends(
            &["--server", "http://127.0.0.1:1"],
            2,
            &["could not reach the agent"],
        );
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
