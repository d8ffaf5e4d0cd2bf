//! Texts that repositories, clusters and people decide, written to do harm: they are shown and do
//! nothing.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::given::{config_map, story};
use crate::lab::browser::Look;
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
        app.commit(&[("a.yaml", Some(&map.to_string()))])?;
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
        let bearer = format!("Bearer {gone}");
        let headers = [("Host", "localhost"), ("Authorization", bearer.as_str())];
        let (status, body) =
            crate::lab::agent::ask(lab.agent.people, "GET", "/api/v1/about", &headers, b"").await?;
        ensure!(status == 401, "{status} {body}");
        Ok(())
    });
}
