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
        let line = "list -A | (exec <&-; sleep 1); exit ${PIPESTATUS[0]}";
        let (code, shown) = on_a_terminal(lab, 80, line, &[("SHELL", "/bin/bash")])?;
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

#[test]
fn a_terminal_shows_how_far_it_is_and_a_deletion_is_waited_for() {
    story(|lab| async move {
        let app = lab.given("told").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let (code, shown) = on_a_terminal(lab, 80, "refresh told --wait", &[])?;
        ensure!(
            code == 0 && shown.contains("told: requested"),
            "{code} {shown}"
        );
        // The line is taken back when there is a result.
        ensure!(
            shown.contains("\u{1b}[") || shown.contains('\r'),
            "{shown:?}"
        );
        let held = json!({"metadata": {"finalizers": ["lab/held"]}});
        app.cluster.patch(&app.map("map"), &held).await?;
        let line = "delete told --cascade background --yes --wait --timeout 2s";
        let (code, shown) = on_a_terminal(lab, 200, line, &[])?;
        ensure!(
            code == 2 && shown.contains("is on its way out"),
            "{code} {shown}"
        );
        let free = json!({"metadata": {"finalizers": null}});
        app.cluster.patch(&app.map("map"), &free).await?;
        let (code, shown) = on_a_terminal(lab, 80, "delete told --yes --wait", &[])?;
        // It may be gone already.
        let gone = shown.contains("is gone") || shown.contains("no application");
        ensure!(gone && (code == 0 || code == 2), "{code} {shown}");
        ensure!(
            app.cluster.find(&app.path()).await?.is_none(),
            "it is there"
        );
        Ok(())
    });
}

/// Each shell takes the script, and bash completes a verb and a flag by it.
#[test]
fn shells_complete_what_is_typed() {
    story(|lab| async move {
        let program = binary();
        let directory = lab.guardian.directory();
        for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
            let script = Command::new(&program)
                .args(["completion", shell])
                .output()?;
            let file = directory.join(format!("completion.{shell}"));
            std::fs::write(&file, &script.stdout)?;
            let read = Command::new(shell)
                .arg(check)
                .arg(&file)
                .output()
                .with_context(|| format!("{shell}: hack/test installs it"))?;
            ensure!(read.status.success(), "{shell}: {read:?}");
        }
        let complete = |words: &str| -> Result<String> {
            let script = directory.join("completion.bash");
            let line = format!(
                "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _trimtab \
                 trimtab \"${{COMP_WORDS[COMP_CWORD]}}\" x; echo \"${{COMPREPLY[@]}}\"",
                script.display()
            );
            let run = Command::new("bash").args(["-c", &line]).output()?;
            Ok(String::from_utf8_lossy(&run.stdout).trim().to_owned())
        };
        ensure!(
            complete("trimtab roll")? == "rollback",
            "{}",
            complete("trimtab roll")?
        );
        let flags = complete("trimtab sync --dry")?;
        ensure!(flags == "--dry-run", "{flags}");
        Ok(())
    });
}
