//! The command line, as a person uses it.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::given::{Lab, binary, config_map, story};

fn trimtab(lab: &Lab, arguments: &[&str]) -> Output {
    Command::new(binary())
        .env_clear()
        .env("KUBECONFIG", &lab.control_plane.kubeconfig)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command and checks its exit code and what it says.
pub(crate) fn trimtab_ends(lab: &Lab, arguments: &[&str], code: i32, expected: &[&str]) {
    let output = trimtab(lab, arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for words in expected {
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "colour on a pipe: {text}");
}

#[test]
fn the_verbs_tell_and_do() {
    story(|lab| async move {
        let app = lab.given("cli").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&application).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let check = |arguments: &[&str], code, expected: &[&str]| {
            trimtab_ends(lab, arguments, code, expected);
        };
        check(&["get", "cli"], 1, &["OutOfSync", "map"]);
        check(&["sync", "cli", "--dry-run"], 1, &["map"]);
        assert!(
            app.cluster.find(&app.map("map")).await?.is_none(),
            "a dry run writes nothing"
        );
        check(
            &["sync", "cli", "--wait", "--timeout", "60s"],
            0,
            &["map", "created"],
        );
        app.value("map", Some("one")).await?;
        check(&["get", "cli"], 0, &["Synced", "Healthy", &first[..7]]);
        check(&["list", "-n", "trimtab"], 0, &["cli", "Synced"]);
        check(&["history", "cli"], 0, &[&first[..7]]);
        check(&["refresh", "cli", "--wait", "--timeout", "60s"], 0, &[]);
        check(&["get", "nobody"], 2, &["nobody"]);
        check(
            &["get", "cli", "--kubeconfig", "/nonexistent"],
            2,
            &["/nonexistent"],
        );
        check(&["version"], 0, &[env!("CARGO_PKG_VERSION")]);
        check(&["completion", "bash"], 0, &["complete"]);
        let output = trimtab(lab, &["get", "cli", "-o", "json"]);
        let object: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(object["status"]["sync"]["revision"], first);
        Ok(())
    });
}

#[test]
fn the_agent_touches_no_cluster_that_nobody_named() {
    story(|lab| async move {
        // A kubeconfig in the usual places is not taken by the agent.
        let output = Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args([
                "agent",
                "--address",
                "127.0.0.1:0",
                "--webhook-address",
                "127.0.0.1:0",
                "--operations-address",
                "127.0.0.1:0",
            ])
            .output()?;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("--kubeconfig"), "{}", text(&output));
        Ok(())
    });
}
