//! Texts that repositories, clusters and people decide, written to do harm: they are shown and do
//! nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::given::{Lab, SOON, config_map, story};
use crate::hooks::{end_saying, hook};
use crate::lab::agent::ask;
use crate::lab::browser::Look;
use crate::lab::{Expectation, eventually};
use crate::pages::logged_in;
use crate::people::token;

const SCRIPT: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";
/// Turns round what follows it.
const TURN: char = '\u{202e}';
/// Clears a terminal and paints it red.
const PAINT: &str = "\u{1b}[2J\u{1b}[31m";

/// Nothing that a person cannot see, and nothing that runs.
fn harmless(what: &str, html: &str) -> Result<()> {
    ensure!(!html.contains(TURN), "{what} turns texts round");
    ensure!(!html.contains('\u{1b}'), "{what} has an escape");
    ensure!(!html.contains("<script>alert"), "{what} has a script");
    ensure!(
        !html.contains("href=\"javascript:"),
        "{what} has a bad link"
    );
    Ok(())
}

#[test]
fn hostile_texts_are_shown_and_do_nothing() {
    story(|lab| async move {
        let app = lab.given("hostile").await?;
        let value = format!("{SCRIPT} javascript:alert(3) {TURN} end");
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "annotations": {"note": value, "link": "javascript:alert(4)"}},
            "data": {"value": value, "paint": PAINT, "long": "x".repeat(700 << 10)},
        });
        let (text, message) = (map.to_string(), format!("{value}{PAINT}"));
        app.repository
            .commit("main", &[("app/a.yaml", Some(&text))], &message)?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        manifest["spec"]["info"] = json!([{"name": SCRIPT, "value": "javascript:alert(5)"}]);
        manifest["metadata"]["annotations"] = json!({"note": value});
        app.create(&manifest).await?;
        let pause = json!({"spec": {"pause": {"by": value, "reason": format!("{value}{PAINT}")}}});
        app.cluster.patch(&app.path(), &pause).await?;
        app.condition("Paused", "onerror").await?;
        let event = json!({
            "metadata": {"generateName": "e-", "namespace": "trimtab"},
            "involvedObject": {"kind": "Application", "name": "hostile", "namespace": "trimtab"},
            "type": "Warning", "reason": SCRIPT, "message": format!("{value}{PAINT}"),
            "lastTimestamp": "2026-01-01T00:00:00Z",
        });
        app.cluster
            .create("/api/v1/namespaces/trimtab/events", &event)
            .await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/hostile");
        browser.visit(&page).await?;
        browser.press("Sync").await?;
        browser.click("dialog[open] button.go").await?;
        app.becomes("synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        let edit = json!({"data": {"value": format!("{value} by hand")}});
        app.cluster.patch(&app.map("a"), &edit).await?;
        let object = "kind=ConfigMap&version=v1&resourceNamespace=hostile&resource=a";
        for path in [
            format!("{base}/?q=hostile"),
            format!("{base}/tiles?q=hostile"),
            page.clone(),
            format!("{page}?view=list"),
            format!("{page}/diff?all=true"),
            format!("{page}/diff?all=true&view=split"),
            format!("{page}/events"),
            format!("{page}/history"),
            format!("{page}/manifest"),
            format!("{page}/resource?{object}"),
            format!("{base}/?q={}", "%3Cscript%3Ealert(6)%3C/script%3E"),
        ] {
            browser.visit(&path).await?;
            browser.shows("Log out").await?;
            let html = browser
                .run("return document.documentElement.outerHTML")
                .await?;
            let html = html.as_str().context("a page")?;
            harmless(&path, html)?;
            ensure!(html.len() < 1 << 20, "{path}: {} bytes", html.len());
        }
        browser.visit(&format!("{page}/events")).await?;
        browser.shows("<script>alert(2)</script>").await?;
        browser.shows("[U+202E]").await?;
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await?;
        let log = lab.agent.process.log();
        ensure!(
            !log.contains('\u{1b}') && !log.contains(TURN),
            "the log is painted"
        );
        Ok(())
    });
}

/// What a forge and a hook say: the name of a branch, and why a hook failed.
#[test]
fn hostile_branches_and_hooks_are_shown_and_do_nothing() {
    const BRANCH: &str = "<img/src=x/onerror=alert(7)><script>alert(8)</script>";
    story(|lab| async move {
        let app = lab.given("hostile-branch").await?;
        let annotations = "trimtab.dev/hook: PreSync";
        let files = [("app/hook.yaml", Some(hook("check", annotations)))];
        let files = files
            .each_ref()
            .map(|(path, text)| (*path, text.as_deref()));
        app.repository.commit(BRANCH, &files, "a branch")?;
        let mut manifest = app.application();
        manifest["spec"]["source"]["targetRevision"] = json!(BRANCH);
        app.create(&manifest).await?;
        let message = format!("{SCRIPT} javascript:alert(9) {TURN}{PAINT}");
        end_saying(&app, "check", "Failed", &message).await?;
        app.condition("SyncError", "onerror").await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/hostile-branch");
        for path in [
            format!("{base}/?q=hostile-branch"),
            page.clone(),
            format!("{page}/history"),
            format!("{page}/manifest"),
            format!("{base}/repositories"),
        ] {
            browser.visit(&path).await?;
            browser.shows("Log out").await?;
            let html = browser
                .run("return document.documentElement.outerHTML")
                .await?;
            harmless(&path, html.as_str().context("a page")?)?;
        }
        browser.shows("alert(8)").await?;
        browser.visit(&page).await?;
        browser.shows("onerror=alert(1)").await?;
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

#[test]
fn a_log_is_shown_and_does_nothing() {
    story(|lab| async move {
        let app = lab.given("noisy").await?;
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
            selector: {matchLabels: {app: noisy}}\n  template:\n    \
            metadata: {labels: {app: noisy}}\n    spec: {containers: [{name: c, image: none}]}\n";
        let commit_id = app.commit(&[("web.yaml", Some(deployment))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let mut log = std::fs::File::options()
            .append(true)
            .open(lab.guardian.directory().join("pod.log"))?;
        let stamp = "2026-01-01T00:00:01.000000000Z stdout F";
        writeln!(log, "{stamp} {SCRIPT}{TURN}{PAINT}")?;
        writeln!(log, "{stamp} {}", "x".repeat(1 << 20))?;
        writeln!(log, "{stamp} the last line")?;
        let pods = "/api/v1/namespaces/noisy/pods?labelSelector=app%3Dnoisy";
        let pod = eventually("a pod that runs", SOON, || async {
            let found = app.cluster.get(pods).await?["items"][0].clone();
            Ok(match found["status"]["phase"] == "Running" {
                true => Expectation::Met(found["metadata"]["name"].clone()),
                false => Expectation::Pending(found.to_string()),
            })
        })
        .await?;
        let pod = pod.as_str().context("a name")?;
        let bearer = format!("Bearer {}", token(lab, "trimtab-viewer", "trimtab").await?);
        let headers = [("Host", "localhost"), ("Authorization", bearer.as_str())];
        let path = format!(
            "/api/v1/applications/trimtab/noisy/logs?resourceNamespace=noisy&resource={pod}"
        );
        let (status, text) = ask(lab.agent.people, "GET", &path, &headers, b"").await?;
        ensure!(status == 200 && text.contains("the last line"), "{status}");
        let longest = text.lines().map(str::len).max().unwrap_or_default();
        ensure!(longest < 64 << 10, "a line of {longest} bytes");
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        let object = format!("kind=Pod&version=v1&resourceNamespace=noisy&resource={pod}");
        browser
            .visit(&format!(
                "{base}/applications/trimtab/noisy/resource?{object}"
            ))
            .await?;
        browser.shows("a line of a pod").await?;
        browser.shows("the last line").await?;
        browser.shows("[U+202E]").await?;
        let shown = browser
            .run("return document.querySelector('[data-log]').innerHTML")
            .await?;
        harmless("the log", shown.as_str().context("a log")?)?;
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

#[test]
fn an_application_of_five_thousand_objects_is_shown() {
    story(|lab| async move {
        let app = lab.given("many").await?;
        let mut text = String::new();
        for number in 0..5000 {
            writeln!(text, "---\n{}", config_map(&format!("map-{number}"), "1"))?;
        }
        app.commit(&[("all.yaml", Some(&text))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        app.create(&manifest).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/many");
        browser.visit(&page).await?;
        browser.shows("5000 of 5000").await?;
        for path in [format!("{page}?view=list"), format!("{page}?q=map-4999")] {
            browser.visit(&path).await?;
            browser.shows("map-4999").await?;
        }
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

#[test]
fn a_token_whose_account_is_gone_is_worth_nothing() {
    story(|lab| async move {
        token(lab, "trimtab-viewer", "trimtab").await?;
        let cluster = &lab.control_plane.cluster;
        crate::lab::visitor::create(cluster, "short-lived").await?;
        let gone = crate::lab::visitor::token(cluster, "short-lived", "trimtab").await?;
        let account = "/api/v1/namespaces/trimtab/serviceaccounts/short-lived";
        cluster.delete(account).await?;
        // The API server itself hears of it a moment later.
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": gone, "audiences": ["trimtab"]},
        });
        let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
        eventually("a token of nobody", SOON, || async {
            let answer = cluster.create(reviews, &review).await?;
            Ok(match answer["status"]["authenticated"] == true {
                true => Expectation::Pending(answer["status"].to_string()),
                false => Expectation::Met(()),
            })
        })
        .await?;
        let bearer = format!("Bearer {gone}");
        let headers = [("Host", "localhost"), ("Authorization", bearer.as_str())];
        let (status, body) = ask(lab.agent.people, "GET", "/api/v1/about", &headers, b"").await?;
        ensure!(status == 401, "{status} {body}");
        Ok(())
    });
}

/// A token of the cluster as it would be if it ended at another time: signed again, by the same
/// key.
fn ending(lab: &Lab, token: &str, seconds_from_now: i64) -> Result<String> {
    let key = std::fs::read_to_string(lab.guardian.directory().join("service-accounts.key"))?;
    let key: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &STANDARD.decode(key)?,
        &random,
    );
    let key = key.ok().context("a key")?;
    let (message, _) = token.rsplit_once('.').context("a token")?;
    let (header, claims) = message.split_once('.').context("a token")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let end = i64::try_from(now)? + seconds_from_now;
    claims["exp"] = json!(end);
    for begin in ["iat", "nbf"] {
        claims[begin] = json!(end - 600);
    }
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key
        .sign(&random, message.as_bytes())
        .ok()
        .context("a signature")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[test]
fn a_token_that_has_ended_is_worth_nothing() {
    story(|lab| async move {
        let good = token(lab, "trimtab-viewer", "trimtab").await?;
        for (seconds, expected) in [(300, 200), (-300, 401)] {
            let bearer = format!("Bearer {}", ending(lab, &good, seconds)?);
            let headers = [("Host", "localhost"), ("Authorization", bearer.as_str())];
            let (status, body) =
                ask(lab.agent.people, "GET", "/api/v1/about", &headers, b"").await?;
            ensure!(status == expected, "{seconds}: {status} {body}");
        }
        Ok(())
    });
}
