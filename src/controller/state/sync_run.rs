//! A sync that is under way, and the tasks it consists of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::controller::{act::clearing::Cleared, decide::room, state::State};
use crate::crd::{
    Application, HealthCode, HookPhase, HookResult, HookStatus, ResourceResult, SyncOperation,
    SyncOptions,
};
use crate::object::{Object, ResourceKey, rfc3339};
use crate::plan::{Needs, Patience, Place, Progress, Reason, Subject, Task};
use crate::sync::{Comparison, DesiredHook, Live, Lookup};

/// What is remembered of a sync between two steps. None of it has to survive a restart: what was
/// applied is in the inventory, and how the hooks did is in the status.
pub(in crate::controller) struct Running {
    pub(in crate::controller) reason: Reason,
    pub(in crate::controller) sync: SyncOperation,
    /// What a person asked for is off the Application.
    pub(in crate::controller) taken: bool,
    /// Digest of the desired state that is synced.
    pub(in crate::controller) desired: String,
    pub(in crate::controller) began: Instant,
    /// When something was begun last.
    pub(in crate::controller) moved: Instant,
    /// The API server was asked about all objects.
    pub(in crate::controller) checked: bool,
    pub(in crate::controller) applied: BTreeSet<ResourceKey>,
    /// What may be pruned by this sync: what was allowed once stays so while it goes one by one.
    pub(in crate::controller) prunable: BTreeSet<ResourceKey>,
    /// A person asked for deletions that wait for approval.
    pub(in crate::controller) waits_to_prune: bool,
    /// Those of them that a person agreed to.
    pub(in crate::controller) confirmed: BTreeSet<ResourceKey>,
    pub(in crate::controller) pruned: BTreeSet<ResourceKey>,
    pub(in crate::controller) failed: BTreeMap<ResourceKey, String>,
    /// Hooks that the API server would not take, by their place among the desired ones.
    pub(in crate::controller) refused: BTreeMap<usize, String>,
    /// When Events were asked for last.
    pub(in crate::controller) asked_why: Option<Instant>,
    /// What could not be asked about yet, with what it needs of this sync.
    pub(in crate::controller) needs: Needs,
    /// It does not prune, as another application may take over what is stale just now.
    pub(in crate::controller) may_move: bool,
    /// What is stale stands in the way of what comes: it waits until it is known who desires that.
    pub(in crate::controller) waits_to_move: bool,
    /// What leaves the source and goes before what it stands in the way of.
    pub(in crate::controller) cleared: BTreeMap<ResourceKey, Cleared>,
    /// What was done to the destination namespace, which is none of the desired objects.
    pub(in crate::controller) namespace: Option<ResourceResult>,
    /// What was done, for the status.
    pub(in crate::controller) rows: Vec<ResourceResult>,
    /// How many rows more it had before the agent was started again.
    pub(in crate::controller) left_out: usize,
    pub(in crate::controller) checked_at: Option<Instant>,
    pub(in crate::controller) applied_at: Option<Instant>,
}

/// What is said of an object that was to be pruned and keeps itself.
pub(in crate::controller) const PRUNE_SKIPPED: &str = "PruneSkipped";
/// How long a controller has to look at what was applied before its word counts.
pub(in crate::controller) const SETTLE: Duration = Duration::from_secs(2);

impl Running {
    pub(in crate::controller) fn new(
        reason: Reason,
        mut sync: SyncOperation,
        desired: String,
    ) -> Self {
        let now = Instant::now();
        sync.sync_options = sync.all_options();
        Self {
            reason,
            taken: false,
            sync,
            desired,
            began: now,
            moved: now,
            checked: false,
            applied: BTreeSet::new(),
            prunable: BTreeSet::new(),
            waits_to_prune: false,
            confirmed: BTreeSet::new(),
            pruned: BTreeSet::new(),
            failed: BTreeMap::new(),
            refused: BTreeMap::new(),
            asked_why: None,
            needs: Needs::new(),
            may_move: false,
            waits_to_move: false,
            cleared: BTreeMap::new(),
            namespace: None,
            rows: Vec::new(),
            left_out: 0,
            checked_at: None,
            applied_at: None,
        }
    }

    /// Whether the whole desired state is synced, with hooks and waves. Repairing drift or a few
    /// objects that a person named is not, as in Argo CD.
    pub(in crate::controller) fn is_whole(&self) -> bool {
        self.sync.resources.is_empty() && self.reason != Reason::Drift
    }

    /// What was done so far, for the status, and how many rows it has no room for.
    pub(in crate::controller) fn results(&self) -> (Vec<ResourceResult>, i64) {
        let namespace = self.namespace.iter();
        let mut rows = namespace.chain(&self.rows).cloned().collect();
        let earlier = i64::try_from(self.left_out).unwrap_or(i64::MAX);
        let left_out = room::results(&mut rows).saturating_add(earlier);
        (rows, left_out)
    }

    /// How many objects and hooks something was done to.
    pub(in crate::controller) fn changes(&self) -> usize {
        let kept = |row: &&ResourceResult| row.status == PRUNE_SKIPPED;
        self.left_out + self.rows.len() - self.rows.iter().filter(kept).count()
    }

    /// The options of the application as they are now, and of this sync where it says more.
    pub(in crate::controller) fn options(&self, application: &Application) -> SyncOptions {
        let options = SyncOptions::of_application(application.spec.sync_options());
        options.with(&self.sync.sync_options)
    }

    fn replaces(&self) -> bool {
        SyncOptions::of_application(&self.sync.sync_options).replace
    }

    /// Whether something is to go first that goes last in these tasks.
    pub(in crate::controller) fn has_new_order(&self, tasks: &[Task]) -> bool {
        let known = |task: &Task, key: &ResourceKey| {
            let cleared = self.cleared.get(key);
            cleared.is_none_or(|cleared| task.first && task.place == cleared.place)
        };
        tasks
            .iter()
            .any(|task| matches!(&task.subject, Subject::Prune(key) if !known(task, key)))
    }

    /// What was deleted, as it stood in the way of something.
    pub(in crate::controller) fn gone(&self) -> Vec<&Object> {
        let gone = |key: &ResourceKey| self.pruned.contains(key);
        let cleared = self.cleared.iter().filter(|(key, _)| gone(key));
        cleared.map(|(_, cleared)| &cleared.object).collect()
    }

    pub(in crate::controller) fn selects(&self, key: &ResourceKey) -> bool {
        let wanted = &self.sync.resources;
        wanted.is_empty() || wanted.iter().any(|selector| selector.selects(key))
    }

    pub(in crate::controller) fn patience(&self, timeout: Duration) -> Patience {
        let waited = self.moved.elapsed();
        Patience {
            settled: waited >= SETTLE,
            over: waited >= timeout,
            limit: timeout,
        }
    }

    /// When waiting may come to another end without news; none when it cannot: for a person's word
    /// it waits as long as that takes.
    pub(in crate::controller) fn next_look(&self, timeout: Duration) -> Option<Duration> {
        let waited = self.moved.elapsed();
        let until = if waited < SETTLE { SETTLE } else { timeout };
        until.checked_sub(waited)
    }
}

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
