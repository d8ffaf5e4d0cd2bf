//! The command line on a terminal: colours, widths, progress and Ctrl-C.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::given::{Lab, SOON, binary, config_map, story};
use crate::lab::{Expectation, eventually};

/// Runs a line on a pseudo-terminal of so many columns; answers with the exit code and what was
/// shown.
fn on_a_terminal(
    lab: &Lab,
    columns: u32,
    line: &str,
    more: &[(&str, &str)],
) -> Result<(i32, String)> {
    let program = binary();
    let line = format!("stty cols {columns}; {} {line}", program.display());
    let run = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var("PATH")?)
        .env("TERM", "xterm")
        .env("KUBECONFIG", &lab.control_plane.kubeconfig)
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .output()
        .context("script (of util-linux)")?;
    let shown = String::from_utf8_lossy(&run.stdout).into_owned();
    Ok((run.status.code().context("a code")?, shown))
}

/// Without colours.
fn plain(shown: &str) -> String {
    let mut plain = String::new();
    let mut parts = shown.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[test]
fn a_terminal_has_colours_and_its_width_and_a_pipe_has_neither() {
    story(|lab| async move {
        let app = lab
            .given("on-a-terminal-with-a-name-that-is-rather-long")
            .await?;
        app.commit(&[("map.yaml", Some("not: [a manifest"))])?;
        app.create(&app.application()).await?;
        app.condition("ComparisonError", "").await?;
        let list = "list -n trimtab";
        for columns in [40, 80, 200] {
            let (_, shown) = on_a_terminal(lab, columns, list, &[])?;
            ensure!(shown.contains("\u{1b}["), "{columns}: no colours: {shown}");
            let longest = plain(&shown)
                .lines()
                .map(|it| it.trim_end().chars().count())
                .max();
            let longest = longest.unwrap_or_default();
            ensure!(longest > 20, "{shown}");
            if columns >= 80 {
                ensure!(longest <= columns as usize, "{columns}: {longest}");
            }
        }
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let (_, shown) = on_a_terminal(lab, 80, list, &[(name, value)])?;
            ensure!(!shown.contains("\u{1b}["), "{name}: {shown}");
        }
        // Nobody reads to the end: that is no error.
        let (code, shown) =
            on_a_terminal(lab, 80, "list -A | head -1; test ${PIPESTATUS:-0} = 0", &[])?;
        ensure!(code == 0 && !shown.contains("error"), "{code} {shown}");
        Ok(())
    });
}

#[test]
fn who_stops_waiting_does_not_stop_the_sync() {
    story(|lab| async move {
        let app = lab.given("interrupted").await?;
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec: {schedulerName: nobody, \
                   containers: [{name: run, image: run}]}\n";
        let map = config_map("z", "1").replace(
            "{name: z}",
            "{name: z, annotations: {trimtab.dev/sync-wave: \"1\"}}",
        );
        app.commit(&[("pod.yaml", Some(pod)), ("z.yaml", Some(&map))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        app.create(&manifest).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let child = Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args(["sync", "interrupted", "--wait"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        app.becomes("running", |status| {
            status["operationState"]["phase"] == "Running"
        })
        .await?;
        let pod = format!("/api/v1/namespaces/{}/pods/slow", app.name);
        eventually("the pod", SOON, || async {
            Ok(match app.cluster.find(&pod).await? {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("none".to_owned()),
            })
        })
        .await?;
        let id = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT)?;
        let ended = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.code() == Some(130), "{ended:?}");
        ensure!(
            said.contains("goes on") && said.contains("trimtab wait interrupted"),
            "{said}"
        );
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        app.cluster
            .patch(&format!("{pod}/status"), &json!({"status": ready}))
            .await?;
        app.value("z", Some("1")).await?;
        Ok(())
    });
}
