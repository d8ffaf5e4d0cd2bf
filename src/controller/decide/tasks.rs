//! The tasks of a sync, and how far each came.

use std::collections::BTreeSet;

use crate::controller::state::{State, sync_run::Running};
use crate::crd::{HealthCode, HookPhase, HookResult, HookStatus, SyncOptions};
use crate::object::{ResourceKey, rfc3339};
use crate::plan::{Place, Progress, Subject, Task};
use crate::sync::{Comparison, DesiredHook, Live, Lookup};

/// The tasks of a sync with how far each came. `prunes` says whether the stale objects may go; in a
/// sync that a person asked for they wait until they may.
pub(in crate::controller) fn tasks(
    state: &State,
    running: &Running,
    options: SyncOptions,
    comparison: &Comparison,
    prunes: bool,
    live: impl Fn(&ResourceKey) -> Lookup,
) -> Vec<Task> {
    let Some(desired) = &state.desired else {
        return Vec::new();
    };
    let differs: BTreeSet<_> = comparison
        .changed
        .iter()
        .chain(&comparison.drifted)
        .collect();
    let mut tasks = Vec::new();
    for (key, object) in &desired.objects {
        // Who asks for a replacement wants it also where nothing differs.
        let left_alone = comparison.left_alone.contains(key);
        let wanted = differs.contains(key) || (running.replaces() && !left_alone);
        let pending = wanted && !running.applied.contains(key);
        let touched = pending || running.applied.contains(key) || running.failed.contains_key(key);
        if !running.selects(key) || !(touched || running.is_whole()) {
            continue;
        }
        let progress = match running.failed.get(key) {
            Some(why) => Progress::Failed(format!("{key}: {why}")),
            // It may be there and another application's: nothing is applied blindly.
            None if pending && comparison.unseen.contains_key(key) => {
                Progress::Failed(format!("{key}: {}", comparison.unseen[key]))
            }
            None if pending => Progress::Pending,
            None if object.ignores_health => Progress::Done,
            None => applied_progress(key, live(key)),
        };
        tasks.push(Task {
            subject: Subject::Apply(key.clone()),
            place: object.place,
            progress,
            last: false,
            first: false,
        });
    }
    if running.is_whole() && !running.sync.leaves_hooks() {
        tasks.extend(hook_tasks(state, running, &desired.hooks, &live));
    }
    let waits = running.waits_to_prune && !running.sync.dry_run;
    if running.sync.prune && (prunes || running.waits_to_prune) {
        for key in comparison.prunable().filter(|key| running.selects(key)) {
            let held = state.inventory.get(key);
            let wave = held.map_or(0, |held| held.wave);
            let first = running.cleared.get(key);
            let terminating = live(key)
                .found()
                .is_some_and(|live| live.observation.terminating);
            let progress = match running.failed.get(key) {
                Some(why) => Progress::Failed(format!("{key}: {why}")),
                None if running.pruned.contains(key) || terminating => {
                    Progress::Running(format!("the deletion of {key}"))
                }
                None if waits => Progress::Unconfirmed(key.to_string()),
                None => Progress::Pending,
            };
            tasks.push(Task {
                subject: Subject::Prune(key.clone()),
                place: first.map_or(Place::of_deletion(wave), |cleared| cleared.place),
                progress,
                last: options.prune_last || held.is_some_and(|held| held.last),
                first: first.is_some(),
            });
        }
    }
    tasks
}

/// How an applied object does.
fn applied_progress(key: &ResourceKey, live: Lookup) -> Progress {
    let Lookup::Found(live) = live else {
        // Kinds that cannot be watched have no health.
        return Progress::Done;
    };
    if live.observation.terminating {
        return Progress::Running(format!("the deletion of {key}"));
    }
    let Some(health) = &live.health else {
        return Progress::Done;
    };
    let why = described(key, &live);
    match health.status {
        HealthCode::Healthy => Progress::Done,
        HealthCode::Progressing | HealthCode::Suspended => Progress::Running(why),
        HealthCode::Missing | HealthCode::Degraded | HealthCode::Unknown => {
            Progress::Unhealthy(why)
        }
    }
}

/// `Deployment shop/web, which is Progressing: 1 of 3 ready`.
fn described(key: &ResourceKey, live: &Live) -> String {
    match &live.health {
        None => key.to_string(),
        Some(health) if health.message.is_empty() => format!("{key}, which is {}", health.status),
        Some(health) => format!("{key}, which is {}: {}", health.status, health.message),
    }
}

fn hook_tasks(
    state: &State,
    running: &Running,
    hooks: &[DesiredHook],
    live: &impl Fn(&ResourceKey) -> Lookup,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        for phase in &hook.hook.phases {
            // A dry run that fails calls nobody for help.
            let help = *phase == HookPhase::SyncFail && running.sync.dry_run;
            if *phase > HookPhase::SyncFail || help {
                continue;
            }
            let progress = match running.refused.get(&index) {
                Some(why) if *phase < HookPhase::SyncFail => Progress::Failed(why.clone()),
                _ => hook_progress(state, running, hook, *phase, live),
            };
            tasks.push(Task {
                subject: Subject::Hook(index),
                place: Place::of_wave(*phase, hook.wave),
                progress,
                last: false,
                first: false,
            });
        }
    }
    tasks
}

fn hook_progress(
    state: &State,
    running: &Running,
    hook: &DesiredHook,
    phase: HookPhase,
    live: &impl Fn(&ResourceKey) -> Lookup,
) -> Progress {
    let Some(result) = state.hook_result(hook, phase) else {
        return Progress::Pending;
    };
    let Some(key) = ResourceKey::parse(&result.id) else {
        return Progress::Pending;
    };
    match result.status {
        HookStatus::Succeeded => Progress::Done,
        // One that failed in an earlier attempt runs again in this.
        HookStatus::Failed if !running.applied.contains(&key) => Progress::Pending,
        HookStatus::Failed => Progress::Failed(format!("{phase} hook {key}: {}", result.message)),
        // Its start was noted, and its object is not known to be there.
        HookStatus::Running if result.uid.is_empty() => Progress::Pending,
        HookStatus::Running => {
            let live = live(&key);
            match hook_outcome(result, &live) {
                None => Progress::Running(waited_for(result, &key, live)),
                Some(Ok(())) => Progress::Done,
                Some(Err(why)) => Progress::Failed(format!("{phase} hook {key}: {why}")),
            }
        }
    }
}

/// `PreSync hook Job/shop/migrate (since 2026-03-10T12:00:00Z), which is Suspended`, and why it does
/// not get on, where that is known.
fn waited_for(result: &HookResult, key: &ResourceKey, live: Lookup) -> String {
    let health = live.found().and_then(|live| live.health);
    let mut text = format!("{} hook {key}", result.phase);
    if let Some(since) = result.began() {
        text = format!("{text} (since {})", rfc3339(since));
    }
    if let Some(health) = health {
        if health.status == HealthCode::Suspended || !health.message.is_empty() {
            text = format!("{text}, which is {}", health.status);
        }
        if !health.message.is_empty() {
            text = format!("{text}: {}", health.message);
        }
    }
    match result.message.as_str() {
        "" => text,
        reason => format!("{text}: {reason}"),
    }
}

/// How a hook ended, by the object that its run made: healthy or without a rule is success. None
/// while it runs.
pub(in crate::controller) fn hook_outcome(
    result: &HookResult,
    live: &Lookup,
) -> Option<Result<(), String>> {
    let live = match live {
        Lookup::Found(live) if live.observation.uid == result.uid => live,
        Lookup::Found(_) => return Some(Err("another object took its place".to_owned())),
        Lookup::Absent => return Some(Err("its object is gone".to_owned())),
        Lookup::Unknown => return None,
    };
    let Some(health) = &live.health else {
        return Some(Ok(()));
    };
    match health.status {
        HealthCode::Healthy => Some(Ok(())),
        HealthCode::Progressing | HealthCode::Suspended => None,
        HealthCode::Missing | HealthCode::Degraded | HealthCode::Unknown => {
            Some(Err(match health.message.as_str() {
                "" => health.status.to_string(),
                message => message.to_owned(),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::Health;
    use crate::diff::observe;
    use crate::object::Object;

    fn found(uid: &str, health: Option<Health>) -> Lookup {
        let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": uid}});
        Lookup::Found(Live {
            observation: observe(&Object::new(object).unwrap(), "trimtab"),
            health,
            ours: true,
            other_owner: None,
            prune: None,
            extraneous: false,
            left_alone: false,
        })
    }

    #[test]
    fn only_the_object_of_the_run_tells_how_it_ended() {
        let result = HookResult {
            id: "batch/Job:shop/migrate".into(),
            phase: HookPhase::PreSync,
            desired: "d".into(),
            status: HookStatus::Running,
            message: String::new(),
            run: "d.1".into(),
            uid: "new".into(),
        };
        let health = |code| Some(Health::new(code, ""));
        let failed = |why: &str| Some(Err(why.to_owned()));
        for (live, expected) in [
            (found("new", health(HealthCode::Healthy)), Some(Ok(()))),
            (found("new", None), Some(Ok(()))),
            (found("new", health(HealthCode::Progressing)), None),
            (found("new", health(HealthCode::Suspended)), None),
            (
                found("new", health(HealthCode::Degraded)),
                failed("Degraded"),
            ),
            (
                found("old", health(HealthCode::Healthy)),
                failed("another object took its place"),
            ),
            (Lookup::Absent, failed("its object is gone")),
            (Lookup::Unknown, None),
        ] {
            assert_eq!(hook_outcome(&result, &live), expected, "{live:?}");
        }
    }

    #[test]
    fn what_a_hook_waits_for_is_said() {
        let key = ResourceKey::parse("batch/Job:shop/migrate").unwrap();
        let plain = Health::new(HealthCode::Progressing, "");
        let paused = Health::new(HealthCode::Suspended, "by hand");
        for (run, message, health, expected) in [
            ("", "", &plain, "PreSync hook Job/shop/migrate"),
            (
                "d.1773144000000",
                "",
                &paused,
                "PreSync hook Job/shop/migrate (since 2026-03-10T12:00:00Z), which is Suspended: \
                 by hand",
            ),
            (
                "d.1773144000000",
                "FailedCreate: no account",
                &plain,
                "PreSync hook Job/shop/migrate (since 2026-03-10T12:00:00Z): FailedCreate: no \
                 account",
            ),
        ] {
            let result = HookResult {
                id: key.id(),
                phase: HookPhase::PreSync,
                desired: "d".into(),
                status: HookStatus::Running,
                message: message.into(),
                run: run.into(),
                uid: "u".into(),
            };
            let live = found("u", Some(health.clone()));
            assert_eq!(waited_for(&result, &key, live), expected);
        }
    }
}
