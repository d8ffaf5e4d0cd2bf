//! Goes on with a sync: step by step until it has to wait or is over.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::cluster::{Deletion, Error as ClusterError};
use crate::controller::{
    act::{
        clearing::clear,
        execution::execution,
        hooks,
        preflight::{begin_all, begin_namespace, begin_waiting},
        refused::Refused,
        rows::{fail, row, take_row},
        waits,
    },
    context::Hands,
    decide::tasks::tasks,
    observe::{
        compare::compare_and_settle,
        live::look_up,
        manifests,
        moving::{MOVING, may_move},
    },
    state::{
        State,
        sync_run::{End, PRUNE_SKIPPED},
    },
    syncing,
};
use crate::crd::options::prune_consent;
use crate::crd::{Consent, HookPhase};
use crate::object::ResourceKey;
use crate::plan::{Needs, Step, Subject, Task, reverse_order, step};
use crate::sync::{Change, Comparison, Course, Outcome, delete, execute};

/// Goes on until the sync waits or is over. Returns the comparison as it is then.
pub(super) async fn advance(
    hands: &mut Hands<'_>,
    state: &mut State,
    comparison: Comparison,
) -> Result<Comparison, ClusterError> {
    let mut comparison = match go_on(hands, state, comparison).await {
        Err(error) if error.is_too_large() => {
            // What the status cannot name is not created: trying again brings nothing soon.
            syncing::end(hands, state, End::Failed(error.to_string())).await?;
            compare_and_settle(hands.context, state, hands.application).await
        }
        gone_on => gone_on?,
    };
    // It was made before the last of them was seen to end.
    comparison.hooks = state.open_hooks();
    Ok(comparison)
}

async fn go_on(
    hands: &mut Hands<'_>,
    state: &mut State,
    mut comparison: Comparison,
) -> Result<Comparison, ClusterError> {
    let timeout = hands.application.spec.wave_timeout();
    loop {
        hooks::latch(hands, state).await?;
        if waits_to_move(hands, state, &comparison) {
            return Ok(comparison);
        }
        let prunes = syncing::check_prune(state, hands.application, &comparison);
        if let Err(why) = begin_namespace(hands, state, &mut comparison).await {
            syncing::end(hands, state, End::Failed(why)).await?;
            return Ok(comparison);
        }
        let Some(running) = &state.running else {
            return Ok(comparison);
        };
        let live = |key: &ResourceKey| look_up(hands.context, state, hands.application, key);
        let options = running.options(hands.application);
        let tasks = tasks(state, running, options, &comparison, prunes, live);
        match step(&tasks, running.patience(timeout)) {
            Step::Run(begun) => {
                if hands.is_superseded(state) && !begun.is_empty() {
                    let by = "a newer commit of its source".to_owned();
                    syncing::end(hands, state, End::Superseded(by)).await?;
                    return Ok(comparison);
                }
                let applies = |index: &usize| !matches!(tasks[*index].subject, Subject::Prune(_));
                if hands.manifests.is_none() && begun.iter().any(applies) {
                    match manifests::find(hands.context, state, hands.application).await {
                        Ok(manifests) => hands.manifests = Some(manifests),
                        Err(why) => {
                            syncing::end(hands, state, End::Failed(why)).await?;
                            return Ok(comparison);
                        }
                    }
                }
                if !begin_all(hands, state, &comparison, &tasks).await? {
                    continue;
                }
                if state.running.as_ref().is_some_and(|it| it.sync.dry_run) {
                    syncing::end(hands, state, End::Succeeded).await?;
                    return Ok(comparison);
                }
                run(hands, state, &comparison, (&tasks, &begun)).await?;
                comparison = compare_and_settle(hands.context, state, hands.application).await;
            }
            Step::Wait(what) => {
                let waits_to_prune = running.waits_to_prune;
                let pause = running.next_look(timeout);
                let due = waits::due_in(state, timeout);
                if due == Some(Duration::ZERO) && waits::ask(hands, state).await {
                    // What it waits for is said anew, as more is known of it.
                    continue;
                }
                if let Some(due) = waits::due_in(state, timeout) {
                    state.look_again_in(due);
                }
                if let Some(pause) = pause {
                    state.look_again_in(pause);
                }
                if waits_to_prune {
                    begin_waiting(hands, state).await?;
                }
                if let Some(operation) = &mut state.operation {
                    operation.message = what;
                }
                return Ok(comparison);
            }
            Step::Succeeded => {
                syncing::end(hands, state, End::Succeeded).await?;
                return Ok(comparison);
            }
            Step::Failed(why) => {
                syncing::end(hands, state, End::Failed(why)).await?;
                return Ok(comparison);
            }
        }
    }
}

/// Whether a sync waits until it is known if another application takes over what is stale and stands
/// in the way of what comes. When it is known, the sync prunes as it was meant to, and asks anew.
fn waits_to_move(hands: &Hands<'_>, state: &mut State, comparison: &Comparison) -> bool {
    if !state.running.as_ref().is_some_and(|it| it.waits_to_move) {
        return false;
    }
    if may_move(hands.context, state, hands.application, comparison) {
        if let Some(operation) = &mut state.operation {
            "waiting to know whether another application takes over what is stale"
                .clone_into(&mut operation.message);
        }
        state.look_again_in(MOVING);
        return true;
    }
    if let Some(running) = &mut state.running {
        (running.waits_to_move, running.may_move) = (false, false);
        running.sync.prune = true;
    }
    false
}

/// Begins the tasks of one place.
async fn run(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    (tasks, begun): (&[Task], &[usize]),
) -> Result<(), ClusterError> {
    let (mut applies, mut starts, mut prunes) = (Vec::new(), Vec::new(), Vec::new());
    for task in begun.iter().map(|&index| &tasks[index]) {
        match &task.subject {
            Subject::Apply(key) => applies.push(key.clone()),
            Subject::Hook(index) => starts.push((*index, task.place.phase)),
            // All of one wave.
            Subject::Prune(key) => prunes.push((key.clone(), 0)),
        }
    }
    for key in reverse_order(prunes).concat() {
        prune(hands, state, &key).await;
    }
    let mut left = false;
    if !applies.is_empty()
        && let Some(execution) = execution(hands, state, &applies)
    {
        let superseded = || hands.is_superseded(state);
        let (no_needs, none_applied) = (Needs::new(), BTreeSet::new());
        let running = state.running.as_ref();
        let course = Course {
            needs: running.map_or(&no_needs, |running| &running.needs),
            applied: running.map_or(&none_applied, |running| &running.applied),
        };
        let outcome = Box::pin(execute(
            &hands.context.engine,
            &execution,
            &applies,
            &course,
            superseded,
        ))
        .await;
        left = outcome.superseded;
        let refused = refused(state, &outcome);
        let refused = clear(hands, state, comparison, tasks, refused).await;
        remember(hands, state, &outcome, &refused);
        // They are applied again when what stands in their way is gone.
        left |= outcome.failed() && refused.is_empty();
    }
    // After the objects of their place, such as the account that they run as.
    let failed = state
        .running
        .as_ref()
        .is_some_and(|it| !it.failed.is_empty());
    // Those for a sync that failed run because of that.
    let may_run = |phase: HookPhase| !left && (!failed || phase == HookPhase::SyncFail);
    for (index, phase) in starts.into_iter().filter(|(_, phase)| may_run(*phase)) {
        let Some(refused) = hooks::run_hook(hands, state, index, phase).await? else {
            continue;
        };
        let key = refused.key.clone();
        if clear(hands, state, comparison, tasks, vec![refused])
            .await
            .is_empty()
        {
            hooks::take_back(state, &key, phase);
        }
    }
    if let Some(running) = &mut state.running {
        running.moved = Instant::now();
    }
    Ok(())
}

async fn prune(hands: &Hands<'_>, state: &mut State, key: &ResourceKey) {
    let Some(held) = state.inventory.get(key).cloned() else {
        return;
    };
    let Some(running) = &state.running else {
        return;
    };
    let options = running.options(hands.application);
    let deleted = delete(
        &hands.cluster,
        &held.kind,
        key,
        &hands.application.key,
        options.propagation,
        // Looked at once more where it is deleted: the approval is for the whole set.
        |live| match prune_consent(live).unwrap_or(options.prune) {
            Consent::No => Consent::No,
            Consent::Yes | Consent::Confirm => Consent::Yes,
        },
    )
    .await;
    match deleted {
        Ok(deletion) => {
            if deletion == Deletion::Gone {
                state.forget(key);
            }
            let (status, text) = match deletion {
                Deletion::Kept | Deletion::Unconfirmed => (PRUNE_SKIPPED, "kept"),
                Deletion::Gone | Deletion::Accepted => ("Pruned", "pruned"),
            };
            if let Some(running) = &mut state.running {
                running.pruned.insert(key.clone());
                running.rows.push(row(key, status, text.to_owned(), None));
            }
        }
        // Somebody else took it: it is not ours any more.
        Err(ClusterError::NotOurs(..)) => state.forget(key),
        Err(error) => fail(state, key, error.to_string()),
    }
}

/// What an apply did not bring through.
fn refused(state: &State, outcome: &Outcome) -> Vec<Refused> {
    let failed = outcome.changes.iter().filter_map(|(key, change)| {
        let Change::Failed(why) = change else {
            return None;
        };
        Some(Refused {
            key: key.clone(),
            place: state.desired.as_ref()?.objects.get(key)?.place,
            why: why.clone(),
            refusal: outcome.refusals.get(key).cloned(),
        })
    });
    failed.collect()
}

/// Remembers what came of an apply; `refused` are those of the failed that stay refused.
fn remember(hands: &Hands<'_>, state: &mut State, outcome: &Outcome, refused: &[Refused]) {
    for (kind, key, observation, health) in &outcome.seen {
        hands.context.live.record(
            &hands.application.key,
            kind,
            key,
            observation.clone(),
            health.clone(),
        );
    }
    for (key, baseline) in &outcome.baselines {
        match baseline {
            Some(baseline) => state.baselines.insert(key.clone(), *baseline),
            None => state.baselines.remove(key),
        };
        // What was applied may run anew.
        if let Some(held) = state.inventory.get_mut(key) {
            held.ended = None;
        }
    }
    for (key, change) in &outcome.changes {
        match change {
            Change::Failed(_) => {
                if let Some(refused) = refused.iter().find(|it| it.key == *key) {
                    fail(state, key, refused.why.clone());
                }
            }
            change => {
                match outcome.stored.get(key) {
                    Some(stored) => drop(state.stored.insert(key.clone(), stored.clone())),
                    None => drop(state.stored.remove(key)),
                }
                take_row(state, key, change);
                if let Some(running) = &mut state.running {
                    running.applied.insert(key.clone());
                }
            }
        }
    }
    if let Some(running) = &mut state.running {
        running.applied_at = Some(Instant::now());
    }
}
