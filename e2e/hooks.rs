//! Hooks: once for each desired state, at their place in the sync, cleaned up as they ask.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, config_map, story};
use crate::jobs::{end_pod_of, job};
use crate::lab::git_server::Fault;
use crate::lab::{Expectation, eventually};
use crate::reach;

/// A Pod as a hook: it succeeds when the test says so.
pub(crate) fn hook(name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\n\
         spec:\n  restartPolicy: Never\n  schedulerName: nobody\n  containers: [{{name: run, image: run}}]\n"
    )
}

fn pod(app: &Story, name: &str) -> String {
    format!("/api/v1/namespaces/{}/pods/{name}", app.name)
}

/// Waits until a Pod is there, and ends it.
pub(crate) async fn end_saying(
    app: &Story,
    name: &str,
    phase: &str,
    message: &str,
) -> Result<Value> {
    let path = pod(app, name);
    let live = is_there(app, &path).await?;
    let status = json!({"status": {"phase": phase, "message": message}});
    app.cluster
        .patch(&format!("{path}/status"), &status)
        .await?;
    Ok(live)
}

async fn is_there(app: &Story, path: &str) -> Result<Value> {
    eventually(&format!("{path} is there"), SOON, || async {
        Ok(match app.cluster.find(path).await? {
            Some(live) => Expectation::Met(live),
            None => Expectation::Pending(app.status().await?["operationState"].to_string()),
        })
    })
    .await
}

/// What the hooks of a story are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Pod,
    Job,
}

impl Told {
    /// The name of a story's things.
    pub(crate) fn name(self, name: &str) -> String {
        match self {
            Self::Pod => name.to_owned(),
            Self::Job => format!("{name}-job"),
        }
    }

    /// A hook that ends when the test says so.
    pub(crate) fn hook(self, name: &str, annotations: &str) -> String {
        match self {
            Self::Pod => hook(name, annotations),
            Self::Job => format!(
                "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: \
                 {{{annotations}}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      \
                 restartPolicy: Never\n      schedulerName: nobody\n      containers: [{{name: \
                 run, image: run}}]\n"
            ),
        }
    }

    pub(crate) fn path(self, app: &Story, name: &str) -> String {
        match self {
            Self::Pod => pod(app, name),
            Self::Job => format!("/apis/batch/v1/namespaces/{}/jobs/{name}", app.name),
        }
    }

    /// Waits until a hook's object is there, and ends it. Returns the object as it was.
    pub(crate) async fn end(self, app: &Story, name: &str, phase: &str) -> Result<Value> {
        if self == Self::Pod {
            return end_saying(app, name, phase, "as the test says").await;
        }
        let live = is_there(app, &self.path(app, name)).await?;
        end_pod_of(app, name, phase).await?;
        Ok(live)
    }

    /// What is said of one that failed.
    fn failed(self) -> &'static str {
        match self {
            Self::Pod => "as the test says",
            Self::Job => "backoff limit",
        }
    }

    async fn delete(self, app: &Story, name: &str) -> Result<()> {
        let path = format!("{}?propagationPolicy=Background", self.path(app, name));
        app.cluster.delete(&path).await.map(drop)
    }
}

/// Tells a story with pods and with Jobs as hooks, side by side.
pub(crate) fn told<F>(tell: impl Fn(&'static Lab, Told) -> F)
where
    F: Future<Output = Result<()>>,
{
    story(|lab| async move {
        let (pods, jobs) = futures::join!(tell(lab, Told::Pod), tell(lab, Told::Job));
        pods.context("with pods")?;
        jobs.context("with Jobs")
    });
}

fn uid(live: &Value) -> String {
    live["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn hooks_run_around_a_sync_and_once_for_each_desired_state() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("hooks")).await?;
        let before = told.hook("before", "argocd.argoproj.io/hook: PreSync");
        let after = told.hook(
            "after",
            "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded",
        );
        let first = app.commit(&[
            ("before.yaml", Some(&before)),
            ("after.yaml", Some(&after)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.becomes("waiting for the hook", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("PreSync hook"))
        })
        .await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        let ran = uid(&told.end(&app, "before", "Succeeded").await?);
        app.value("map", Some("1")).await?;
        told.end(&app, "after", "Succeeded").await?;
        let status = app.synced(&first).await?;
        assert_eq!(status["hooks"].as_array().map(Vec::len), Some(2));
        // One is kept until its next run, the other is gone with its success.
        assert_eq!(app.cluster.find(&told.path(&app, "after")).await?, None);
        assert_eq!(
            uid(&app.cluster.get(&told.path(&app, "before")).await?),
            ran
        );
        // Drift is repaired without hooks.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.value("map", Some("1")).await?;
        assert_eq!(
            uid(&app.cluster.get(&told.path(&app, "before")).await?),
            ran
        );
        // Another desired state runs them again, before anything else.
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        eventually("the hook is another one", SOON, || async {
            let live = app.cluster.find(&told.path(&app, "before")).await?;
            Ok(match live.filter(|live| uid(live) != ran) {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("it is the old one".to_owned()),
            })
        })
        .await?;
        assert_eq!(
            app.cluster.get(&app.map("map")).await?["data"]["value"],
            "1"
        );
        told.end(&app, "before", "Succeeded").await?;
        told.end(&app, "after", "Succeeded").await?;
        app.value("map", Some("2")).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn a_hook_that_fails_stops_the_sync_and_calls_for_help() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("failing-hook")).await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1s", "maxDuration": "1s"}});
        let before = told.hook(
            "before",
            "trimtab.dev/hook: PreSync, trimtab.dev/hook-delete-policy: \"BeforeHookCreation,HookFailed\"",
        );
        let help = told.hook("help", "argocd.argoproj.io/hook: SyncFail");
        let first = app.commit(&[
            ("before.yaml", Some(&before)),
            ("help.yaml", Some(&help)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        let failed = uid(&told.end(&app, "before", "Failed").await?);
        told.end(&app, "help", "Succeeded").await?;
        app.condition("SyncError", told.failed()).await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        // The next attempt runs it again, in a new object.
        eventually("another attempt", SOON, || async {
            let live = app.cluster.find(&told.path(&app, "before")).await?;
            Ok(match live.filter(|live| uid(live) != failed) {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("none yet".to_owned()),
            })
        })
        .await?;
        told.end(&app, "before", "Succeeded").await?;
        app.value("map", Some("1")).await?;
        app.synced(&first).await?;
        Ok(())
    });
}

#[test]
fn a_hook_edit_is_a_change_and_a_generated_name_is_made() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("edited-hook")).await?;
        let hook = |value: &str| match told {
            Told::Pod => format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: note-\n  annotations: \
                 {{helm.sh/hook: post-install}}\ndata: {{value: \"{value}\"}}\n"
            ),
            // The lab's node runs its pod to the end at once.
            Told::Job => job("note", value, "helm.sh/hook: post-install")
                .replace("{name: note,", "{generateName: note-,"),
        };
        let kind = match told {
            Told::Pod => format!("/api/v1/namespaces/{}/configmaps", app.name),
            Told::Job => format!("/apis/batch/v1/namespaces/{}/jobs", app.name),
        };
        let first = app.commit(&[
            ("hook.yaml", Some(&hook("1"))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let notes = || async {
            let maps = app.cluster.get(&kind).await?;
            let items = maps["items"].as_array().cloned().unwrap_or_default();
            let names = items
                .iter()
                .filter_map(|map| map["metadata"]["name"].as_str().map(str::to_owned))
                .filter(|name| name.starts_with("note-"));
            anyhow::Ok(names.collect::<Vec<_>>())
        };
        let made = notes().await?;
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(
            made[0].starts_with(&format!("note-{}-postsync-", &first[..7])),
            "{made:?}"
        );
        let second = app
            .push(&lab.agent, &[("hook.yaml", Some(&hook("2")))])
            .await?;
        app.synced(&second).await?;
        eventually("a second note", SOON, || async {
            let made = notes().await?;
            Ok(match made.len() {
                2 => Expectation::Met(()),
                _ => Expectation::Pending(format!("{made:?}")),
            })
        })
        .await?;
        Ok(())
    });
}

#[test]
fn hooks_survive_a_restart_and_go_with_the_application() {
    told(|lab, told| async move {
        let app = lab
            .given_in(
                &told.name("restarted-hook"),
                &told.name("home-restarted-hook"),
            )
            .await?;
        let mut agent = lab.agent_for(&app.home, &[]).await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let first = app.commit(&[
            (
                "before.yaml",
                Some(&told.hook("before", "argocd.argoproj.io/hook: PreSync")),
            ),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        let path = told.path(&app, "before");
        let live = eventually("the hook runs", SOON, || async {
            Ok(match app.cluster.find(&path).await? {
                Some(live) => Expectation::Met(live),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        agent.process.kill();
        let agent = lab.agent_for(&app.home, &[]).await?;
        told.end(&app, "before", "Succeeded").await?;
        app.value("map", Some("1")).await?;
        app.synced(&first).await?;
        assert_eq!(
            uid(&app.cluster.get(&path).await?),
            uid(&live),
            "it ran twice"
        );
        app.cluster.delete(&app.path()).await?;
        app.value("map", None).await?;
        eventually("the hook is gone", SOON, || async {
            Ok(match app.cluster.find(&path).await? {
                None => Expectation::Met(()),
                Some(live) => Expectation::Pending(live["metadata"].to_string()),
            })
        })
        .await?;
        drop(agent);
        Ok(())
    });
}

#[test]
fn without_history_disk_and_git_the_deletion_hooks_run_after_a_restart() {
    told(|lab, told| async move {
        let app = lab
            .given_in(&told.name("last-hooks"), &told.name("last-hooks-home"))
            .await?;
        let mut agent = lab.agent_for(&app.home, &[]).await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        application["spec"]["revisionHistoryLimit"] = json!(0);
        let before = told.hook("before", "argocd.argoproj.io/hook: PreDelete");
        let first = app.commit(&[
            ("before.yaml", Some(&before)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let second = app
            .push(&agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        let status = app.synced(&second).await?;
        assert_eq!(status["history"].as_array().map(Vec::len), Some(1));
        agent.process.kill();
        std::fs::remove_dir_all(
            lab.guardian
                .directory()
                .join(format!("agent-{}/work", app.home)),
        )?;
        lab.git.fail(&app.name, Fault::Status(503));
        app.cluster.delete(&app.path()).await?;
        let _agent = lab.agent_for(&app.home, &[]).await?;
        app.value("map", Some("2")).await?;
        told.end(&app, "before", "Succeeded").await?;
        app.value("map", None).await?;
        Ok(())
    });
}

#[test]
fn hooks_run_before_and_after_the_deletion_without_git() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("deletion-hooks")).await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let before = told.hook("before", "argocd.argoproj.io/hook: PreDelete");
        let after = told.hook("after", "helm.sh/hook: post-delete");
        let first = app.commit(&[
            ("before.yaml", Some(&before)),
            ("after.yaml", Some(&after)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        assert_eq!(
            app.cluster.find(&told.path(&app, "before")).await?,
            None,
            "it is not deleted yet"
        );
        lab.git.fail(&app.name, Fault::Status(503));
        app.cluster.delete(&app.path()).await?;
        // One that fails holds up the deletion until it may run again.
        told.end(&app, "before", "Failed").await?;
        app.condition("Deleting", told.failed()).await?;
        app.value("map", Some("1")).await?;
        let failed = uid(&app.cluster.get(&told.path(&app, "before")).await?);
        told.delete(&app, "before").await?;
        eventually("it runs again", SOON, || async {
            let live = app.cluster.find(&told.path(&app, "before")).await?;
            Ok(match live.filter(|live| uid(live) != failed) {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        told.end(&app, "before", "Succeeded").await?;
        app.value("map", None).await?;
        told.end(&app, "after", "Succeeded").await?;
        eventually("all is gone", SOON, || async {
            let left = app.cluster.find(&app.path()).await?;
            let pods = app.cluster.find(&told.path(&app, "after")).await?;
            Ok(match (&left, &pods) {
                (None, None) => Expectation::Met(()),
                _ => Expectation::Pending(format!("{:?}", left.map(|it| it["status"].clone()))),
            })
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_hook_that_the_api_server_refuses_is_found_out_before_anything_is_written() {
    told(|lab, told| async move {
        let app = lab.given(&told.name("refused-hook")).await?;
        let wrong = told
            .hook("after", "argocd.argoproj.io/hook: PostSync")
            .replace("restartPolicy: Never", "restartPolicy: Sometimes");
        app.commit(&[
            ("after.yaml", Some(&wrong)),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.condition("SyncError", "PostSync hook").await?;
        app.condition("SyncError", "restartPolicy").await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        let right = told.hook("after", "argocd.argoproj.io/hook: PostSync");
        let second = app
            .push(&lab.agent, &[("after.yaml", Some(&right))])
            .await?;
        app.value("map", Some("1")).await?;
        // Until it has run the application is not as desired, and it is said what is missing.
        app.becomes("the hook runs", |status| {
            status["operationState"]["message"]
                .as_str()
                .is_some_and(|message| message.contains("PostSync hook"))
        })
        .await?;
        told.end(&app, "after", "Succeeded").await?;
        app.synced(&second).await.map(drop)
    });
}

#[test]
fn without_automation_a_hook_that_did_not_run_is_the_difference_that_is_shown() {
    told(|lab, told| async move {
        reach::pod(lab).await?;
        let app = lab.given(&told.name("shown-hook")).await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        let text = |annotations: &str| told.hook("before", annotations);
        let first = app.commit(&[
            (
                "before.yaml",
                Some(&text("argocd.argoproj.io/hook: PreSync")),
            ),
            (
                "skipped.yaml",
                Some(&told.hook("skipped", "argocd.argoproj.io/hook: Skip")),
            ),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.becomes("compared", |status| status["sync"]["status"] == "OutOfSync")
            .await?;
        let ask = json!({"operation": {"sync": {}}});
        app.cluster.patch(&app.path(), &ask).await?;
        told.end(&app, "before", "Succeeded").await?;
        app.synced(&first).await?;
        assert_eq!(app.cluster.find(&told.path(&app, "skipped")).await?, None);
        let name = app.name.as_str();
        trimtab_ends(lab, &["diff", name], 0, &[]);
        let edited = text("argocd.argoproj.io/hook: PreSync, note: edited");
        app.push(&lab.agent, &[("before.yaml", Some(&edited))])
            .await?;
        app.becomes("a hook edit is a change", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        trimtab_ends(
            lab,
            &["diff", name],
            1,
            &[&format!("{told:?} {name}/before would run")],
        );
        trimtab_ends(lab, &["explain", name], 1, &["did not run yet"]);
        Ok(())
    });
}
