//! What is shown of repositories, deliveries and the time that changes took.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{Lab, SOON, Story, config_map, story};
use crate::lab::agent::ask;
use crate::lab::browser::Look;
use crate::lab::{Expectation, eventually};
use crate::pages::logged_in;
use crate::people::token;

async fn get(lab: &Lab, account: &str, path: &str) -> Result<(u16, Value)> {
    let authorization = format!("Bearer {}", token(lab, account, "trimtab").await?);
    let headers = [("Host", "127.0.0.1"), ("Authorization", &authorization)];
    let (status, text) = ask(lab.agent.people, "GET", path, &headers, b"").await?;
    Ok((status, serde_json::from_str(&text)?))
}

/// The last delivery about a repository.
async fn delivery(lab: &Lab, url: &str) -> Result<Value> {
    let (status, receivers) = get(lab, "trimtab-viewer", "/api/v1/receivers").await?;
    ensure!(status == 200, "{receivers}");
    let receivers = receivers.as_array().context("receivers")?;
    let all = receivers
        .iter()
        .filter_map(|receiver| receiver["deliveries"].as_array())
        .flatten();
    let mut ours = all.filter(|delivery| delivery["repository"] == url);
    Ok(ours.next().cloned().unwrap_or_default())
}

/// Waits until the last delivery about a repository came to this for each application.
async fn came_to(lab: &Lab, url: &str, expected: &[(&str, &str)]) -> Result<Value> {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, verdict)| json!([name, verdict]))
        .collect();
    eventually("the verdicts", SOON, || async {
        let delivery = delivery(lab, url).await?;
        let verdicts = delivery["verdicts"].as_array().into_iter().flatten();
        let seen: Vec<_> = verdicts
            .map(|it| json!([it["name"], it["verdict"]]))
            .collect();
        Ok(if seen == expected {
            Expectation::Met(delivery)
        } else {
            Expectation::Pending(delivery.to_string())
        })
    })
    .await
}

/// Two applications of one repository that read different directories.
async fn two(app: &Story) -> Result<()> {
    let first = app.repository.commit(
        "main",
        &[
            ("app/a.yaml", Some(&config_map("a", "1"))),
            ("other/b.yaml", Some(&config_map("b", "1"))),
        ],
        "both",
    )?;
    app.create(&app.application()).await?;
    let mut other = app.application();
    other["metadata"]["name"] = json!(format!("{}-other", app.name));
    other["spec"]["source"]["path"] = json!("other");
    app.create(&other).await?;
    app.synced(&first).await?;
    app.value_eventually("b", "1").await
}

#[test]
fn a_delivery_says_what_it_came_to_for_each_application() {
    story(|lab| async move {
        let app = lab.given("delivered").await?;
        two(&app).await?;
        let other = format!("{}-other", app.name);
        let commit_id = app
            .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.synced(&commit_id).await?;
        let verdicts = [(app.name.as_str(), "changed"), (&other, "unchanged")];
        came_to(lab, &app.url, &verdicts).await?;
        let timed = eventually("the stages", SOON, || async {
            let delivery = delivery(lab, &app.url).await?;
            let timing = delivery["verdicts"][0]["timing"].clone();
            Ok(if timing["healthyMs"].is_number() {
                Expectation::Met(timing)
            } else {
                Expectation::Pending(delivery.to_string())
            })
        })
        .await?;
        ensure!(timed["revision"] == commit_id, "{timed}");
        let path = format!("/api/v1/applications/trimtab/{}/timings", app.name);
        let (_, timings) = get(lab, "trimtab-viewer", &path).await?;
        ensure!(
            timings[0]["trigger"] == "push" && timings[0]["delivery"] != "",
            "{timings}"
        );
        lab.agent
            .push_github(&app.url, "elsewhere", &commit_id)
            .await?;
        let verdicts = [
            (app.name.as_str(), "otherRevision"),
            (&other, "otherRevision"),
        ];
        came_to(lab, &app.url, &verdicts).await?;
        let nobody = "https://forge.example/nobody/follows.git";
        lab.agent.push_github(nobody, "main", &commit_id).await?;
        came_to(lab, nobody, &[]).await?;
        ensure!(
            delivery(lab, nobody).await?["event"] == "push",
            "it is not noted"
        );
        let unsigned = lab
            .agent
            .deliver("github", &[("X-GitHub-Event", "push")], b"{}")
            .await?;
        ensure!(unsigned == 401 || unsigned == 415, "{unsigned}");
        let (status, _) = get(lab, "stranger", "/api/v1/receivers").await?;
        ensure!(status == 403, "a stranger sees the receivers: {status}");
        Ok(())
    });
}

#[test]
fn repositories_say_how_they_do_and_who_uses_them() {
    story(|lab| async move {
        let app = lab.given("repositories").await?;
        two(&app).await?;
        let missing = lab.given("repositories-lost").await?;
        std::fs::remove_dir_all(missing.repository.directory())?;
        missing.create(&missing.application()).await?;
        let row = |rows: &Value, url: &str| {
            let mut rows = rows.as_array().into_iter().flatten();
            rows.find(|row| row["url"] == url)
                .cloned()
                .unwrap_or_default()
        };
        let rows = eventually("an error", SOON, || async {
            let (_, rows) = get(lab, "trimtab-viewer", "/api/v1/repositories").await?;
            Ok(if row(&rows, &missing.url)["error"].is_string() {
                Expectation::Met(rows)
            } else {
                Expectation::Pending(row(&rows, &missing.url).to_string())
            })
        })
        .await?;
        let good = row(&rows, &app.url);
        ensure!(good["users"].as_array().map(Vec::len) == Some(2), "{good}");
        ensure!(good["error"].is_null() && good["lastAsked"] != "", "{good}");
        ensure!(row(&rows, &missing.url)["staleSince"].is_string(), "{rows}");
        let (_, rows) = get(lab, "stranger", "/api/v1/repositories").await?;
        ensure!(rows == json!([]), "a stranger sees {rows}");
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        browser.visit(&format!("{base}/repositories")).await?;
        browser.shows("cannot be read").await?;
        browser.shows(&app.url).await?;
        lab.agent
            .push_github(&app.url, "<b>evil</b>", &"0".repeat(40))
            .await?;
        browser.visit(&format!("{base}/webhooks")).await?;
        browser.shows("follows another branch or tag").await?;
        browser.shows("refs/heads/<b>evil</b>").await?;
        browser
            .visit(&format!("{base}/applications/trimtab/{}/history", app.name))
            .await?;
        browser.shows("How long the last changes took").await?;
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}
