//! How people look around in a real browser: filters, logs, trees, what happened when.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::acting::quiet;
use crate::given::{SOON, Story, config_map, story};
use crate::lab::browser::{Browser, Look};
use crate::lab::{Expectation, eventually};
use crate::pages::logged_in;

/// Waits until a script in the page answers with this.
async fn answers(browser: &Browser, script: &str, expected: Value) -> Result<()> {
    eventually(&format!("{script} is {expected}"), SOON, || async {
        let found = browser.run(script).await?;
        Ok(match found == expected {
            true => Expectation::Met(()),
            false => Expectation::Pending(found.to_string()),
        })
    })
    .await
}

const SEARCH: &str = "return location.search";

#[test]
fn filters_act_as_they_are_typed_and_stay_in_the_address() {
    story(|lab| async move {
        let app = lab.given("sought").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        let mut manifest = app.application();
        manifest["metadata"]["labels"] = json!({"sought": "yes"});
        app.create(&manifest).await?;
        app.synced(&commit_id).await?;
        manifest["metadata"]["name"] = json!("sought-other");
        manifest["spec"]["syncPolicy"] = json!({});
        manifest["spec"]["source"]["path"] = json!("nothing");
        app.create(&manifest).await?;
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        browser.visit(&base).await?;
        browser.write("input[name=q]", "sought").await?;
        answers(&browser, SEARCH, json!("?q=sought")).await?;
        let rows =
            "return [...document.querySelectorAll('[data-app]')].map((it) => it.dataset.app)";
        answers(
            &browser,
            rows,
            json!(["trimtab/sought", "trimtab/sought-other"]),
        )
        .await?;
        // The count of a state leads to those of it among the same.
        browser.click("a[href*='sync=Synced']").await?;
        answers(&browser, SEARCH, json!("?q=sought&sync=Synced")).await?;
        answers(&browser, rows, json!(["trimtab/sought"])).await?;
        // And back again.
        browser.click(".counts a.chosen").await?;
        answers(&browser, SEARCH, json!("?q=sought")).await?;
        // A choice in a list acts too, and a label; what was chosen is there after a reload.
        let choose = "const it = document.querySelector('select[name=health]'); it.value = 'Healthy'; \
                      it.dispatchEvent(new Event('input', { bubbles: true }))";
        browser.run(choose).await?;
        answers(&browser, rows, json!(["trimtab/sought"])).await?;
        browser
            .visit(&format!("{base}/?label=sought%3Dyes&sync=Synced"))
            .await?;
        answers(&browser, rows, json!(["trimtab/sought"])).await?;
        let field = "return document.querySelector('input[name=label]').value";
        answers(&browser, field, json!("sought=yes")).await?;
        quiet(browser).await
    });
}

/// The path of the page of a pod that runs.
async fn pod_page(app: &Story, base: &str) -> Result<String> {
    let pods = format!("/api/v1/namespaces/{}/pods", app.name);
    let name = eventually("a pod that runs", SOON, || async {
        let found = app.cluster.get(&pods).await?["items"][0].take();
        Ok(match found["status"]["phase"] == "Running" {
            true => Expectation::Met(found["metadata"]["name"].clone()),
            false => Expectation::Pending(found.to_string()),
        })
    })
    .await?;
    let name = name.as_str().context("a name")?;
    let (namespace, app) = (&app.name, &app.name);
    Ok(format!(
        "{base}/applications/trimtab/{app}/resource?kind=Pod&version=v1&resourceNamespace={namespace}&resource={name}"
    ))
}

#[test]
fn a_log_follows_the_container_and_the_part_that_is_chosen() {
    story(|lab| async move {
        let app = lab.given("chosen-log").await?;
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: \
                   {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
                   spec: {containers: [{name: first, image: none}, {name: second, image: none}]}\n";
        let commit_id = app.commit(&[("web.yaml", Some(web))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        browser.visit(&pod_page(&app, &base).await?).await?;
        browser.shows("a line of a pod").await?;
        let asked = "return new URL(document.querySelector('[data-log]').dataset.log, location.href).search";
        for (field, value, expected) in [
            ("select[name=container]", "second", "container=second"),
            ("select[name=tail]", "100", "tail=100"),
            ("select[name=since]", "3600", "since=3600"),
        ] {
            let choose = format!(
                "const it = document.querySelector('{field}'); it.value = '{value}'; \
                 it.dispatchEvent(new Event('input', {{ bubbles: true }}))"
            );
            browser.run(&choose).await?;
            let query = browser.run(asked).await?.to_string();
            ensure!(
                query.contains(expected) && query.contains("follow=true"),
                "{query}"
            );
        }
        browser.visit(&pod_page(&app, &base).await?).await?;
        browser.shows("a line of a pod").await?;
        // A page that is read anew keeps the log that it shows, and what was chosen of it.
        browser
            .run("document.querySelector('[data-log]').kept = 1")
            .await?;
        let choose = "const it = document.querySelector('select[name=container]'); it.value = 'second'; \
                      it.dispatchEvent(new Event('input', { bubbles: true }))";
        browser.run(choose).await?;
        browser
            .run("document.querySelector('.headline').marked = 1")
            .await?;
        let pause = json!({"spec": {"pause": {"by": "ann", "reason": "to be seen"}}});
        app.cluster.patch(&app.path(), &pause).await?;
        browser.shows("to be seen").await?;
        let anew = "return document.querySelector('.headline').marked ?? 0";
        answers(&browser, anew, json!(0)).await?;
        let kept = "return document.querySelector('[data-log]').kept ?? 0";
        answers(&browser, kept, json!(1)).await?;
        let chosen = "return document.querySelector('select[name=container]').value";
        answers(&browser, chosen, json!("second")).await?;
        quiet(browser).await
    });
}

#[test]
fn a_tree_is_scaled_and_tells_waves_and_a_push_is_seen_stage_by_stage() {
    story(|lab| async move {
        let app = lab.given("drawn").await?;
        let waved = config_map("late", "1").replace(
            "{name: late}",
            "{name: late, annotations: {trimtab.dev/sync-wave: \"3\"}}",
        );
        app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.value("a", Some("1")).await?;
        let commit_id = app.push(&lab.agent, &[("late.yaml", Some(&waved))]).await?;
        app.synced(&commit_id).await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/drawn");
        browser.visit(&page).await?;
        browser.shows("wave 3").await?;
        let width = "return Number(document.querySelector('.graph svg').getAttribute('width'))";
        let natural = browser.run(width).await?.as_f64().context("a width")?;
        browser.click("[data-zoom='1.25']").await?;
        answers(&browser, width, json!(natural * 1.25)).await?;
        // The commit is a link to the forge where there is one, and its author is named.
        browser.shows("a change").await?;
        browser.visit(&format!("{page}/history")).await?;
        for words in [
            "How long the last changes took",
            "fetched",
            "rendered",
            "applied",
            "healthy",
        ] {
            browser.shows(words).await?;
        }
        browser.visit(&format!("{base}/webhooks")).await?;
        browser
            .shows("Settings, Webhooks, Add webhook")
            .await
            .or(browser.shows("Set it up at").await)?;
        browser.shows("matched and changed").await?;
        let link = "return [...document.querySelectorAll('a')].some((it) => it.pathname.endsWith('/drawn/history'))";
        answers(&browser, link, json!(true)).await?;
        quiet(browser).await
    });
}

/// Every page about an application with one ConfigMap `a` that a hand changed, and a word of each.
pub(crate) fn pages(app: &str) -> Vec<(String, &'static str)> {
    let page = format!("/applications/trimtab/{app}");
    let object = format!("group=&version=v1&kind=ConfigMap&resourceNamespace={app}&resource=a");
    vec![
        (format!("/?q={app}"), "OutOfSync"),
        (format!("/tiles?q={app}"), "As a table"),
        ("/repositories".to_owned(), "Repositories"),
        ("/webhooks".to_owned(), "Address"),
        ("/about".to_owned(), "memory"),
        ("/new".to_owned(), "New application"),
        (page.clone(), "ConfigMap"),
        (format!("{page}?view=list"), "ConfigMap"),
        (format!("{page}/diff"), "by hand"),
        (format!("{page}/diff?view=split"), "by hand"),
        (format!("{page}/events"), "Reason"),
        (format!("{page}/history"), "Deployments"),
        (format!("{page}/manifest"), "targetRevision"),
        (format!("{page}/resource?{object}"), "by hand"),
    ]
}

/// Every page fits a phone, and says the same without a script.
#[test]
fn every_page_fits_a_phone_and_needs_no_script() {
    story(|lab| async move {
        let app = lab.given("everywhere").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({"automated": {}});
        app.create(&manifest).await?;
        app.synced(&commit_id).await?;
        let edit = json!({"data": {"value": "by hand"}});
        app.cluster.patch(&app.map("a"), &edit).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let pages = pages("everywhere");
        let phone = Look {
            size: Some((390, 844)),
            ..Look::default()
        };
        let without_script = Look {
            without_script: true,
            ..Look::default()
        };
        for (look, is_phone) in [(phone, true), (without_script, false)] {
            let (browser, base) = logged_in(lab, "trimtab-admin", look).await?;
            for (path, words) in &pages {
                browser.visit(&format!("{base}{path}")).await?;
                browser
                    .becomes(path, |page| {
                        page.to_lowercase().contains(&words.to_lowercase())
                    })
                    .await?;
                if is_phone {
                    let fits = "return document.documentElement.scrollWidth <= innerWidth";
                    ensure!(
                        browser.run(fits).await? == true,
                        "{path} is wider than a phone"
                    );
                }
            }
            browser.close().await?;
        }
        Ok(())
    });
}
