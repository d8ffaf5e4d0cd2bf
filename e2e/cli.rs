//! The command line, as a person uses it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

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

/// The same with something on standard input.
pub(crate) fn trimtab_reads(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(binary())
        .env_clear()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses may not read to the end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
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

const DEGRADED: &str = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: plain, namespace: shop}
- apiVersion: v1
  kind: Pod
  metadata: {name: broken, namespace: shop}
  status: {phase: Failed, message: \"it \\e[31mbroke\"}
";

#[test]
fn what_needs_no_cluster_asks_none() {
    let ends = |arguments: &[&str], input: &str, code: i32, expected: &[&str]| {
        let output = trimtab_reads(arguments, input);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for words in expected {
            assert!(text.contains(words), "{arguments:?}: {text}");
        }
        assert!(
            !text.contains('\u{1b}'),
            "an escape reaches the terminal: {text}"
        );
        text
    };
    ends(
        &["health"],
        DEGRADED,
        1,
        &["Degraded", "broke", "not assessed"],
    );
    let json = ends(&["health", "-o", "json"], DEGRADED, 1, &[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["health"]["status"], "Degraded");
    ends(&["health"], "a: [", 2, &["holds no manifests"]);
    ends(&["health", "/none"], "", 2, &["could not read /none"]);
    ends(
        &["rbac"],
        "",
        0,
        &["trimtab-viewer", "trimtab-admin", "rollback"],
    );
    ends(
        &["import"],
        "kind: Pod\napiVersion: v1\n",
        2,
        &["nothing in it to import", "Pod"],
    );
    let argo = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  \
                source: {repoURL: 'https://example.com/shop'}\n";
    let made = ends(&["import", "--into", "apps"], argo, 0, &["namespace: apps"]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("map.yaml"), config_map("map", "1")).unwrap();
    let local = directory.path().to_str().unwrap();
    ends(
        &["render", "-f", "-", "--local", local],
        &made,
        0,
        &["name: map", "value: \"1\""],
    );
    ends(
        &["render", "-f", "-", "--local", "/none"],
        &made,
        2,
        &["could not open /none"],
    );
    ends(&["render"], "", 2, &["<APPLICATION>"]);
}

#[test]
fn a_receiver_is_tried_by_a_push_of_one_s_own() {
    story(|lab| async move {
        let app = lab.given("tried").await?;
        app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        app.create(&app.application()).await?;
        app.value("map", Some("one")).await?;
        app.commit(&[("map.yaml", Some(&config_map("map", "two")))])?;
        let directory = lab.guardian.directory();
        let (good, bad) = (directory.join("tried-good"), directory.join("tried-bad"));
        std::fs::write(&good, crate::lab::agent::GITHUB_SECRET)?;
        std::fs::write(&bad, "not it")?;
        let url = |receiver: &str| format!("http://{}/hooks/{receiver}", lab.agent.webhooks);
        let send = |url: &str, secret: &std::path::Path, code, expected: &[&str]| {
            let (secret, repository) = (secret.to_str().unwrap(), app.url.as_str());
            let arguments = [
                "webhook",
                url,
                "--provider",
                "github",
                "--secret-file",
                secret,
                "--repository",
                repository,
            ];
            trimtab_ends(lab, &arguments, code, expected);
        };
        send(&url("github"), &bad, 2, &["401", "the secret is not"]);
        send(&url("nobody"), &good, 2, &["404", "no such receiver"]);
        send(
            "http://127.0.0.1:1/hooks/github",
            &good,
            2,
            &["could not reach"],
        );
        send(&url("github"), &good, 0, &["202", "delivery trimtab-"]);
        app.value("map", Some("two")).await?;
        Ok(())
    });
}

#[test]
fn verbs_take_several_by_their_labels() {
    story(|lab| async move {
        let app = lab.given("by-labels").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "one")))])?;
        let mut manifest = app.application();
        manifest["metadata"]["labels"] = json!({"team": "by-labels"});
        app.create(&manifest).await?;
        app.synced(&commit_id).await?;
        let by = |verb: &str, code, expected: &[&str]| {
            trimtab_ends(lab, &[verb, "-l", "team=by-labels"], code, expected);
        };
        by("refresh", 0, &["requested a refresh of by-labels"]);
        by("wait", 0, &["by-labels: Synced"]);
        by("pause", 0, &["paused by-labels"]);
        app.condition("Paused", "").await?;
        by("resume", 0, &["resumed by-labels"]);
        by("sync", 0, &["requested a sync of by-labels"]);
        trimtab_ends(
            lab,
            &["refresh", "-l", "team=none"],
            2,
            &["no application", "team=none"],
        );
        trimtab_ends(lab, &["refresh"], 2, &["<APPLICATION>"]);
        Ok(())
    });
}
