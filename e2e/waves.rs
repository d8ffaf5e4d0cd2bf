//! Waves: what comes first is healthy before the next is begun, and goes last.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::given::{Story, config_map, story};
use crate::lab::{Expectation, eventually};

/// A ConfigMap in a wave.
fn in_wave(name: &str, value: &str, wave: i32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: \
         {{argocd.argoproj.io/sync-wave: \"{wave}\"}}\ndata: {{value: \"{value}\"}}\n"
    )
}

/// A Pod that nobody schedules: it is Progressing until the test gives it a status.
fn slow(name: &str, wave: i32) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: \
         {{trimtab.dev/sync-wave: \"{wave}\"}}\nspec:\n  schedulerName: nobody\n  containers: \
         [{{name: run, image: run}}]\n"
    )
}

/// Makes a Pod healthy, as a kubelet would.
async fn make_ready(app: &Story, name: &str) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/pods/{name}/status", app.name);
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    app.cluster.patch(&path, &json!({"status": ready})).await
}

#[test]
fn a_wave_waits_for_the_health_of_the_one_before() {
    story(|lab| async move {
        let app = lab.given("waves").await?;
        let commit_id = app.commit(&[
            ("first.yaml", Some(&in_wave("first", "1", -5))),
            ("slow.yaml", Some(&slow("slow", 0))),
            ("last.yaml", Some(&in_wave("last", "1", 7))),
        ])?;
        app.create(&app.application()).await?;
        app.value("first", Some("1")).await?;
        let status = app
            .becomes("waiting for the Pod", |status| {
                status["operationState"]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("Pod"))
            })
            .await?;
        assert_eq!(status["operationState"]["phase"], "Running");
        assert_eq!(app.cluster.find(&app.map("last")).await?, None);
        make_ready(&app, "slow").await?;
        app.value("last", Some("1")).await?;
        app.synced(&commit_id).await?;
        Ok(())
    });
}

#[test]
fn a_wave_that_takes_too_long_fails_and_is_tried_again() {
    story(|lab| async move {
        let app = lab.given("slow-wave").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["waveTimeout"] = json!("1s");
        application["spec"]["syncPolicy"]["retry"] = json!({"backoff": {"duration": "1s"}});
        let commit_id = app.commit(&[
            ("slow.yaml", Some(&slow("slow", 0))),
            ("last.yaml", Some(&in_wave("last", "1", 1))),
        ])?;
        app.create(&application).await?;
        app.condition("SyncError", "waited too long for").await?;
        assert_eq!(app.cluster.find(&app.map("last")).await?, None);
        make_ready(&app, "slow").await?;
        app.value("last", Some("1")).await?;
        let status = app.synced(&commit_id).await?;
        assert_eq!(status["conditions"], Value::Null);
        Ok(())
    });
}

#[test]
fn a_newer_commit_does_not_wait_for_an_old_wave() {
    story(|lab| async move {
        let app = lab.given("superseded").await?;
        app.commit(&[
            ("slow.yaml", Some(&slow("slow", 0))),
            ("last.yaml", Some(&in_wave("last", "1", 1))),
        ])?;
        app.create(&app.application()).await?;
        app.becomes("waiting", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("waiting for"))
        })
        .await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("slow.yaml", Some(&slow("slow", 2))),
                    ("last.yaml", Some(&in_wave("last", "2", 1))),
                ],
            )
            .await?;
        app.value("last", Some("2")).await?;
        make_ready(&app, "slow").await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn a_person_ends_a_sync_and_it_stays_ended_until_the_next_commit() {
    story(|lab| async move {
        let app = lab.given("terminated").await?;
        app.commit(&[
            ("slow.yaml", Some(&slow("slow", 0))),
            ("last.yaml", Some(&in_wave("last", "1", 1))),
        ])?;
        app.create(&app.application()).await?;
        app.becomes("waiting", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("waiting for"))
        })
        .await?;
        let stop = json!({"operation": {"terminate": true, "initiatedBy": {"username": "alice"}}});
        app.cluster.patch(&app.path(), &stop).await?;
        app.becomes("terminated", |status| {
            status["operationState"]["phase"] == "Failed"
                && status["operationState"]["terminatedBy"] == "alice"
        })
        .await?;
        // It could go on now, but nobody asks for it.
        make_ready(&app, "slow").await?;
        app.becomes("healthy and out of sync", |status| {
            status["sync"]["status"] == "OutOfSync"
                && status["resources"][0]["health"]["status"] != "Progressing"
        })
        .await?;
        assert_eq!(app.cluster.find(&app.map("last")).await?, None);
        let second = app
            .push(&lab.agent, &[("last.yaml", Some(&in_wave("last", "2", 1)))])
            .await?;
        app.value("last", Some("2")).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn what_came_last_is_deleted_first() {
    story(|lab| async move {
        let app = lab.given("falling").await?;
        let held = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: high\n  annotations: \
                    {argocd.argoproj.io/sync-wave: \"5\"}\n  finalizers: [example.com/held]\n\
                    data: {value: \"1\"}\n";
        let first = app.commit(&[
            ("keep.yaml", Some(&config_map("keep", "1"))),
            ("low.yaml", Some(&in_wave("low", "1", -5))),
            ("high.yaml", Some(held)),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("low.yaml", None), ("high.yaml", None)])
            .await?;
        eventually("high is on its way out", crate::given::SOON, || async {
            let high = app.cluster.get(&app.map("high")).await?;
            Ok(if high["metadata"]["deletionTimestamp"].is_string() {
                Expectation::Met(())
            } else {
                Expectation::Pending("it is not".to_owned())
            })
        })
        .await?;
        app.becomes("waiting for it", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("the deletion of"))
        })
        .await?;
        app.value("low", Some("1")).await?;
        let free = json!({"metadata": {"finalizers": null}});
        app.cluster.patch(&app.map("high"), &free).await?;
        app.value("high", None).await?;
        app.value("low", None).await?;
        Ok(())
    });
}

#[test]
fn what_was_approved_goes_to_its_end_wave_by_wave() {
    story(|lab| async move {
        let app = lab.given("approved-waves").await?;
        let (low, high) = (in_wave("low", "1", -5), in_wave("high", "1", 5));
        let first = app.commit(&[("low.yaml", Some(&low)), ("high.yaml", Some(&high))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let nothing = [
            ("low.yaml", None),
            ("high.yaml", None),
            ("keep.txt", Some("-\n")),
        ];
        app.push(&lab.agent, &nothing).await?;
        app.condition("PruneHeld", "renders nothing").await?;
        crate::cli::trimtab_ends(lab, &["approve", "approved-waves", "--yes"], 0, &[]);
        app.value("high", None).await?;
        app.value("low", None).await?;
        Ok(())
    });
}

#[test]
fn a_commit_that_cannot_apply_applies_nothing() {
    story(|lab| async move {
        let app = lab.given("whole").await?;
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("b.yaml", Some(&config_map("b", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        // Another kind that comes after the ConfigMaps and is refused by the API server.
        let wrong = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {}\n";
        app.push(
            &lab.agent,
            &[
                ("a.yaml", Some(&config_map("a", "2"))),
                ("web.yaml", Some(wrong)),
                ("b.yaml", None),
            ],
        )
        .await?;
        app.condition("SyncError", "Deployment").await?;
        app.value("a", Some("1")).await?;
        app.value("b", Some("1")).await?;
        let third = app
            .push(
                &lab.agent,
                &[
                    ("web.yaml", None),
                    ("a.yaml", Some(&config_map("a", "3"))),
                    ("b.yaml", Some(&config_map("b", "3"))),
                ],
            )
            .await?;
        app.value("a", Some("3")).await?;
        app.synced(&third).await?;
        Ok(())
    });
}

#[test]
fn with_prune_last_what_goes_waits_for_the_health_of_what_comes() {
    story(|lab| async move {
        let app = lab.given("pruned-last").await?;
        let mut application = app.application();
        let first = app.commit(&[
            ("old.yaml", Some(&config_map("old", "1"))),
            ("keep.yaml", Some(&config_map("keep", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        // Also what was applied before the option was there.
        let policy = &mut application["spec"]["syncPolicy"];
        policy["syncOptions"] = json!(["PruneLast=true"]);
        let patch = json!({"spec": {"syncPolicy": policy}});
        app.cluster.patch(&app.path(), &patch).await?;
        let files = [
            ("old.yaml", None),
            ("new.yaml", Some(slow("new", 0))),
            ("map.yaml", Some(config_map("map", "1"))),
        ];
        let files = files
            .each_ref()
            .map(|(path, text)| (*path, text.as_deref()));
        app.push(&lab.agent, &files).await?;
        app.value("map", Some("1")).await?;
        app.becomes("waiting for the Pod", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| {
                    message.contains("Pod pruned-last/new")
                        || message.contains("Pod/pruned-last/new")
                })
        })
        .await?;
        app.value("old", Some("1")).await?;
        make_ready(&app, "new").await?;
        app.value("old", None).await
    });
}

/// Without automation: a Pod that holds up the wave after it, and what comes in that.
async fn two_waves_by_hand(app: &Story) -> Result<()> {
    let mut application = app.application();
    application["spec"]["syncPolicy"] = json!({});
    app.commit(&[
        ("slow.yaml", Some(&slow("slow", 0))),
        ("late.yaml", Some(&in_wave("late", "1", 1))),
    ])?;
    app.create(&application).await?;
    app.becomes("OutOfSync", |status| {
        status["sync"]["status"] == "OutOfSync"
    })
    .await?;
    Ok(())
}

/// A request that comes while another one runs is next, and is not lost with the end of the first.
#[test]
fn what_is_asked_for_meanwhile_is_next() {
    story(|lab| async move {
        let app = lab.given("queued").await?;
        two_waves_by_hand(&app).await?;
        let ask = async |by: &str, sync: Value| {
            let operation = json!({"operation": {
                "sync": sync, "initiatedBy": {"username": by}, "info": [{"name": "by", "value": by}],
            }});
            app.cluster.patch(&app.path(), &operation).await.map(drop)
        };
        let by = |status: &Value, name: &str| {
            status["operationState"]["operation"]["initiatedBy"]["username"] == name
        };
        ask("ann", json!({})).await?;
        app.becomes("waiting for the Pod", |status| {
            by(status, "ann")
                && status["operationState"]["message"]
                    .to_string()
                    .contains("Pod")
        })
        .await?;
        eventually("it is taken off", crate::given::SOON, || async {
            let live = app.cluster.get(&app.path()).await?;
            Ok(match live["operation"].is_null() {
                true => Expectation::Met(()),
                false => Expectation::Pending(live["operation"].to_string()),
            })
        })
        .await?;
        ask("ben", json!({"dryRun": true})).await?;
        make_ready(&app, "slow").await?;
        app.value("late", Some("1")).await?;
        let status = app
            .becomes("the second is over", |status| {
                by(status, "ben") && status["operationState"]["finishedAt"].is_string()
            })
            .await?;
        assert_eq!(status["operationState"]["phase"], "Succeeded");
        let attempts = status["attempts"].to_string();
        assert!(attempts.contains("ann"), "{attempts}");
        Ok(())
    });
}

/// Who wants to keep objects says so, also while a sync is on its way to delete them.
#[test]
fn what_is_to_stay_stays_also_when_it_is_said_during_a_sync() {
    story(|lab| async move {
        let app = lab.given("saved-late").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["PruneLast=true"]);
        let first = app.commit(&[
            ("old.yaml", Some(&config_map("old", "1"))),
            ("keep.yaml", Some(&config_map("keep", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let new = slow("new", 0);
        app.push(&lab.agent, &[("old.yaml", None), ("new.yaml", Some(&new))])
            .await?;
        app.becomes("waiting for the Pod", |status| {
            status["operationState"]["message"]
                .to_string()
                .contains("Pod")
        })
        .await?;
        let keep =
            json!({"spec": {"syncPolicy": {"syncOptions": ["PruneLast=true", "Prune=false"]}}});
        app.cluster.patch(&app.path(), &keep).await?;
        make_ready(&app, "new").await?;
        app.becomes("the end of the sync", |status| {
            status["operationState"]["phase"] == "Succeeded"
        })
        .await?;
        app.value("old", Some("1")).await
    });
}

#[test]
fn a_sync_that_asks_for_confirmation_waits_for_it() {
    story(|lab| async move {
        let app = lab.given("asked-once").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        app.commit(&[
            ("old.yaml", Some(&config_map("old", "1"))),
            ("keep.yaml", Some(&config_map("keep", "1"))),
        ])?;
        app.create(&application).await?;
        let ask = async |sync: Value| {
            app.cluster
                .patch(&app.path(), &json!({"operation": {"sync": sync}}))
                .await
                .map(drop)
        };
        app.becomes("compared", |status| status["sync"]["status"] == "OutOfSync")
            .await?;
        ask(json!({})).await?;
        app.value("old", Some("1")).await?;
        let second = app.push(&lab.agent, &[("old.yaml", None)]).await?;
        app.becomes("old is to go", |status| {
            status["sync"]["revision"] == second.as_str() && status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        ask(json!({"prune": true, "syncOptions": ["Prune=confirm"]})).await?;
        app.becomes("waiting for approval", |status| {
            let state = &status["operationState"];
            let message = state["message"].as_str().unwrap_or_default();
            state["phase"] == "Running" && message.contains("approval to delete")
        })
        .await?;
        app.value("old", Some("1")).await
    });
}

/// What waits for the end of the sync that is ended goes on waiting, and begins then.
#[test]
fn a_sync_is_ended_also_while_another_is_asked_for() {
    story(|lab| async move {
        let app = lab.given("ended-both").await?;
        two_waves_by_hand(&app).await?;
        let sync = ["sync", "ended-both"];
        crate::cli::trimtab_ends(lab, &sync, 0, &[]);
        app.becomes("waiting for the Pod", |status| {
            status["operationState"]["message"]
                .to_string()
                .contains("Pod")
        })
        .await?;
        eventually("a second one waits", crate::given::SOON, || async {
            let asked = json!({"operation": {"sync": {}, "initiatedBy": {"username": "ben"}}});
            let live = app.cluster.get(&app.path()).await?;
            Ok(
                match live["operation"]["initiatedBy"]["username"] == "ben" {
                    true => Expectation::Met(()),
                    false => {
                        app.cluster.patch(&app.path(), &asked).await?;
                        Expectation::Pending(live["operation"].to_string())
                    }
                },
            )
        })
        .await?;
        let words = ["what ben asked for begins after it"];
        crate::cli::trimtab_ends(lab, &["terminate", "ended-both"], 0, &words);
        app.becomes("what ben asked for runs", |status| {
            let state = &status["operationState"];
            state["operation"]["initiatedBy"]["username"] == "ben"
                && state["phase"] == "Running"
                && state["operation"]["info"].is_null()
        })
        .await?;
        let attempts = app.status().await?["attempts"].take();
        let last = attempts.as_array().and_then(|all| all.last());
        let message = last.map(|it| it["message"].to_string()).unwrap_or_default();
        ensure!(message.contains("terminated by"), "{attempts}");
        make_ready(&app, "slow").await?;
        app.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        let live = app.cluster.get(&app.path()).await?;
        ensure!(live["operation"].is_null(), "{}", live["operation"]);
        app.cluster.get(&app.map("late")).await.map(drop)
    });
}
