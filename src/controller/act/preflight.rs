//! What happens before the first write of a sync: its namespace, the question to the API server
//! whether all of it can be applied, and the inventory ahead of what will be created.

use std::time::Instant;

use crate::cluster::{Error as ClusterError, Mode};
use crate::controller::{
    act::{
        clearing::clear,
        execution::execution,
        hooks, namespace,
        refused::Refused,
        report, requests,
        rows::{fail, row, take_row},
    },
    context::Hands,
    state::{Held, State, settled::Settled},
};
use crate::crd::HookPhase;
use crate::health::runs_once;
use crate::object::{Object, ResourceKey};
use crate::plan::{Place, Progress, Subject, Task, needs};
use crate::sync::{Change, Comparison, Execution, check, check_hook, key_of_run};

/// Before all else: the namespace that the application asks for.
pub(in crate::controller) async fn begin_namespace(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &mut Comparison,
) -> Result<(), String> {
    let Some(running) = state.running.as_ref().filter(|running| !running.checked) else {
        return Ok(());
    };
    let (mode, text) = match running.sync.dry_run {
        true => (Mode::DryRun, "would be written"),
        false => (Mode::Write, "written"),
    };
    match namespace::ensure(hands, state, comparison, mode).await {
        Ok(written) => {
            if mode == Mode::Write {
                comparison.namespace = None;
            }
            if let (Some(key), Some(running)) = (written, &mut state.running) {
                running.namespace = Some(row(&key, "Synced", text.to_owned(), None));
            }
            Ok(())
        }
        Err((key, why)) => {
            fail(state, &key, why.clone());
            Err(format!("{key}: {why}"))
        }
    }
}

/// Before the first write: the question to the API server whether all of it can be applied at all,
/// then the inventory ahead of what will be created. False when something was refused, or when
/// something of these tasks is to go first that was not.
pub(in crate::controller) async fn begin_all(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    tasks: &[Task],
) -> Result<bool, ClusterError> {
    let Some(running) = state.running.as_ref().filter(|running| !running.checked) else {
        return Ok(true);
    };
    let dry_run = running.sync.dry_run;
    let waits_to_prune = running.waits_to_prune;
    if running.is_whole() && !dry_run {
        hooks::clean_up_left(hands, state).await;
    }
    let pending: Vec<ResourceKey> = tasks
        .iter()
        .filter_map(|task| match (&task.subject, &task.progress) {
            (Subject::Apply(key), Progress::Pending) => Some(key.clone()),
            _ => None,
        })
        .collect();
    let prunes = tasks
        .iter()
        .filter(|task| matches!(task.subject, Subject::Prune(_)))
        .count();
    let before = state.running.as_ref().map_or(0, |it| it.rows.len());
    if dry_run {
        let pruned = match waits_to_prune {
            true => "would be pruned once that is approved",
            false => "would be pruned",
        };
        let rows = tasks.iter().filter_map(|task| match &task.subject {
            Subject::Prune(key) => Some(row(key, "Pruned", pruned.to_owned(), None)),
            Subject::Hook(index) if task.progress == Progress::Pending => {
                let hook = state.desired.as_ref()?.hooks.get(*index)?;
                let text = "would run".to_owned();
                Some(row(&hook.key, "Synced", text, Some(task.place.phase)))
            }
            _ => None,
        });
        let rows: Vec<_> = rows.collect();
        if let Some(running) = &mut state.running {
            running.rows.extend(rows);
        }
    }
    let passed = ask(hands, state, comparison, (tasks, &pending)).await;
    if let Some(running) = state.running.as_mut().filter(|it| it.waits_to_move) {
        // It is asked anew when that is known.
        running.rows.truncate(before);
        return Ok(false);
    }
    if !dry_run {
        let (context, application) = (hands.context, hands.application);
        report::started(context, application, state, pending.len(), prunes);
    }
    if !passed {
        return Ok(set_checked(state, false));
    }
    if !dry_run {
        write_ahead(hands, state, &pending, prunes > 0).await?;
    }
    set_checked(state, true);
    Ok(!state
        .running
        .as_ref()
        .is_some_and(|it| it.has_new_order(tasks)))
}

/// Asks the API server about all that would be written. False when something was refused.
async fn ask(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    (tasks, pending): (&[Task], &[ResourceKey]),
) -> bool {
    let dry_run = state.running.as_ref().is_some_and(|it| it.sync.dry_run);
    let hooks = tasks.iter().filter_map(|task| match task.subject {
        Subject::Hook(index) if task.progress == Progress::Pending => Some((index, task.place)),
        _ => None,
    });
    let hooks: Vec<_> = hooks
        .filter(|(_, place)| place.phase < HookPhase::SyncFail)
        .collect();
    // One object alone needs no question: its apply is all or nothing.
    if pending.len() + hooks.len() <= 1 && !dry_run {
        return true;
    }
    let Some(execution) = execution(hands, state, pending) else {
        return true;
    };
    let engine = &hands.context.engine;
    let checked = check(engine, &execution, pending).await;
    let (mut refused, mut of_hooks) = (Vec::new(), Vec::new());
    for (index, place) in hooks {
        if let Some(fault) = ask_hook(hands, &execution, pending, (index, place)).await {
            of_hooks.push((index, place.phase, fault.key.clone()));
            refused.push(fault);
        }
    }
    let mut would_be = Vec::new();
    for (key, change) in &checked.changes {
        let Some(object) = execution.desired.objects.get(key) else {
            continue;
        };
        let manifest = execution.manifests.objects.get(key);
        let (why, refusal) = match change {
            Change::Failed(why) => (Some(why.clone()), checked.refusals.get(key).cloned()),
            _ if runs_once(&object.kind) => {
                let why = lacks(&execution, pending, manifest, object.place).await;
                let why = why.map(|why| format!("{why}: let it come in a later wave"));
                (why, None)
            }
            _ => (None, None),
        };
        would_be.push((key.clone(), would_become(state, &execution, key, change)));
        refused.extend(why.map(|why| Refused {
            key: key.clone(),
            place: object.place,
            why,
            refusal,
        }));
    }
    let refused = clear(hands, state, comparison, tasks, refused).await;
    if state.running.as_ref().is_some_and(|it| it.waits_to_move) {
        return false;
    }
    let stays = |key: &ResourceKey| refused.iter().find(|it| it.key == *key);
    if let Some(running) = &mut state.running {
        running.checked_at = Some(Instant::now());
        running.needs = checked.needs;
        let hooks = of_hooks.iter().filter_map(|(index, phase, key)| {
            let why = &stays(key)?.why;
            Some((*index, format!("{phase} hook {key}: {why}")))
        });
        running.refused = hooks.collect();
    }
    for (key, change) in would_be {
        if dry_run && stays(&key).is_none() {
            take_row(state, &key, &change);
        }
    }
    for it in &refused {
        fail(state, &it.key, it.why.clone());
    }
    refused.is_empty()
}

/// Asks about one hook, and returns why it can never be started.
async fn ask_hook(
    hands: &Hands<'_>,
    execution: &Execution<'_>,
    pending: &[ResourceKey],
    (index, place): (usize, Place),
) -> Option<Refused> {
    let hook = execution.desired.hooks.get(index)?;
    let seconds = jiff::Timestamp::now().as_second();
    let key = key_of_run(hook, place.phase, &execution.desired.commit_id, seconds);
    let asked = check_hook(&hands.context.engine, execution, index, &key, pending).await;
    let (why, refusal) = match asked {
        Err(error) => (error.to_string(), error.refusal().cloned()),
        Ok(()) => {
            let manifest = execution.manifests.hooks.get(index);
            let why = lacks(execution, pending, manifest, place).await?;
            (format!("{why}: {}", remedy(place.phase)), None)
        }
    };
    Some(Refused {
        key,
        place,
        why,
        refusal,
    })
}

/// What a sync would do to an object, as far as a dry run tells: it leaves the version as it is,
/// whatever it would write.
fn would_become(
    state: &State,
    execution: &Execution<'_>,
    key: &ResourceKey,
    asked: &Change,
) -> Change {
    match asked {
        Change::Unchanged if would_change(state, key) => Change::Configured,
        // It is taken once what stands in its way is gone.
        Change::Failed(_) if execution.seen.contains_key(key) => Change::Configured,
        Change::Failed(_) => Change::Created,
        change => change.clone(),
    }
}

/// What to do about a hook that needs what comes later.
fn remedy(phase: HookPhase) -> &'static str {
    match phase {
        HookPhase::PreSync => {
            "let the hook run with it or after it (a Sync or PostSync hook), or make that a PreSync \
             hook of an earlier wave"
        }
        _ => "let the hook run in a later wave, or that come in an earlier one",
    }
}

/// Why what runs once, a hook or an object that later waves wait for, could never start: what its
/// pods need comes later in the same sync. Names it.
async fn lacks(
    execution: &Execution<'_>,
    pending: &[ResourceKey],
    manifest: Option<&Object>,
    place: Place,
) -> Option<String> {
    let desired = &execution.desired.objects;
    for key in needs(manifest?) {
        let Some(object) = desired.get(&key).filter(|object| object.place > place) else {
            continue;
        };
        // It may be there and not ours yet. What cannot be read is taken to be there.
        let comes = pending.contains(&key);
        if comes && matches!(execution.cluster.find(&object.kind, &key).await, Ok(None)) {
            return Some(format!(
                "it cannot start, as {key} comes later in this sync and is not there"
            ));
        }
    }
    None
}

/// Whether an apply would change an object that is there: its manifest is another one than the last
/// that was applied, or a dry run of before showed that it differs.
fn would_change(state: &State, key: &ResourceKey) -> bool {
    let desired = state.desired.as_ref();
    let wanted = desired.and_then(|desired| Some(desired.objects.get(key)?.digest));
    let applied = state.baselines.get(key).map(|baseline| baseline.desired);
    let doubted = state.settled_suspicions.get(key);
    applied != wanted || doubted.is_some_and(|(_, settled)| *settled == Settled::Differs)
}

/// Notes that all was asked and written ahead: not before, so that an error leads here again.
fn set_checked(state: &mut State, passed: bool) -> bool {
    if let Some(running) = &mut state.running {
        running.checked = true;
    }
    passed
}

/// Writes the union of the inventory and what will be created before the first create: whatever
/// happens then, the inventory holds everything that is ours. Before the first deletion it says what
/// the guard let go: that does not count again when the agent ends in between.
async fn write_ahead(
    hands: &Hands<'_>,
    state: &mut State,
    pending: &[ResourceKey],
    deletes: bool,
) -> Result<(), ClusterError> {
    let mut before = Vec::new();
    for key in pending {
        let desired = state.desired.as_ref();
        let Some(object) = desired.and_then(|desired| desired.objects.get(key)) else {
            continue;
        };
        let held = Held {
            kind: object.kind.clone(),
            wave: object.wave(),
            last: object.options.prune_last,
            hook: false,
            ended: None,
            counted: false,
        };
        let known = state.inventory.insert(key.clone(), held);
        before.push((key.clone(), known));
    }
    // Against what was really written: an earlier write may have failed.
    let (now, written) = (state.inventory_status(), &state.written.inventory);
    let grew = now.entries.len() != written.entries.len()
        || now
            .entries
            .iter()
            .zip(written.entries.iter())
            .any(|(now, written)| {
                let marked = deletes && now.counted && !written.counted;
                marked || !now.is_same(written)
            });
    // What a person asked for must survive a restart before it is taken off the Application.
    let asked = requests::is_to_take_up(state, hands.application);
    let written = match grew && !asked {
        true => report::write_ahead(hands.context, state, hands.application).await,
        false => Ok(()),
    };
    let written = match written {
        Ok(()) => begin_waiting(hands, state).await,
        failed => failed,
    };
    if written.as_ref().is_err_and(ClusterError::is_too_large) {
        // None of it is created, so that it need not be known.
        state.restore(before);
    }
    written
}

/// Takes what a person asked for off the Application, unless that is done: it is begun, and may
/// take long.
pub(in crate::controller) async fn begin_waiting(
    hands: &Hands<'_>,
    state: &mut State,
) -> Result<(), ClusterError> {
    if !requests::is_to_take_up(state, hands.application) {
        return Ok(());
    }
    report::write_ahead(hands.context, state, hands.application).await?;
    requests::take_up(hands.context, state, hands.application).await?;
    if let Some(running) = &mut state.running {
        running.taken = true;
    }
    Ok(())
}
