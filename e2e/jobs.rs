//! Jobs, as hooks and as ordinary objects: each runs once for its desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{Lab, SOON, Story, config_map, story};
use crate::hooks::end_saying;
use crate::lab::{Cluster, Expectation, eventually};

/// A Job whose image tells the round; the lab's node runs its pod to the end at once.
pub(crate) fn job(name: &str, round: &str, annotations: &str) -> String {
    job_with(name, round, annotations, "", "")
}

/// The same with more in its spec and in that of its pod.
fn job_with(name: &str, round: &str, annotations: &str, spec: &str, pod: &str) -> String {
    // As long as that of a real chart: a refusal quotes all of it before it says what is wrong.
    let filler = "x".repeat(1500);
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
         spec:\n  backoffLimit: 0\n{spec}  template:\n    spec:\n      restartPolicy: Never\n{pod}      \
         containers: [{{name: run, image: \"run:{round}\", args: [\"{filler}\"]}}]\n"
    )
}

/// What keeps a pod from being started.
const NOWHERE: &str = "      nodeSelector: {none: such}\n";
const PRE_SYNC: &str = "argocd.argoproj.io/hook: PreSync";

fn jobs(app: &Story) -> String {
    format!("/apis/batch/v1/namespaces/{}/jobs", app.name)
}

/// The resourceVersion of a collection now.
async fn version(cluster: &Cluster, path: &str) -> Result<String> {
    let list = cluster.get(path).await?;
    let version = list["metadata"]["resourceVersion"].as_str();
    Ok(version.unwrap_or_default().to_owned())
}

/// How many objects were created in a collection since then, by the round that they tell.
async fn created(
    cluster: &Cluster,
    path: &str,
    since: &str,
    round: impl Fn(&Value) -> Option<String>,
) -> Result<BTreeMap<String, usize>> {
    let path = format!("{path}?watch=true&timeoutSeconds=1&resourceVersion={since}");
    let mut found = BTreeMap::new();
    for event in cluster.text(&path).await?.lines() {
        let event: Value = serde_json::from_str(event)?;
        ensure!(event["type"] != "ERROR", "the watch of {path}: {event}");
        if event["type"] == "ADDED"
            && let Some(round) = round(&event["object"])
        {
            *found.entry(round).or_default() += 1;
        }
    }
    Ok(found)
}

/// Counts what is created in a collection from now on, for as long as it takes: what the API server
/// remembers of a collection for those who ask later is not much.
pub(crate) struct Counted {
    task: tokio::task::JoinHandle<Result<()>>,
    found: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Counted {
    pub(crate) async fn begin(
        cluster: &Cluster,
        path: &str,
        round: fn(&Value) -> Option<String>,
    ) -> Result<Self> {
        let found = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let (cluster, path, sum) = (cluster.clone(), path.to_owned(), Arc::clone(&found));
        let mut since = version(&cluster, &path).await?;
        let task = tokio::spawn(async move {
            loop {
                let watch = format!("{path}?watch=true&timeoutSeconds=1&resourceVersion={since}");
                for event in cluster.text(&watch).await?.lines() {
                    let event: Value = serde_json::from_str(event)?;
                    ensure!(event["type"] != "ERROR", "the watch of {path}: {event}");
                    let version = event["object"]["metadata"]["resourceVersion"].as_str();
                    version.unwrap_or_default().clone_into(&mut since);
                    if event["type"] == "ADDED"
                        && let Some(round) = round(&event["object"])
                    {
                        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                        *sum.entry(round).or_insert(0) += 1;
                    }
                }
            }
        });
        Ok(Self { task, found })
    }

    /// Waits until all of these were created, and makes sure that each was so once and nothing else.
    pub(crate) async fn each_once(self, wanted: BTreeSet<String>) -> Result<()> {
        eventually("all runs are counted", SOON, || async {
            ensure!(!self.task.is_finished(), "the watch has ended");
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(match wanted.iter().all(|round| found.contains_key(round)) {
                true => Expectation::Met(()),
                false => Expectation::Pending(format!("{found:?}")),
            })
        })
        .await?;
        self.task.abort();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let once = wanted.into_iter().map(|round| (round, 1)).collect();
        ensure!(*found == once, "{found:?}");
        Ok(())
    }
}

/// The round of a Job.
pub(crate) fn round_of_job(job: &Value) -> Option<String> {
    let image = job["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
    Some(image.strip_prefix("run:")?.to_owned())
}

async fn runs(app: &Story, since: &str) -> Result<BTreeMap<String, usize>> {
    created(&app.cluster, &jobs(app), since, round_of_job).await
}

fn once(rounds: &[&str]) -> BTreeMap<String, usize> {
    rounds
        .iter()
        .map(|round| ((*round).to_owned(), 1))
        .collect()
}

/// Waits until a Job is there, or is gone.
async fn job_is(app: &Story, name: &str, there: bool) -> Result<Option<Value>> {
    let path = format!("{}/{name}", jobs(app));
    eventually(&format!("{name} is there: {there}"), SOON, || async {
        let found = app.cluster.find(&path).await?;
        Ok(match found.is_some() == there {
            true => Expectation::Met(found),
            false => Expectation::Pending(app.status().await?["operationState"].to_string()),
        })
    })
    .await
}

fn rows(status: &Value) -> Vec<(String, String, String, String)> {
    let rows = status["operationState"]["syncResult"]["resources"].as_array();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let all = rows.into_iter().flatten().map(|row| {
        (
            text(row, "name"),
            text(row, "status"),
            text(row, "hookType"),
            text(row, "hookPhase"),
        )
    });
    all.collect()
}

#[test]
fn a_hook_whose_template_changes_runs_anew() {
    story(|lab| async move {
        let app = lab.given("job-hook").await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let applications = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications";
        let told_since = version(&app.cluster, applications).await?;
        let only =
            "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookFailed";
        let hard = format!("{PRE_SYNC}, argocd.argoproj.io/sync-options: Force=true");
        let first = app.commit(&[
            ("before.yaml", Some(&job("before", "1", PRE_SYNC))),
            ("after.yaml", Some(&job("after", "after-1", only))),
            ("hard.yaml", Some(&job("hard", "hard-1", &hard))),
            (
                "forced.yaml",
                Some(&job(
                    "forced",
                    "forced-1",
                    "argocd.argoproj.io/sync-options: Force=true",
                )),
            ),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        let status = app.synced(&first).await?;
        let row = |name: &str, type_: &str| {
            let word = |text: &str| text.to_owned();
            (word(name), word("Synced"), word(type_), word("Succeeded"))
        };
        let found = rows(&status);
        ensure!(found.contains(&row("before", "PreSync")), "{found:?}");
        ensure!(found.contains(&row("after", "PostSync")), "{found:?}");
        let second = app
            .push(
                &lab.agent,
                &[
                    ("before.yaml", Some(&job("before", "2", PRE_SYNC))),
                    ("after.yaml", Some(&job("after", "after-2", only))),
                    ("hard.yaml", Some(&job("hard", "hard-2", &hard))),
                    (
                        "forced.yaml",
                        Some(&job(
                            "forced",
                            "forced-2",
                            "argocd.argoproj.io/sync-options: Force=true",
                        )),
                    ),
                    ("map.yaml", Some(&config_map("map", "2"))),
                ],
            )
            .await?;
        app.in_one_sync(&second).await?;
        app.value("map", Some("2")).await?;
        // At no time it was said that the sync succeeded and a hook is still to run.
        let path = format!(
            "{applications}?watch=true&timeoutSeconds=1&resourceVersion={told_since}\
             &fieldSelector=metadata.name={}",
            app.name
        );
        let mut told = 0;
        for event in app.cluster.text(&path).await?.lines() {
            let event: Value = serde_json::from_str(event)?;
            let status = &event["object"]["status"];
            let operation = &status["operationState"];
            let of_now = operation["syncResult"]["revision"] == status["sync"]["revision"];
            if operation["phase"] == "Succeeded" && of_now {
                told += 1;
                ensure!(status["sync"]["status"] == "Synced", "{status}");
            }
        }
        ensure!(told >= 2, "{told}");
        let wanted = [
            "1", "2", "after-1", "after-2", "hard-1", "hard-2", "forced-1", "forced-2",
        ];
        let found = runs(&app, &since).await?;
        ensure!(found == once(&wanted), "{found:?}");
        Ok(())
    });
}

#[test]
fn a_failed_hook_says_so_in_its_row_and_runs_anew_whatever_its_policy() {
    story(|lab| async move {
        let app = lab.given("job-fails").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1s", "maxDuration": "1s"}});
        let policy = format!("{PRE_SYNC}, argocd.argoproj.io/hook-delete-policy: HookSucceeded");
        let by_test = "      schedulerName: nobody\n";
        let hook = job_with("before", "1", &policy, "", by_test);
        let help =
            "argocd.argoproj.io/hook: SyncFail, argocd.argoproj.io/hook-delete-policy: HookFailed";
        let since = version(&app.cluster, &jobs(&app)).await?;
        let first = app.commit(&[
            ("before.yaml", Some(&hook)),
            ("help.yaml", Some(&job("help", "help", help))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        end_pod_of(&app, "before", "Failed").await?;
        let status = app
            .becomes("failed", |status| {
                status["operationState"]["phase"] == "Failed" && !rows(status).is_empty()
            })
            .await?;
        let (name, status, type_, phase) = rows(&status).remove(0);
        assert_eq!(
            [name.as_str(), &status, &type_, &phase],
            ["before", "SyncFailed", "PreSync", "Failed"]
        );
        end_pod_of(&app, "before", "Succeeded").await?;
        app.synced(&first).await?;
        // It went with the success of its sync, and the other with the failure before.
        job_is(&app, "before", false).await?;
        job_is(&app, "help", false).await?;
        let found = runs(&app, &since).await?;
        let wanted = [("1", 2), ("help", 1)].map(|(round, count)| (round.to_owned(), count));
        ensure!(found == BTreeMap::from(wanted), "{found:?}");
        Ok(())
    });
}

#[test]
fn a_hook_s_job_that_another_tool_left_makes_room() {
    story(|lab| async move {
        let app = lab.given("foreign-job").await?;
        let left = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "migrate", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "run", "image": "run:theirs"}],
            }}},
        });
        app.cluster.create(&jobs(&app), &left).await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let first = app.commit(&[("hook.yaml", Some(&job("migrate", "1", PRE_SYNC)))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["1"]), "{found:?}");
        Ok(())
    });
}

/// Waits for a pod of a Job that did not end yet, and ends it.
pub(crate) async fn end_pod_of(app: &Story, name: &str, phase: &str) -> Result<()> {
    let job = format!("{}/{name}", jobs(app));
    let pod = eventually(&format!("a pod of {name}"), SOON, || async {
        // A Job of that name that was deleted leaves pods for a while.
        let uid = app
            .cluster
            .find(&job)
            .await?
            .map(|job| job["metadata"]["uid"].clone());
        let pods = format!(
            "/api/v1/namespaces/{}/pods?labelSelector=batch.kubernetes.io/controller-uid={}",
            app.name,
            uid.as_ref().and_then(Value::as_str).unwrap_or("none")
        );
        let list = app.cluster.get(&pods).await?;
        let mut items = list["items"].as_array().into_iter().flatten();
        let open = items.find(|pod| {
            pod["status"]["phase"] == "Pending" && pod["metadata"]["deletionTimestamp"].is_null()
        });
        Ok(
            match open.and_then(|pod| pod["metadata"]["name"].as_str()) {
                Some(pod) => Expectation::Met(pod.to_owned()),
                None => Expectation::Pending(app.status().await?["operationState"].to_string()),
            },
        )
    })
    .await?;
    end_saying(app, &pod, phase, "as the test says")
        .await
        .map(drop)
}

#[test]
fn what_a_killed_agent_left_running_is_cleaned_up_with_the_next_commit() {
    story(|lab| async move {
        let app = lab.given_in("leftover", "leftover-home").await?;
        let mut agent = lab.agent_for("leftover-home", &[]).await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let policy = format!("{PRE_SYNC}, argocd.argoproj.io/hook-delete-policy: HookSucceeded");
        let stuck = |round| job_with("migrate", round, &policy, "", NOWHERE);
        app.commit(&[
            ("hook.yaml", Some(&stuck("1"))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        job_is(&app, "migrate", true).await?;
        agent.process.kill();
        // The same name with another template.
        let second = app.commit(&[("hook.yaml", Some(&job("migrate", "2", &policy)))])?;
        agent = lab.agent_for("leftover-home", &[]).await?;
        app.synced(&second).await?;
        job_is(&app, "migrate", false).await?;
        // And a hook that leaves the source while it runs, with nothing else to do.
        app.push(&agent, &[("hook.yaml", Some(&stuck("3")))])
            .await?;
        job_is(&app, "migrate", true).await?;
        agent.process.kill();
        let third = app.commit(&[("hook.yaml", None)])?;
        let agent = lab.agent_for("leftover-home", &[]).await?;
        app.synced(&third).await?;
        job_is(&app, "migrate", false).await?;
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["1", "2", "3"]), "{found:?}");
        drop(agent);
        Ok(())
    });
}

#[test]
fn an_old_job_of_its_name_is_not_taken_for_the_run_that_was_noted() {
    story(|lab| async move {
        let app = lab.given_in("old-job", "old-job-home").await?;
        let mut agent = lab.agent_for("old-job-home", &[]).await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let first = app.commit(&[
            ("hook.yaml", Some(&job("migrate", "1", PRE_SYNC))),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        agent.process.kill();
        // The start of the next run is noted, and the agent died before it deleted the old Job.
        let second = app.commit(&[("map.yaml", Some(&config_map("map", "2")))])?;
        let mut other = lab.agent_for("old-job-home", &[]).await?;
        app.synced(&second).await?;
        other.process.kill();
        let status = app.status().await?;
        let mut hooks = status["hooks"].clone();
        hooks[0]["status"] = json!("Running");
        hooks[0]["run"] = json!("another.1");
        hooks[0]["uid"] = Value::Null;
        let path = format!("{}/status", app.path());
        app.cluster
            .patch(&path, &json!({"status": {"hooks": hooks}}))
            .await?;
        agent = lab.agent_for("old-job-home", &[]).await?;
        app.becomes("it ran again", |status| {
            status["hooks"][0]["status"] == "Succeeded" && status["hooks"][0]["run"] != "another.1"
        })
        .await?;
        let found = runs(&app, &since).await?;
        ensure!(found == BTreeMap::from([("1".to_owned(), 3)]), "{found:?}");
        drop(agent);
        Ok(())
    });
}

#[test]
fn jobs_before_and_after_a_deletion_run_once() {
    story(|lab| async move {
        let app = lab.given("job-deletion").await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let first = app.commit(&[
            (
                "before.yaml",
                Some(&job(
                    "before",
                    "before",
                    "argocd.argoproj.io/hook: PreDelete",
                )),
            ),
            (
                "after.yaml",
                Some(&job(
                    "after",
                    "after",
                    "argocd.argoproj.io/hook: PostDelete",
                )),
            ),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        // An old one of its name is no answer.
        let old = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "before"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "run", "image": "run:old"}],
            }}},
        });
        app.cluster.create(&jobs(&app), &old).await?;
        app.cluster.delete(&app.path()).await?;
        crate::deletion::gone(&app.cluster, &app.path()).await?;
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["after", "before", "old"]), "{found:?}");
        job_is(&app, "before", false).await?;
        job_is(&app, "after", false).await?;
        Ok(())
    });
}

#[test]
fn a_hook_without_a_name_is_refused_before_anything_waits() {
    story(|lab| async move {
        let app = lab.given("nameless-hook").await?;
        let nameless =
            job("after", "1", "argocd.argoproj.io/hook: PostSync").replace("name: after, ", "");
        app.commit(&[
            ("after.yaml", Some(&nameless)),
            (
                "before.yaml",
                Some(&job_with("before", "1", PRE_SYNC, "", NOWHERE)),
            ),
        ])?;
        app.create(&app.application()).await?;
        app.condition("ComparisonError", "a Job without metadata.name")
            .await?;
        let path = format!("{}/before", jobs(&app));
        assert_eq!(app.cluster.find(&path).await?, None);
        Ok(())
    });
}

/// How the row of an object says that it does.
fn health(status: &Value, kind: &str) -> String {
    let rows = status["resources"].as_array().into_iter().flatten();
    let mut of_kind = rows.filter(|row| row["kind"] == kind);
    of_kind
        .next()
        .map_or(String::new(), |row| row["health"].to_string())
}

#[test]
fn a_job_that_removes_itself_ran_once_also_after_a_restart() {
    story(|lab| async move {
        let app = lab.given_in("job-ttl", "job-ttl-home").await?;
        let mut agent = lab.agent_for("job-ttl-home", &[]).await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let ttl = "  ttlSecondsAfterFinished: 0\n";
        let first = app.commit(&[("job.yaml", Some(&job_with("seed", "1", "", ttl, "")))])?;
        app.create(&app.application()).await?;
        let gone = |status: &Value| health(status, "Job").contains("completed and removed");
        app.becomes("gone", gone).await?;
        let status = app.synced(&first).await?;
        ensure!(gone(&status), "{status}");
        agent.process.kill();
        agent = lab.agent_for("job-ttl-home", &[]).await?;
        // Also where every object is asked about.
        let wish = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        app.cluster.patch(&app.path(), &wish).await?;
        app.refreshed().await?;
        let status = app.synced(&first).await?;
        ensure!(gone(&status), "{status}");
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["1"]), "{found:?}");
        let second = app
            .push(
                &agent,
                &[("job.yaml", Some(&job_with("seed", "2", "", ttl, "")))],
            )
            .await?;
        let status = app.synced(&second).await?;
        ensure!(status["conditions"].is_null(), "{status}");
        app.becomes("gone", gone).await?;
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["1", "2"]), "{found:?}");
        Ok(())
    });
}

#[test]
fn a_job_that_ended_and_went_while_no_agent_ran_does_not_run_again() {
    story(|lab| async move {
        let app = lab.given_in("job-unseen", "job-unseen-home").await?;
        let mut agent = lab.agent_for("job-unseen-home", &[]).await?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        let (ttl, by_test) = (
            "  ttlSecondsAfterFinished: 0\n",
            "      schedulerName: nobody\n",
        );
        let first = app.commit(&[("job.yaml", Some(&job_with("seed", "1", "", ttl, by_test)))])?;
        app.create(&app.application()).await?;
        app.becomes("it runs", |status| {
            status["operationState"]["phase"] == "Succeeded"
                && status["sync"]["status"] == "Synced"
                && status["health"]["status"] == "Progressing"
        })
        .await?;
        agent.process.kill();
        end_pod_of(&app, "seed", "Succeeded").await?;
        job_is(&app, "seed", false).await?;
        let _agent = lab.agent_for("job-unseen-home", &[]).await?;
        let status = app.synced(&first).await?;
        ensure!(
            health(&status, "Job").contains("completed and removed"),
            "{status}"
        );
        let found = runs(&app, &since).await?;
        ensure!(found == once(&["1"]), "{found:?}");
        Ok(())
    });
}

#[test]
fn what_a_cleaner_removes_after_its_end_stays_away_and_what_still_ran_comes_back() {
    story(|lab| async move {
        let app = lab.given("cleaned").await?;
        let by_test = "      schedulerName: nobody\n";
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: once}\nspec: {restartPolicy: Never, \
                   schedulerName: nobody, containers: [{name: run, image: run}]}\n";
        let first = app.commit(&[
            ("job.yaml", Some(&job_with("seed", "1", "", "", by_test))),
            ("pod.yaml", Some(pod)),
        ])?;
        let since = version(&app.cluster, &jobs(&app)).await?;
        app.create(&app.application()).await?;
        job_is(&app, "seed", true).await?;
        let path = format!("{}/seed", jobs(&app));
        let uid = app.cluster.get(&path).await?["metadata"]["uid"].clone();
        app.cluster
            .delete(&format!("{path}?propagationPolicy=Background"))
            .await?;
        eventually("it is made again", SOON, || async {
            let found = app.cluster.find(&path).await?;
            Ok(match found.filter(|job| job["metadata"]["uid"] != uid) {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        end_pod_of(&app, "seed", "Succeeded").await?;
        end_saying(&app, "once", "Succeeded", "").await?;
        app.synced(&first).await?;
        app.cluster
            .delete(&format!("{path}?propagationPolicy=Background"))
            .await?;
        app.cluster
            .delete(&format!("/api/v1/namespaces/{}/pods/once", app.name))
            .await?;
        let gone = |status: &Value| {
            ["Job", "Pod"]
                .iter()
                .all(|kind| health(status, kind).contains("completed and removed"))
        };
        app.becomes("gone", gone).await?;
        let status = app.synced(&first).await?;
        ensure!(gone(&status), "{status}");
        let found = runs(&app, &since).await?;
        ensure!(found == BTreeMap::from([("1".to_owned(), 2)]), "{found:?}");
        Ok(())
    });
}

/// The commits that come before a sync is over replace one object each: what is left does not add
/// up to a deletion that is held.
#[test]
fn what_cut_short_syncs_left_is_not_taken_for_one_large_deletion() {
    story(|lab| async move {
        let app = lab.given("adding-up").await?;
        let waits = crate::hooks::hook("waits", "argocd.argoproj.io/hook: Sync");
        app.commit(&[
            ("hook.yaml", Some(&waits)),
            ("m.yaml", Some(&config_map("m-0", "0"))),
        ])?;
        app.create(&app.application()).await?;
        let mut last = String::new();
        for round in 0..8 {
            app.value(&format!("m-{round}"), Some(&round.to_string()))
                .await?;
            let next = round + 1;
            let map = config_map(&format!("m-{next}"), &next.to_string());
            last = app.push(&lab.agent, &[("m.yaml", Some(&map))]).await?;
        }
        app.value("m-8", Some("8")).await?;
        for round in 0..8 {
            let found = app.cluster.find(&app.map(&format!("m-{round}"))).await?;
            ensure!(found.is_some(), "m-{round} went before its sync was over");
        }
        app.becomes("the hook of the last runs", |status| {
            status["hooks"][0]["uid"].is_string()
                && status["operationState"]["message"]
                    .as_str()
                    .is_some_and(|it| it.contains("Sync hook"))
        })
        .await?;
        end_saying(&app, "waits", "Succeeded", "").await?;
        let status = app.synced(&last).await?;
        ensure!(status["conditions"].is_null(), "{status}");
        for round in 0..8 {
            app.value(&format!("m-{round}"), None).await?;
        }
        Ok(())
    });
}

async fn with_account(lab: &Lab, name: &str, hook: &str) -> Result<(Story, String)> {
    let app = lab.given(name).await?;
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: migrate}\n";
    let annotations = format!("argocd.argoproj.io/hook: {hook}");
    let pod = "      serviceAccountName: migrate\n";
    let hook = job_with("migrate", "1", &annotations, "", pod);
    let commit_id = app.commit(&[
        ("account.yaml", Some(account)),
        ("hook.yaml", Some(&hook)),
        ("map.yaml", Some(&config_map("map", "1"))),
    ])?;
    app.create(&app.application()).await?;
    Ok((app, commit_id))
}

#[test]
fn a_hook_whose_account_comes_later_fails_at_once_and_says_so() {
    story(|lab| async move {
        let (app, _) = with_account(lab, "later-account", "PreSync").await?;
        app.condition("SyncError", "ServiceAccount/later-account/migrate")
            .await?;
        app.condition("SyncError", "later in this sync").await?;
        let why = ["ServiceAccount/later-account/migrate", "later in this sync"];
        trimtab_ends(lab, &["explain", "later-account"], 1, &why);
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        // The same in a wave.
        let early = job_with(
            "migrate",
            "1",
            "argocd.argoproj.io/sync-wave: \"-1\"",
            "",
            "      serviceAccountName: migrate\n",
        );
        app.push(&lab.agent, &[("hook.yaml", Some(&early))]).await?;
        app.condition("SyncError", "let it come in a later wave")
            .await?;
        // With the objects of its own place, or after, it is there in time.
        let (app, commit_id) = with_account(lab, "timely-account", "Sync").await?;
        app.synced(&commit_id).await.map(drop)
    });
}

#[test]
fn a_hook_that_cannot_start_says_why() {
    story(|lab| async move {
        let app = lab.given("hook-waits").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["waveTimeout"] = json!("4s");
        let account = "      serviceAccountName: nobody\n";
        app.commit(&[
            (
                "hook.yaml",
                Some(&job_with("migrate", "1", PRE_SYNC, "", account)),
            ),
            ("map.yaml", Some(&config_map("map", "1"))),
        ])?;
        app.create(&application).await?;
        let says = |status: &Value, text: &str| {
            let message = &status["operationState"]["message"];
            message
                .as_str()
                .is_some_and(|message| message.contains(text))
        };
        let waits = app
            .becomes("it says why", |status| {
                says(status, "serviceaccount \"nobody\" not found")
            })
            .await?;
        ensure!(says(&waits, "FailedCreate"), "{waits}");
        app.condition("SyncError", "serviceaccount \"nobody\" not found")
            .await?;
        app.push(
            &lab.agent,
            &[(
                "hook.yaml",
                Some(&job_with("migrate", "2", PRE_SYNC, "", NOWHERE)),
            )],
        )
        .await?;
        app.becomes("it says why", |status| says(status, "FailedScheduling"))
            .await?;
        Ok(())
    });
}
