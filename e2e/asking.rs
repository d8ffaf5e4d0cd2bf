//! What a person or a pipeline asks for, and how it ends.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::hooks::told;
use crate::lab::{Expectation, eventually};

/// An Application that does nothing by itself.
fn by_hand(app: &Story) -> Value {
    let mut application = app.application();
    application["spec"]["syncPolicy"] = json!({});
    application
}

/// Asks as a pipeline does, by a patch.
async fn ask(app: &Story, operation: Value) -> Result<()> {
    let patch = json!({"operation": operation});
    app.cluster.patch(&app.path(), &patch).await.map(drop)
}

/// Waits until what was asked for is off the Application, as it is begun or ended.
async fn taken(app: &Story) -> Result<()> {
    eventually("the operation was taken up", SOON, || async {
        let live = app.cluster.get(&app.path()).await?;
        Ok(match live["operation"].is_null() {
            true => Expectation::Met(()),
            false => Expectation::Pending(live["operation"].to_string()),
        })
    })
    .await
}

/// Waits until a sync says that it waits for the approval of what it is to delete.
async fn asks_for_approval(app: &Story, what: &str) -> Result<Value> {
    let status = app
        .becomes("waiting for approval", |status| {
            let state = &status["operationState"];
            let message = state["message"].as_str().unwrap_or_default();
            state["phase"] == "Running"
                && message.contains("approval to delete")
                && message.contains(what)
        })
        .await?;
    app.condition("PruneHeld", "").await?;
    taken(app).await?;
    Ok(status)
}

/// Waits until the last sync of a person ended so.
async fn ended(app: &Story, phase: &str, words: &str) -> Result<Value> {
    app.becomes(&format!("{phase}, {words}"), |status| {
        let state = &status["operationState"];
        let message = state["message"].as_str().unwrap_or_default();
        state["phase"] == phase && message.contains(words)
    })
    .await
}

/// Creates an Application by hand that is synced with two objects.
async fn given_two(lab: &Lab, app: &Story, application: &Value, second: &str) -> Result<()> {
    let first = app.commit(&[
        ("keep.yaml", Some(&config_map("keep", "1"))),
        ("old.yaml", Some(second)),
    ])?;
    app.create(application).await?;
    if app.home == "trimtab" {
        trimtab_ends(lab, &["sync", &app.name, "--wait"], 0, &["created"]);
    } else {
        ask(app, json!({"sync": {}})).await?;
    }
    app.synced(&first).await.map(drop)
}

#[test]
fn a_sync_by_hand_waits_for_approval_and_goes_on() {
    story(|lab| async move {
        let app = lab.given("by-hand").await?;
        given_two(lab, &app, &by_hand(&app), &config_map("old", "1")).await?;
        // Nothing is rendered any more: all of it would go.
        app.push(
            &lab.agent,
            &[("keep.yaml", Some("# nothing\n")), ("old.yaml", None)],
        )
        .await?;
        trimtab_ends(lab, &["sync", "by-hand", "--prune"], 0, &["requested"]);
        asks_for_approval(&app, "ConfigMap/by-hand/old").await?;
        app.condition("PruneHeld", "renders nothing").await?;
        let explained = ["waiting for approval to delete", "trimtab approve"];
        trimtab_ends(lab, &["explain", "by-hand"], 1, &explained);
        let shown = ["ConfigMap", "keep", "old"];
        trimtab_ends(lab, &["approve", "by-hand"], 1, &shown);
        app.value("old", Some("1")).await?;
        trimtab_ends(lab, &["approve", "by-hand", "--yes"], 0, &["approved"]);
        app.value("old", None).await?;
        app.value("keep", None).await?;
        let status = ended(&app, "Succeeded", "2 of 2 objects changed").await?;
        ensure!(status["conditions"].is_null(), "{}", status["conditions"]);
        Ok(())
    });
}

/// A ConfigMap that is deleted after confirmation only.
fn confirmed(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: \
         {{argocd.argoproj.io/sync-options: Prune=confirm}}\ndata: {{value: \"1\"}}\n"
    )
}

/// Confirms as users of Argo CD do.
async fn confirm(app: &Story, at: jiff::Timestamp) -> Result<()> {
    let time = json!({"argocd.argoproj.io/deletion-approved": at.to_string()});
    let patch = json!({"metadata": {"annotations": time}});
    app.cluster.patch(&app.path(), &patch).await.map(drop)
}

#[test]
fn a_sync_that_waits_for_approval_survives_the_agent() {
    story(|lab| async move {
        let app = lab.given_in("confirming", "confirming-home").await?;
        let agent = lab.agent_for("confirming-home", &[]).await?;
        // The word of an earlier day approves nothing.
        let mut application = by_hand(&app);
        let earlier = json!({"argocd.argoproj.io/deletion-approved": "2026-01-01T00:00:00Z"});
        application["metadata"]["annotations"] = earlier;
        given_two(lab, &app, &application, &confirmed("old")).await?;
        let after = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: after\n  annotations: \
                     {argocd.argoproj.io/hook: PostSync}\n";
        let files = [
            ("old.yaml", None),
            ("keep.yaml", Some(config_map("keep", "2"))),
            ("after.yaml", Some(after.to_owned())),
        ];
        let files: Vec<_> = files.iter().map(|(p, c)| (*p, c.as_deref())).collect();
        app.push(&agent, &files).await?;
        ask(&app, json!({"sync": {"prune": true}})).await?;
        let before = asks_for_approval(&app, "ConfigMap/confirming/old").await?;
        // The rest of the sync is done meanwhile, and what comes after the deletion is not.
        app.value("keep", Some("2")).await?;
        ensure!(app.cluster.find(&app.map("after")).await?.is_none());
        drop(agent);
        let agent = lab.agent_for("confirming-home", &[]).await?;
        app.value("old", Some("1")).await?;
        confirm(&app, jiff::Timestamp::now()).await?;
        app.value("old", None).await?;
        let status = ended(&app, "Succeeded", "").await?;
        let began = |status: &Value| status["operationState"]["startedAt"].clone();
        assert_eq!(began(&status), began(&before), "it is the same sync");
        app.becomes("the hook ran", |status| {
            status["sync"]["status"] == "Synced"
        })
        .await?;
        ensure!(app.cluster.find(&app.map("after")).await?.is_some());
        drop(agent);
        Ok(())
    });
}

#[test]
fn a_sync_that_waits_for_approval_can_be_ended() {
    story(|lab| async move {
        let app = lab.given("unapproved").await?;
        let mut application = by_hand(&app);
        application["spec"]["guard"] = json!({"pruneKinds": ["ConfigMap"]});
        given_two(lab, &app, &application, &config_map("old", "1")).await?;
        app.push(&lab.agent, &[("old.yaml", None)]).await?;
        // It is said before anything is done.
        let dry = ["sync", "unapproved", "--prune", "--dry-run"];
        trimtab_ends(lab, &dry, 1, &["would be pruned once that is approved"]);
        trimtab_ends(lab, &["sync", "unapproved", "--prune"], 0, &[]);
        asks_for_approval(&app, "old").await?;
        // A time far ahead would approve all that comes.
        confirm(&app, "2099-01-01T00:00:00Z".parse()?).await?;
        trimtab_ends(lab, &["terminate", "unapproved"], 0, &[]);
        ended(&app, "Failed", "terminated by").await?;
        app.becomes("no condition", |status| status["conditions"].is_null())
            .await?;
        app.value("old", Some("1")).await?;
        trimtab_ends(lab, &["approve", "unapproved"], 2, &["nothing of"]);
        // Chosen objects are asked about alone.
        let other = [
            "sync",
            "unapproved",
            "--prune",
            "--resource",
            ":ConfigMap:keep",
            "--wait",
        ];
        trimtab_ends(lab, &other, 1, &["nothing changed"]);
        // Another time it is meant.
        trimtab_ends(lab, &["sync", "unapproved", "--prune"], 0, &[]);
        asks_for_approval(&app, "old").await?;
        confirm(&app, jiff::Timestamp::now()).await?;
        app.value("old", None).await?;
        ended(&app, "Succeeded", "1 of 1 objects changed")
            .await
            .map(drop)
    });
}

/// What takes other things or data with it when it goes waits for a person, whoever asked.
#[test]
fn a_namespace_and_a_claim_wait_for_approval() {
    story(|lab| async move {
        let app = lab.given("guarded").await?;
        let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: \
                     {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n";
        let team = "apiVersion: v1\nkind: Namespace\nmetadata: {name: guarded-team}\n";
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("claim.yaml", Some(claim)),
            ("team.yaml", Some(team)),
        ])?;
        app.create(&by_hand(&app)).await?;
        trimtab_ends(lab, &["sync", "guarded", "--wait"], 0, &["created"]);
        app.becomes("Synced", |status| {
            status["sync"]["status"] == "Synced" && status["sync"]["revision"] == first.as_str()
        })
        .await?;
        let paths = [
            "/api/v1/namespaces/guarded-team",
            "/api/v1/namespaces/guarded/persistentvolumeclaims/data",
        ];
        // Each by itself.
        for (file, path, what) in [
            ("team.yaml", paths[0], "Namespace/guarded-team"),
            ("claim.yaml", paths[1], "PersistentVolumeClaim/guarded/data"),
        ] {
            app.push(&lab.agent, &[(file, None)]).await?;
            trimtab_ends(lab, &["sync", "guarded", "--prune"], 0, &[]);
            asks_for_approval(&app, what).await?;
            trimtab_ends(lab, &["explain", "guarded"], 1, &[what, "approve"]);
            let live = app.cluster.get(path).await?;
            ensure!(live["metadata"]["deletionTimestamp"].is_null(), "{live}");
            trimtab_ends(lab, &["approve", "guarded", "--yes"], 0, &[]);
            ended(&app, "Succeeded", "").await?;
            eventually("it goes", SOON, || async {
                let live = app.cluster.find(path).await?.unwrap_or_default();
                let goes = live.is_null() || live["metadata"]["deletionTimestamp"].is_string();
                Ok(match goes {
                    true => Expectation::Met(()),
                    false => Expectation::Pending(live.to_string()),
                })
            })
            .await?;
        }
        app.value("a", Some("1")).await
    });
}

/// Newest, although no push and no poll told of it.
#[test]
fn a_sync_that_is_asked_for_takes_the_newest_commit() {
    story(|lab| async move {
        let app = lab.given("newest").await?;
        let commit = |value: &str| app.commit(&[("map.yaml", Some(&config_map("map", value)))]);
        let first = commit("1")?;
        app.create(&by_hand(&app)).await?;
        app.becomes("compared", |status| {
            status["sync"]["revision"] == first.as_str()
        })
        .await?;
        let second = commit("2")?;
        let asked = lab.git.count("newest", "ls-refs");
        trimtab_ends(
            lab,
            &["sync", "newest", "--wait"],
            0,
            &["created", &second[..12]],
        );
        assert_eq!(lab.git.count("newest", "ls-refs"), asked + 1, "asked once");
        app.value("map", Some("2")).await?;
        let third = commit("3")?;
        let dry = ["sync", "newest", "--dry-run"];
        trimtab_ends(lab, &dry, 1, &["configured", &third[..12]]);
        // The branch by its name is nothing to go back from.
        commit("4")?;
        let named = ["sync", "newest", "--revision", "main", "--wait"];
        trimtab_ends(lab, &named, 0, &["configured"]);
        let status = app.status().await?;
        ensure!(status["conditions"].is_null(), "{}", status["conditions"]);
        app.value("map", Some("4")).await?;
        // An earlier one counts until there is one after the newest of now.
        let fifth = commit("5")?;
        let named = ["sync", "newest", "--revision", &first, "--wait"];
        trimtab_ends(lab, &named, 0, &["configured"]);
        app.value("map", Some("1")).await?;
        let until = format!("the first commit after {} ends it", &fifth[..7]);
        app.condition("RolledBack", &until).await?;
        Ok(())
    });
}

#[test]
fn a_sync_that_is_asked_for_says_that_the_source_cannot_be_read() {
    story(|lab| async move {
        let app = lab.given("unread").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        lab.git.protect("unread", "robot", "swordfish");
        let sync = ["sync", "unread", "--wait"];
        trimtab_ends(
            lab,
            &sync,
            2,
            &["ended with Error", "the source cannot be read"],
        );
        app.condition("SourceError", "").await?;
        // Repairing drift asks nobody.
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        app.value("map", Some("1")).await?;
        // Of a source that was never read nothing is known.
        let never = lab.given("never-read").await?;
        let mut application = never.application();
        application["spec"]["source"]["repoURL"] = json!(lab.git.url("no-such"));
        never.create(&application).await?;
        let sync = ["sync", "never-read", "--wait"];
        trimtab_ends(lab, &sync, 2, &["the source cannot be read"]);
        let back = ["rollback", "never-read", "--wait"];
        trimtab_ends(lab, &back, 2, &["no such deployment"]);
        trimtab_ends(lab, &["terminate", "never-read"], 0, &[]);
        taken(&never).await?;
        trimtab_ends(lab, &["refresh", "never-read", "--wait"], 0, &[]);
        Ok(())
    });
}

#[test]
fn what_is_asked_for_ends_with_an_answer() {
    story(|lab| async move {
        let app = lab.given("answered").await?;
        let keep = confirmed("keep").replace("Prune=confirm", "Delete=confirm");
        let first = app.commit(&[("keep.yaml", Some(&keep))])?;
        let mut application = by_hand(&app);
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        application["spec"]["sparkle"] = json!(true);
        app.create(&application).await?;
        app.condition("InvalidSpecError", "sparkle").await?;
        for hard in [
            &["refresh", "answered", "--wait"][..],
            &["refresh", "answered", "--hard"],
        ] {
            trimtab_ends(lab, hard, 0, &[]);
            app.refreshed().await?;
        }
        let sync = ["sync", "answered", "--wait"];
        trimtab_ends(lab, &sync, 2, &["the spec has faults"]);
        let sound = json!({"spec": {"sparkle": null}});
        app.cluster.patch(&app.path(), &sound).await?;
        trimtab_ends(lab, &sync, 0, &["created"]);
        app.synced(&first).await?;
        for (operation, words) in [
            (
                json!({"info": [{"name": "a", "value": "b"}]}),
                "asks for nothing",
            ),
            (json!({"sync": {"sparkle": true}}), "sparkle"),
        ] {
            ask(&app, operation).await?;
            ended(&app, "Error", words).await?;
            taken(&app).await?;
        }
        trimtab_ends(lab, &sync, 0, &["nothing changed"]);
        app.cluster.delete(&app.path()).await?;
        app.condition("Deleting", "asks for confirmation").await?;
        trimtab_ends(lab, &sync, 2, &["is being deleted"]);
        trimtab_ends(lab, &["refresh", "answered"], 0, &[]);
        app.refreshed().await?;
        trimtab_ends(lab, &["approve", "answered", "--yes"], 0, &[]);
        app.value("keep", None).await
    });
}

/// What a sync did is seen while it runs, and its end is told with the status that belongs to it.
#[test]
fn a_sync_tells_what_it_did_and_ends_as_it_is() {
    told(|lab, told| async move {
        let name = told.name("telling");
        let app = lab.given(&name).await?;
        let pod = told.hook("slow", "argocd.argoproj.io/hook: PostSync");
        let first = app.commit(&[
            ("map.yaml", Some(&config_map("map", "1"))),
            ("slow.yaml", Some(&pod)),
        ])?;
        app.create(&by_hand(&app)).await?;
        let pending = format!("PostSync hook {told:?}/{name}/slow did not run yet");
        app.condition("HookPending", &pending).await?;
        trimtab_ends(lab, &["explain", &name], 1, &[&pending]);
        let waits = std::process::Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &lab.control_plane.kubeconfig)
            .args(["sync", &name, "--wait"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let status = app
            .becomes("the object is told of", |status| {
                let state = &status["operationState"];
                let rows = state["syncResult"]["resources"].as_array();
                state["phase"] == "Running" && rows.is_some_and(|rows| rows.len() == 2)
            })
            .await?;
        let result = &status["operationState"]["syncResult"];
        assert_eq!(result["revision"], first.as_str());
        assert_eq!(result["resources"][0]["message"], "created");
        ensure!(status["conditions"].is_null(), "{}", status["conditions"]);
        told.end(&app, "slow", "Succeeded").await?;
        let output = waits.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        ensure!(text.contains(&format!("{name}: Synced, Healthy")), "{text}");
        Ok(())
    });
}

/// A refresh while a sync runs tells of no other commit, so that the sync goes on.
#[test]
fn a_refresh_ends_no_sync() {
    told(|lab, told| async move {
        let name = told.name("refreshed");
        let app = lab.given(&name).await?;
        let pod = told.hook("slow", "argocd.argoproj.io/hook: PreSync");
        let first = app.commit(&[
            ("map.yaml", Some(&config_map("map", "1"))),
            ("slow.yaml", Some(&pod)),
        ])?;
        app.create(&by_hand(&app)).await?;
        trimtab_ends(lab, &["sync", &name], 0, &[]);
        app.becomes("the hook runs", |status| {
            let message = status["operationState"]["message"].as_str();
            message.is_some_and(|message| message.contains("slow"))
        })
        .await?;
        trimtab_ends(lab, &["refresh", &name], 0, &[]);
        told.end(&app, "slow", "Succeeded").await?;
        let status = app.synced(&first).await?;
        assert_eq!(status["operationState"]["phase"], "Succeeded");
        Ok(())
    });
}
