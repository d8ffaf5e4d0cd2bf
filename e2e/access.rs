//! The pages for people who do not see them: axe-core finds nothing serious, in light and in the dark.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{config_map, story};
use crate::lab::browser::{Browser, Look};
use crate::looking::pages;
use crate::pages::logged_in;

/// The script that `hack/browser` fetched.
fn axe() -> Result<String> {
    let path = std::env::var_os("TRIMTAB_AXE").map_or_else(
        || {
            let home = std::env::var("HOME").unwrap_or_default();
            let cache = std::env::var("XDG_CACHE_HOME").unwrap_or(format!("{home}/.cache"));
            format!("{cache}/trimtab/axe/4.14.1/axe.min.js").into()
        },
        std::path::PathBuf::from,
    );
    std::fs::read_to_string(&path)
        .with_context(|| format!("no {}: run hack/browser first", path.display()))
}

/// What axe-core finds on the page that is open, of impact serious or critical.
async fn serious(browser: &Browser, axe: &str) -> Result<Vec<String>> {
    browser.run(axe).await?;
    let start = "window.found = undefined;
        axe.run(document, { resultTypes: ['violations'] }).then(
            (results) => { window.passed = results.passes.length; window.found = results.violations; },
            (error) => { window.found = [{ impact: 'critical', id: String(error), nodes: [] }]; });";
    browser.run(start).await?;
    let found = crate::lab::eventually("axe-core is done", crate::given::SOON, || async {
        let found = browser.run("return window.found ?? null").await?;
        Ok(match found {
            Value::Null => crate::lab::Expectation::Pending("it runs".to_owned()),
            found => crate::lab::Expectation::Met(found),
        })
    })
    .await?;
    // A script that looked at nothing finds nothing.
    let passed = browser.run("return window.passed > 10").await?;
    ensure!(
        passed == true || !found.as_array().is_some_and(Vec::is_empty),
        "axe-core did not run"
    );
    let found = found.as_array().cloned().unwrap_or_default();
    let serious = found
        .iter()
        .filter(|it| it["impact"] == "serious" || it["impact"] == "critical");
    Ok(serious
        .map(|it| format!("{}: {}", it["id"], it["nodes"][0]["html"]))
        .collect())
}

#[test]
fn nothing_serious_stands_in_the_way_in_light_and_in_the_dark() {
    story(|lab| async move {
        let app = lab.given("accessible").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({"automated": {}});
        app.create(&manifest).await?;
        app.synced(&commit_id).await?;
        let edit = json!({"data": {"value": "by hand"}});
        app.cluster.patch(&app.map("a"), &edit).await?;
        let axe = axe()?;
        let page = "/applications/trimtab/accessible";
        for dark in [false, true] {
            let look = Look {
                dark,
                ..Look::default()
            };
            let (browser, base) = logged_in(lab, "trimtab-admin", look).await?;
            let mut all = Vec::new();
            for (path, _) in pages("accessible") {
                browser.visit(&format!("{base}{path}")).await?;
                browser.shows("Log out").await?;
                let found = serious(&browser, &axe).await?;
                all.extend(found.iter().map(|it| format!("{path}: {it}")));
            }
            browser.visit(&format!("{base}{page}")).await?;
            browser.press("Sync").await?;
            let found = serious(&browser, &axe).await?;
            all.extend(found.iter().map(|it| format!("the dialog of a sync: {it}")));
            ensure!(all.is_empty(), "dark: {dark}\n{}", all.join("\n"));
            browser.close().await?;
        }
        Ok(())
    });
}
