//! The agent is killed at every write of a sync, a rollback and a deletion, and starts again.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::deletion::gone;
use crate::given::{config_map, story};
use crate::jobs::{Counted, job, round_of_job};
use crate::lab::gate::{Asked, Side};

/// The files of the n-th commit, in three waves: objects change, one stays, one comes, and the one
/// that came with the commit before goes.
fn files(round: usize) -> Vec<(String, Option<String>)> {
    let value = round.to_string();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\n  annotations: \
         {{argocd.argoproj.io/sync-wave: \"-1\"}}\nstringData: {{value: \"{value}\"}}\n"
    );
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: service\n  labels: {{value: \
         \"{value}\"}}\n  annotations: {{trimtab.dev/sync-wave: \"2\"}}\nspec: {{ports: [{{port: \
         80}}]}}\n"
    );
    let mut files = vec![
        ("same.yaml".to_owned(), Some(config_map("same", "1"))),
        ("secret.yaml".to_owned(), Some(secret)),
        ("service.yaml".to_owned(), Some(service)),
        ("map.yaml".to_owned(), Some(config_map("map", &value))),
        (
            format!("new-{round}.yaml"),
            Some(config_map(&format!("new-{round}"), &value)),
        ),
    ];
    if let Some(before) = round.checked_sub(1) {
        files.push((format!("new-{before}.yaml"), None));
    }
    files
}

fn borrowed(files: &[(String, Option<String>)]) -> Vec<(&str, Option<&str>)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_deref()))
        .collect()
}

async fn arrived(scene: &Scene, round: usize, commit_id: &str) -> Result<()> {
    let new = format!("ConfigMap/new-{round}");
    let names = [
        "ConfigMap/same",
        "Secret/secret",
        "Service/service",
        "ConfigMap/map",
        &new,
    ];
    scene.converged(commit_id, &names).await?;
    scene.app.value("map", Some(&round.to_string())).await
}

/// What must hold at the moment of death already.
async fn nothing_is_lost(scene: &Scene, round: usize) -> Result<()> {
    scene.inventory_holds_all().await?;
    scene.bystander_is_untouched().await?;
    let cluster = &scene.app.cluster;
    let pruned = format!("new-{}", round - 1);
    if cluster.find(&scene.app.map(&pruned)).await?.is_none() {
        let value = round.to_string();
        let map = cluster.get(&scene.app.map("map")).await?;
        let service = format!("/api/v1/namespaces/{}/services/service", scene.app.name);
        let service = cluster.get(&service).await?;
        let new = cluster
            .find(&scene.app.map(&format!("new-{round}")))
            .await?;
        ensure!(
            map["data"]["value"] == value.as_str()
                && service["metadata"]["labels"]["value"] == value.as_str()
                && new.is_some(),
            "{pruned} was deleted before all was applied"
        );
    }
    Ok(())
}

#[test]
fn at_every_write_it_loses_and_doubles_nothing() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills").await?;
        let mut agent = scene.agent().await?;
        let first = scene.app.commit(&borrowed(&files(0)))?;
        scene.app.create(&scene.app.application()).await?;
        arrived(&scene, 0, &first).await?;
        // One sync without harm tells how many writes it has.
        let before = scene.gate.count(Asked::is_write);
        let second = scene.app.push(&agent, &borrowed(&files(1))).await?;
        arrived(&scene, 1, &second).await?;
        let writes = scene.gate.count(Asked::is_write) - before;
        assert!(writes >= 7, "{writes} writes");
        let mut round = 1;
        let mut deaths = 0;
        for side in [Side::Before, Side::After] {
            for nth in 1..=writes {
                round += 1;
                let mut held = scene.gate.hold(nth, side, Asked::is_write);
                let commit_id = scene.app.push(&agent, &borrowed(&files(round))).await?;
                tokio::select! {
                    asked = held.wait() => {
                        asked?;
                        agent.process.kill();
                        drop(held);
                        deaths += 1;
                        nothing_is_lost(&scene, round).await?;
                        agent = scene.agent().await?;
                    }
                    // It may get along with fewer writes than the sync that was counted.
                    synced = scene.app.synced(&commit_id) => drop(synced?),
                }
                scene.gate.unhold();
                arrived(&scene, round, &commit_id).await?;
            }
        }
        assert!(deaths >= 2 * writes - 2, "{deaths} deaths");
        Ok(())
    });
}

/// Of a large first sync some objects are there when it dies, and all are in the inventory.
#[test]
fn in_the_middle_of_a_first_sync_it_knows_what_it_made() {
    const OBJECTS: usize = 150;
    story(|lab| async move {
        let scene = Scene::of(lab, "killed").await?;
        let mut agent = scene.agent().await?;
        let manifests: Vec<_> = (0..OBJECTS)
            .map(|n| {
                (
                    format!("m{n:03}.yaml"),
                    Some(config_map(&format!("m{n:03}"), "1")),
                )
            })
            .collect();
        let commit_id = scene.app.commit(&borrowed(&manifests))?;
        let mut held = scene
            .gate
            .hold(OBJECTS / 2, Side::Before, Asked::is_write_of_an_object);
        scene.app.create(&scene.app.application()).await?;
        held.wait().await?;
        agent.process.kill();
        drop(held);
        let maps = "/api/v1/namespaces/killed/configmaps?labelSelector=trimtab.dev/application";
        let count = async || {
            let list = scene.app.cluster.get(maps).await?;
            Ok::<_, anyhow::Error>(list["items"].as_array().map_or(0, Vec::len))
        };
        let created = count().await?;
        ensure!(created > 0 && created < OBJECTS, "{created} were made");
        let inventory = scene.app.status().await?["inventory"]["entries"].take();
        let held = inventory.as_array().map_or(0, Vec::len);
        ensure!(held == OBJECTS, "{held} are in the inventory");
        scene.gate.unhold();
        agent = scene.agent().await?;
        let status = scene.app.synced(&commit_id).await?;
        ensure!(count().await? == OBJECTS);
        ensure!(status["history"].as_array().map_or(0, Vec::len) == 1);
        let applies = agent
            .metric("trimtab_kube_requests_total", &["verb=\"apply\""])
            .await?;
        ensure!(applies <= OBJECTS as f64, "{applies} applies");
        Ok(())
    });
}

/// Hooks around which the agent is killed.
struct Around<F> {
    /// Where their objects are.
    path: String,
    /// All of a round beside the ConfigMap that tells it.
    files: F,
    round_of: fn(&Value) -> Option<String>,
    /// What `round_of` says of the objects of one round.
    runs: fn(usize) -> Vec<String>,
    /// By the names of their objects: those that stay and were done before the ConfigMap was written
    /// ...
    before: &'static [&'static str],
    /// ... those that were made after it ...
    after: &'static [&'static str],
    /// ... and those that go when they succeeded.
    gone: &'static [&'static str],
}

/// Whether the hooks of a round were done where they stand.
async fn in_order<F>(scene: &Scene, hooks: &Around<F>, round: usize) -> Result<()> {
    scene.app.value("map", Some(&round.to_string())).await?;
    let cluster = &scene.app.cluster;
    let version = |object: &Value| -> u64 {
        let version = object["metadata"]["resourceVersion"].as_str();
        version.and_then(|it| it.parse().ok()).unwrap_or_default()
    };
    let of_map = version(&cluster.get(&scene.app.map("map")).await?);
    for name in hooks.before.iter().chain(hooks.after) {
        let hook = cluster.get(&format!("{}/{name}", hooks.path)).await?;
        let run = (hooks.round_of)(&hook).unwrap_or_default();
        let is_before = version(&hook) < of_map;
        ensure!(
            (hooks.runs)(round).contains(&run) && is_before == hooks.before.contains(name),
            "the sync went on without its hook: {hook}"
        );
    }
    for name in hooks.gone {
        gone(cluster, &format!("{}/{name}", hooks.path)).await?;
    }
    Ok(())
}

/// Kills the agent at every write of a sync with hooks: in the end each round's hooks ran exactly
/// once, and where they are to stand.
async fn kill_around_hooks<F>(scene: Scene, names: &[&str], hooks: Around<F>) -> Result<()>
where
    F: Fn(usize) -> Vec<(&'static str, String)>,
{
    let counted = Counted::begin(&scene.app.cluster, &hooks.path, hooks.round_of).await?;
    let mut agent = scene.agent().await?;
    let push = async |agent: &_, round: usize| {
        let mut files = (hooks.files)(round);
        files.push(("map.yaml", config_map("map", &round.to_string())));
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, Some(text.as_str())))
            .collect();
        scene.app.push(agent, &files).await
    };
    let first = push(&agent, 0).await?;
    scene.app.create(&scene.application()).await?;
    scene.converged(&first, names).await?;
    let before = scene.gate.count(Asked::is_write);
    let second = push(&agent, 1).await?;
    scene.converged(&second, names).await?;
    let writes = scene.gate.count(Asked::is_write) - before;
    assert!(writes >= 5, "{writes} writes");
    let (mut round, mut deaths) = (1, 0);
    for side in [Side::Before, Side::After] {
        for nth in 1..=writes {
            round += 1;
            let mut held = scene.gate.hold(nth, side, Asked::is_write);
            let commit_id = push(&agent, round).await?;
            tokio::select! {
                asked = held.wait() => {
                    asked?;
                    agent.process.kill();
                    drop(held);
                    deaths += 1;
                    scene.inventory_holds_all().await?;
                    agent = scene.agent().await?;
                }
                synced = scene.app.synced(&commit_id) => drop(synced?),
            }
            scene.gate.unhold();
            scene.app.synced(&commit_id).await?;
            in_order(&scene, &hooks, round).await?;
        }
    }
    ensure!(
        deaths >= 2 * writes - 4,
        "{deaths} deaths of {writes} writes"
    );
    scene.rest().await?;
    counted
        .each_once((0..=round).flat_map(hooks.runs).collect())
        .await
}

#[test]
fn at_every_write_around_a_hook_it_runs_exactly_once() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-hook").await?;
        let hooks = Around {
            path: "/api/v1/namespaces/kills-hook/configmaps".to_owned(),
            files: |round: usize| {
                let hook = format!(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hook\n  annotations: \
                     {{argocd.argoproj.io/hook: PreSync}}\ndata: {{value: \"{round}\"}}\n"
                );
                vec![("hook.yaml", hook)]
            },
            round_of: |map| {
                let hook = map["metadata"]["name"] == "hook";
                hook.then(|| map["data"]["value"].as_str().unwrap_or_default().to_owned())
            },
            runs: |round| vec![round.to_string()],
            before: &["hook"],
            after: &[],
            gone: &[],
        };
        kill_around_hooks(scene, &["ConfigMap/hook", "ConfigMap/map"], hooks).await
    });
}

/// Jobs of a phase each, with the usual policy and with that after which nothing is left.
#[test]
fn at_every_write_around_jobs_each_runs_exactly_once() {
    const JOBS: [(&str, &str); 4] = [
        ("pre", "argocd.argoproj.io/hook: PreSync"),
        (
            "goes",
            "argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded",
        ),
        (
            "sync",
            "argocd.argoproj.io/hook: Sync, argocd.argoproj.io/sync-wave: \"-1\"",
        ),
        ("post", "argocd.argoproj.io/hook: PostSync"),
    ];
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-jobs").await?;
        let hooks = Around {
            path: "/apis/batch/v1/namespaces/kills-jobs/jobs".to_owned(),
            files: |round: usize| {
                let jobs = JOBS
                    .iter()
                    .map(|(name, annotations)| job(name, &format!("{name}-{round}"), annotations));
                vec![("jobs.yaml", jobs.collect::<Vec<_>>().join("---\n"))]
            },
            round_of: round_of_job,
            runs: |round| {
                JOBS.iter()
                    .map(|(name, _)| format!("{name}-{round}"))
                    .collect()
            },
            before: &["pre", "sync"],
            after: &["post"],
            gone: &["goes"],
        };
        kill_around_hooks(scene, &["ConfigMap/map"], hooks).await
    });
}

#[test]
fn at_every_write_around_a_job_that_goes_after_the_sync_it_runs_exactly_once() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-job-goes").await?;
        let hooks = Around {
            path: "/apis/batch/v1/namespaces/kills-job-goes/jobs".to_owned(),
            files: |round: usize| {
                let policy = "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: \
                              HookSucceeded";
                vec![("job.yaml", job("hook", &round.to_string(), policy))]
            },
            round_of: round_of_job,
            runs: |round| vec![round.to_string()],
            before: &[],
            after: &[],
            gone: &["hook"],
        };
        kill_around_hooks(scene, &["ConfigMap/map"], hooks).await
    });
}

/// Each commit replaces an object, and the agent dies before it deletes what left.
#[test]
fn what_several_deaths_left_is_not_taken_for_one_large_deletion() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-adding").await?;
        let mut agent = scene.agent().await?;
        let file = |round: usize| config_map(&format!("new-{round}"), &round.to_string());
        let mut commit_id = scene.app.commit(&[("new.yaml", Some(&file(0)))])?;
        scene.app.create(&scene.application()).await?;
        scene.app.synced(&commit_id).await?;
        let deletes = |asked: &Asked| asked.method == "DELETE";
        for round in 1..=8 {
            agent.process.kill();
            // The next commit is there before the agent is.
            commit_id = scene.app.commit(&[("new.yaml", Some(&file(round)))])?;
            let mut held = scene.gate.hold(1, Side::Before, deletes);
            agent = scene.agent().await?;
            held.wait().await?;
            agent.process.kill();
            drop(held);
            scene.gate.unhold();
        }
        drop(agent);
        let _agent = scene.agent().await?;
        scene.converged(&commit_id, &["ConfigMap/new-8"]).await?;
        let status = scene.app.status().await?;
        ensure!(status["conditions"].is_null(), "{status}");
        Ok(())
    });
}

/// Each commit only takes an object away, and the agent dies before it deletes it: nothing is
/// created that would have the inventory written first.
#[test]
fn what_several_deaths_left_of_mere_deletions_does_not_add_up_either() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-leaving").await?;
        let mut agent = scene.agent().await?;
        let names: Vec<_> = (0..10)
            .map(|n| (format!("m{n}.yaml"), config_map(&format!("m{n}"), "1")))
            .collect();
        let files: Vec<_> = names
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let mut commit_id = scene.app.commit(&files)?;
        scene.app.create(&scene.application()).await?;
        scene.app.synced(&commit_id).await?;
        let deletes = |asked: &Asked| asked.method == "DELETE";
        for (path, _) in &names[..8] {
            agent.process.kill();
            commit_id = scene.app.commit(&[(path, None)])?;
            let mut held = scene.gate.hold(1, Side::Before, deletes);
            agent = scene.agent().await?;
            held.wait().await?;
            agent.process.kill();
            drop(held);
            scene.gate.unhold();
        }
        drop(agent);
        let _agent = scene.agent().await?;
        scene
            .converged(&commit_id, &["ConfigMap/m8", "ConfigMap/m9"])
            .await?;
        let status = scene.app.status().await?;
        ensure!(status["conditions"].is_null(), "{status}");
        Ok(())
    });
}

/// Asks to go back, or (none) to end that.
async fn roll_back(scene: &Scene, id: Option<&Value>) -> Result<()> {
    let wish = match id {
        Some(id) => json!({"id": id, "prune": true}),
        None => json!({"undo": true, "prune": true}),
    };
    let operation = json!({"operation": {"rollback": wish, "initiatedBy": {"username": "alice"}}});
    scene
        .app
        .cluster
        .patch(&scene.app.path(), &operation)
        .await?;
    Ok(())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn at_every_write_of_a_rollback_it_goes_back_all_the_same() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-rollback").await?;
        let mut agent = scene.agent().await?;
        let (one, two) = (config_map("map", "1"), config_map("map", "2"));
        let first = scene.app.commit(&[
            ("map.yaml", Some(&one)),
            ("old.yaml", Some(&config_map("old", "1"))),
        ])?;
        scene.app.create(&scene.application()).await?;
        let before = ["ConfigMap/map", "ConfigMap/old"];
        scene.converged(&first, &before).await?;
        let newer = [("map.yaml", Some(two.as_str())), ("old.yaml", None)];
        let second = scene.app.push(&agent, &newer).await?;
        scene.converged(&second, &["ConfigMap/map"]).await?;
        let earlier = async || {
            let status = scene.app.status().await?;
            let history = status["history"].as_array().cloned().unwrap_or_default();
            let found = history
                .iter()
                .rev()
                .find(|it| it["revision"] == first.as_str());
            found.map(|it| it["id"].clone()).context("in the history")
        };
        let there = async || {
            scene.app.value("map", Some("1")).await?;
            scene.converged(&first, &before).await?;
            let pin = scene.app.status().await?["pin"].take();
            ensure!(pin["by"] == "alice", "{pin}");
            Ok(())
        };
        let returned = async || {
            scene.app.value("map", Some("2")).await?;
            scene.converged(&second, &["ConfigMap/map"]).await?;
            let pin = scene.app.status().await?["pin"].take();
            ensure!(pin.is_null(), "{pin}");
            Ok(())
        };
        let counted = scene.gate.count(Asked::is_write);
        roll_back(&scene, Some(&earlier().await?)).await?;
        there().await?;
        let writes = scene.gate.count(Asked::is_write) - counted;
        ensure!(writes >= 5, "{writes} writes");
        roll_back(&scene, None).await?;
        returned().await?;
        let mut deaths = 0;
        for side in [Side::Before, Side::After] {
            for nth in 1..=writes {
                let id = earlier().await?;
                let mut held = scene.gate.hold(nth, side, Asked::is_write);
                roll_back(&scene, Some(&id)).await?;
                tokio::select! {
                    asked = held.wait() => {
                        asked?;
                        agent.process.kill();
                        drop(held);
                        deaths += 1;
                        scene.inventory_holds_all().await?;
                        agent = scene.agent().await?;
                    }
                    synced = scene.app.synced(&first) => drop(synced?),
                }
                scene.gate.unhold();
                there().await?;
                // And on the way back.
                let mut held = scene.gate.hold(nth, side, Asked::is_write);
                roll_back(&scene, None).await?;
                tokio::select! {
                    asked = held.wait() => {
                        asked?;
                        agent.process.kill();
                        drop(held);
                        agent = scene.agent().await?;
                    }
                    synced = scene.app.synced(&second) => drop(synced?),
                }
                scene.gate.unhold();
                returned().await?;
            }
        }
        ensure!(deaths >= 2 * writes - 2, "{deaths} deaths");
        Ok(())
    });
}

#[test]
fn at_every_write_of_a_deletion_all_goes_and_nothing_else() {
    story(|lab| async move {
        let scene = Scene::of(lab, "kills-deletion").await?;
        let mut agent = scene.agent().await?;
        let low = config_map("low", "1").replace(
            "{name: low}",
            "{name: low, annotations: {trimtab.dev/sync-wave: \"-3\"}}",
        );
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let files = [
            ("low.yaml", Some(low.as_str())),
            ("a.yaml", Some(&a)),
            ("b.yaml", Some(&b)),
        ];
        let commit_id = scene.app.commit(&files)?;
        let mut application = scene.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        let names = ["ConfigMap/low", "ConfigMap/a", "ConfigMap/b"];
        let made = async || {
            scene.app.create(&application).await?;
            scene.converged(&commit_id, &names).await
        };
        let ended = async || {
            gone(&scene.app.cluster, &scene.app.path()).await?;
            let left = scene.tracked().await?;
            ensure!(left.is_empty(), "{left:?} are left");
            scene.bystander_is_untouched().await
        };
        let path = scene.app.path();
        made().await?;
        let counted = scene.gate.count(Asked::is_write);
        scene.app.cluster.delete(&scene.app.path()).await?;
        ended().await?;
        let writes = scene.gate.count(Asked::is_write) - counted;
        ensure!(writes >= 4, "{writes} writes");
        let mut deaths = 0;
        for side in [Side::Before, Side::After] {
            for nth in 1..=writes {
                made().await?;
                let mut held = scene.gate.hold(nth, side, Asked::is_write);
                scene.app.cluster.delete(&scene.app.path()).await?;
                tokio::select! {
                    asked = held.wait() => {
                        asked?;
                        agent.process.kill();
                        drop(held);
                        deaths += 1;
                        agent = scene.agent().await?;
                    }
                    ended = gone(&scene.app.cluster, &path) => ended?,
                }
                scene.gate.unhold();
                ended().await?;
            }
        }
        ensure!(deaths >= 2 * writes - 2, "{deaths} deaths");
        Ok(())
    });
}
