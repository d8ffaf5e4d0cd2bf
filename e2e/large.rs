//! Applications that are larger than an object of the API server can describe.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};

/// Objects of the large application, unless `TRIMTAB_LARGE` says how many: with their names they have
/// rows for more than an object of etcd.
fn objects() -> usize {
    let asked = std::env::var("TRIMTAB_LARGE").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(3_500)
}

/// Objects of one file.
const IN_A_FILE: usize = 500;

/// The name of an object: long, as names that tools make are.
fn name(n: usize) -> String {
    format!("settings-{}-{n:05}", "of-a-large-application-".repeat(8))
}

/// The manifests of one file, without those that are to go.
fn file(number: usize, without: &[usize]) -> String {
    let objects = number * IN_A_FILE..(number + 1) * IN_A_FILE;
    let objects = objects.filter(|n| !without.contains(n));
    let objects: Vec<_> = objects.map(|n| config_map(&name(n), "1")).collect();
    objects.join("---\n")
}

/// Waits for a large application, which takes longer than others.
async fn synced(app: &Story, commit_id: &str) -> Result<Value> {
    eventually(&format!("{} is Synced", app.name), SOON * 5, || async {
        let status = app.status().await?;
        let done = status["sync"]["status"] == "Synced"
            && status["sync"]["revision"] == commit_id
            && status["operationState"]["phase"] != "Running";
        Ok(match done {
            true => Expectation::Met(status),
            false => Expectation::Pending(format!(
                "{} {} {}",
                status["sync"], status["conditions"], status["operationState"]["message"]
            )),
        })
    })
    .await
}

/// The numbers of the objects that are live.
async fn live(app: &Story) -> Result<BTreeSet<String>> {
    let path = format!("/api/v1/namespaces/{}/configmaps", app.name);
    let items = app.cluster.get(&path).await?["items"].take();
    let names = items.as_array().into_iter().flatten().filter_map(|item| {
        let name = item["metadata"]["name"].as_str()?;
        name.starts_with("settings-").then(|| name.to_owned())
    });
    Ok(names.collect())
}

fn bytes(status: &Value) -> usize {
    status.to_string().len()
}

#[test]
fn thousands_of_objects_are_synced_repaired_and_pruned() {
    story(|lab| async move {
        let objects = objects();
        let app = lab.given_in("thousands", "thousands-home").await?;
        let agent = lab.agent_for("thousands-home", &[]).await?;
        let files: Vec<_> = (0..objects / IN_A_FILE)
            .map(|number| (format!("{number}.yaml"), file(number, &[])))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| (path.as_str(), Some(content.as_str())))
            .collect();
        let first = app.commit(&files)?;
        let began = std::time::Instant::now();
        app.create(&app.application()).await?;
        let status = synced(&app, &first).await?;
        eprintln!(
            "{objects} objects: {:?}, status {} bytes, the agent {} MiB, at most {} MiB",
            began.elapsed(),
            bytes(&status),
            agent.memory()?.0 >> 10,
            agent.peak()? >> 10
        );
        ensure!(live(&app).await?.len() == objects);
        ensure!(bytes(&status) < 1_400_000, "{} bytes", bytes(&status));
        // All are named in the inventory, some have rows, and it is said how many have none.
        let entries = status["inventory"]["entries"]
            .as_array()
            .context("entries")?;
        ensure!(entries.len() == 1 && entries[0]["id"] == "packed");
        let rows = status["resources"].as_array().map_or(0, Vec::len);
        let left = status["leftOut"]["resources"].as_u64().unwrap_or_default();
        ensure!(
            rows > 0 && rows + usize::try_from(left)? == objects,
            "{rows}, {left}"
        );
        let said = format!("status.resources lists {rows} of {objects}");
        app.condition("LargeStatusWarning", &said).await?;
        // What somebody deletes comes back.
        let lost = app.map(&name(1234));
        let uid = app.cluster.get(&lost).await?["metadata"]["uid"].take();
        app.cluster.delete(&lost).await?;
        eventually("it is repaired", SOON, || async {
            let found = app.cluster.find(&lost).await?;
            Ok(match found {
                Some(found) if found["metadata"]["uid"] != uid => Expectation::Met(()),
                _ => Expectation::Pending("it is not there".into()),
            })
        })
        .await?;
        // Exactly what left the source goes.
        let gone = [7, 11, 499];
        let shrunk = file(0, &gone);
        let second = app.push(&agent, &[("0.yaml", Some(&shrunk))]).await?;
        synced(&app, &second).await?;
        let expected = (0..objects).filter(|n| !gone.contains(n)).map(name);
        ensure!(live(&app).await? == expected.collect());
        // An agent that starts anew knows all of it, and writes no object.
        let before = app.status().await?;
        drop(agent);
        let agent = lab.agent_for("thousands-home", &[]).await?;
        app.refresh().await?;
        app.refreshed().await?;
        for (verb, expected) in [("apply", 0.0), ("delete", 0.0)] {
            let label = format!("verb=\"{verb}\"");
            let labels = [label.as_str()];
            let count = agent.metric("trimtab_kube_requests_total", &labels).await?;
            ensure!(count == expected, "{verb}: {count}");
        }
        let after = app.status().await?;
        for part in [
            "sync",
            "inventory",
            "resources",
            "leftOut",
            "operationState",
        ] {
            ensure!(after[part] == before[part], "{part} is another one");
        }
        Ok(())
    });
}

/// An Application of which the spec alone takes so many bytes.
fn filled(app: &Story, bytes: usize) -> Value {
    let mut application = app.application();
    application["spec"]["info"] = json!([{"name": "filler", "value": "x".repeat(bytes)}]);
    application
}

#[test]
fn a_status_that_is_refused_as_too_large_is_cut_and_one_that_never_fits_is_said() {
    story(|lab| async move {
        let app = lab.given("filled").await?;
        let maps: Vec<_> = (0..400)
            .map(|n| config_map(&format!("settings-{n}"), "1"))
            .collect();
        let first = app.commit(&[("all.yaml", Some(&maps.join("---\n")))])?;
        app.create(&filled(&app, 1_450_000)).await?;
        let status = synced(&app, &first).await?;
        let rows = status["resources"].as_array().map_or(0, Vec::len);
        ensure!(rows < 400, "{rows}");
        ensure!(live(&app).await?.len() == 400);
        app.condition(
            "LargeStatusWarning",
            "the API server refused a larger status",
        )
        .await?;
        // Without the filler there is room for all.
        let smaller = json!({"spec": {"info": null}});
        app.cluster.patch(&app.path(), &smaller).await?;
        app.becomes("all rows", |status| {
            status["resources"].as_array().map_or(0, Vec::len) == 400
                && status["conditions"].is_null()
        })
        .await?;
        // Nothing is created that the status has no room to name.
        let app = lab.given("overfilled").await?;
        let maps: Vec<_> = (0..300).map(|n| config_map(&name(n), "1")).collect();
        app.commit(&[("all.yaml", Some(&maps.join("---\n")))])?;
        app.create(&filled(&app, 1_550_000)).await?;
        app.condition("SyncError", "too large").await?;
        ensure!(live(&app).await?.is_empty());
        Ok(())
    });
}
