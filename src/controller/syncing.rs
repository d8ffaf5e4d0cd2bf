//! Begins and ends the syncs of one application.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::cluster::Error as ClusterError;
use crate::controller::{
    Context,
    act::{asked, hooks, report, requests},
    context::Hands,
    decide::chosen,
    observe::manifests,
    state::{
        State, millis,
        room::Room,
        sync_run::{End, Running},
    },
};
use crate::crd::names::{DELETION_APPROVED, PRUNE_APPROVED};
use crate::crd::{
    Application, InitiatedBy, Operation, OperationPhase, OperationState, ResourceResult,
    SyncOperation, SyncResult, Timing,
};
use crate::object::{ResourceKey, rfc3339, rfc3339_before};
use crate::plan::{
    PruneGuard, Question, Reason, check_prune as guard_prune, is_confirmed, retry_pause,
};
use crate::sync::{Comparison, keep};
use crate::telemetry::Stage;
use crate::trigger::Revision;

/// Whether what is stale may be deleted; what holds it up is remembered for the status.
pub(super) fn check_prune(
    state: &mut State,
    application: &Application,
    comparison: &Comparison,
) -> bool {
    // A sync of chosen objects asks about those only.
    let chosen = |key: &&ResourceKey| {
        let running = state.running.as_ref();
        running.is_none_or(|running| running.selects(key))
    };
    let prunable: Vec<_> = comparison.prunable().filter(chosen).cloned().collect();
    if let Some(desired) = &state.desired {
        // What is desired again counts anew when it leaves.
        for (key, held) in state.inventory.iter_mut().filter(|(_, held)| held.counted) {
            held.counted = !desired.objects.contains_key(key);
        }
    }
    let counted = |key: &&ResourceKey| state.inventory.get(*key).is_some_and(|it| it.counted);
    let mut guard = PruneGuard {
        stale: &prunable,
        counted: prunable.iter().filter(counted).count(),
        unconfirmed: prunable
            .iter()
            .any(|key| comparison.unconfirmed.contains(key)),
        desired: state
            .desired
            .as_ref()
            .map_or(0, |desired| desired.objects.len()),
        allow_empty: application
            .spec
            .automated()
            .is_some_and(|automated| automated.allow_empty),
        limits: application.spec.guard.as_ref(),
        approved: application.annotation(PRUNE_APPROVED),
    };
    let token = guard.token();
    if is_confirmed_by_time(state, application, &token) {
        guard.approved = Some(&token);
    }
    let held = if application.inventory_unknown {
        Err("the inventory in the status cannot be read".to_owned())
    } else if state.compare_error.is_some() && state.pin.is_none() {
        Err("the newest commit does not render".to_owned())
    } else {
        guard_prune(&guard)
    };
    // Without a wish to prune there is nothing to hold up.
    let asked = application
        .spec
        .automated()
        .is_some_and(|automated| automated.prune)
        || application
            .operation
            .as_ref()
            .and_then(|o| o.sync.as_ref())
            .is_some_and(|s| s.prune)
        || state.running.as_ref().is_some_and(|it| it.sync.prune);
    let mut allowed = held.is_ok();
    if let Some(running) = &mut state.running {
        if allowed {
            running.prunable.extend(prunable.iter().cloned());
            running
                .confirmed
                .extend(comparison.unconfirmed.iter().cloned());
        }
        // What asks for a person since then was not allowed by one.
        allowed = prunable.iter().all(|key| {
            let asks = comparison.unconfirmed.contains(key) && !running.confirmed.contains(key);
            running.prunable.contains(key) && !asks
        });
        // Who asked for it is not told that nothing is to be done: the sync goes on when it may.
        let by_person = running.reason == Reason::Operation;
        running.waits_to_prune = by_person && running.sync.prune && !allowed;
    }
    let deletes = |running: &Running| running.sync.prune && !running.sync.dry_run;
    if allowed && state.running.as_ref().is_some_and(deletes) {
        for key in &prunable {
            if let Some(held) = state.inventory.get_mut(key) {
                held.counted = true;
            }
        }
    }
    let holds = asked && !prunable.is_empty() && !allowed;
    state.prune_held = held.err().filter(|_| holds);
    allowed
}

/// Whether a person confirmed deletions in Argo CD's way, after it was said that exactly these are
/// held, or after the sync began that waits for them.
fn is_confirmed_by_time(state: &State, application: &Application, token: &str) -> bool {
    let Some(approved) = application.annotation(DELETION_APPROVED) else {
        return false;
    };
    let mut conditions = state.written.conditions.iter();
    let said = conditions.find(|it| it.type_ == "PruneHeld" && it.message.ends_with(token));
    let waits = |running: &&Running| running.reason == Reason::Operation && running.sync.prune;
    let waits = state.running.as_ref().filter(waits);
    let began = waits.and(state.operation.as_ref());
    let question = Question {
        said: said.and_then(|said| said.last_transition_time.parse().ok()),
        began: began.and_then(|began| began.started_at.parse().ok()),
    };
    is_confirmed(approved, question, Timestamp::now())
}

/// Remembers that a revision was rendered, and how long it took until here.
pub(super) fn rendered(context: &Context, state: &mut State, revision: &Revision) {
    let since = |at: Instant| at.saturating_duration_since(revision.received);
    let trigger = revision.cause.label();
    let now = Instant::now();
    context
        .engine
        .metrics
        .push_stage(Stage::Fetched, trigger, since(revision.fetched));
    context
        .engine
        .metrics
        .push_stage(Stage::Rendered, trigger, since(now));
    // There may be less of it now.
    state.room = Room::default();
    state.timing = Some(Timing {
        revision: revision.commit_id.clone(),
        trigger: trigger.as_str().to_owned(),
        received_at: rfc3339_before(
            Timestamp::now(),
            now.saturating_duration_since(revision.received),
        ),
        fetched_ms: millis(since(revision.fetched)),
        rendered_ms: millis(since(now)),
        ..Timing::default()
    });
    state.moving = Some((revision.received, trigger));
}

/// Begins a sync: of what a person asked for, or by itself.
pub(super) fn begin(
    state: &mut State,
    application: &Application,
    comparison: &Comparison,
    reason: Reason,
    prune: bool,
) {
    let asked = application
        .operation
        .clone()
        .filter(|_| reason == Reason::Operation);
    let by_person = asked.is_some();
    let operation = asked.unwrap_or_else(|| Operation {
        initiated_by: Some(InitiatedBy {
            username: String::new(),
            automated: true,
        }),
        sync: Some(SyncOperation {
            prune,
            ..SyncOperation::default()
        }),
        ..Operation::default()
    });
    let sync = operation.sync.clone().unwrap_or_default();
    state.operation = Some(OperationState {
        phase: OperationPhase::Running,
        message: String::new(),
        started_at: rfc3339(Timestamp::now()),
        finished_at: None,
        operation,
        sync_result: state.desired.as_ref().map(|desired| SyncResult {
            revision: desired.commit_id.clone(),
            desired: desired.digest.clone(),
            ..SyncResult::default()
        }),
        terminated_by: String::new(),
        // Argo CD's count is of one operation.
        retry_count: if by_person {
            0
        } else {
            i64::from(state.failures)
        },
    });
    let digest = state.desired.as_ref().map(|desired| desired.digest.clone());
    let running = Running::new(reason, sync, digest.unwrap_or_default());
    if by_person {
        state.held = None;
        state.fights.forget();
        // Whoever asks for a sync asks for its hooks as well, as in Argo CD.
        if running.is_whole() && !running.sync.dry_run && !running.sync.leaves_hooks() {
            let current = &running.desired;
            state.hooks.retain(|result| result.desired != *current);
        }
    }
    state.running = Some(running);
    if let (Some((key, owner)), Some(running)) = (comparison.shared.first(), &mut state.running) {
        running.failed.insert(
            key.clone(),
            format!("it belongs to Application {owner}, which must let it go first"),
        );
    }
}

/// Goes on with what a person asked for before the agent was started again. What it did by itself
/// is decided anew.
pub(super) fn resume(state: &mut State, application: &Application) {
    let Some(operation) = state
        .operation
        .as_mut()
        .filter(|operation| operation.phase == OperationPhase::Running)
    else {
        return;
    };
    let by_itself = operation
        .operation
        .initiated_by
        .as_ref()
        .is_some_and(|by| by.automated);
    if !by_itself && asked::waits(operation, state.next_attempt, application) {
        if let Some(at) = state.next_attempt {
            state.look_again_in(at.saturating_duration_since(Instant::now()));
        }
        return;
    }
    match operation.operation.sync.clone().filter(|_| !by_itself) {
        Some(sync) => {
            let digest = state.desired.as_ref().map(|desired| desired.digest.clone());
            let digest = digest.unwrap_or_default();
            let mut running = Running::new(Reason::Operation, sync, digest);
            // Unless the agent ended before it was taken off the Application.
            let asked = application.operation.as_ref();
            running.taken = !asked.is_some_and(|asked| asked.is_same(&operation.operation));
            // What it did before counts as well.
            if let Some(done) = &operation.sync_result {
                let rows = done.resources.iter().filter(|row| is_over(row));
                running.rows = rows.cloned().collect();
                running.left_out = done.rows() - done.resources.len();
            }
            state.running = Some(running);
        }
        None => {
            operation.phase = OperationPhase::Error;
            "interrupted by a restart of the agent".clone_into(&mut operation.message);
            operation.finished_at = Some(rfc3339(Timestamp::now()));
        }
    }
}

/// Whether a row tells of something that is over: a failure is tried again, and a hook that ran when
/// the agent ended is seen to anew.
fn is_over(row: &ResourceResult) -> bool {
    row.status != "SyncFailed" && !(row.sync_phase.is_some() && row.message == "started")
}

/// Ends the running sync: hooks are cleaned up, the result is put into words, and it is decided
/// when to try again.
pub(super) async fn end(
    hands: &Hands<'_>,
    state: &mut State,
    end: End,
) -> Result<(), ClusterError> {
    if requests::is_to_take_up(state, hands.application) {
        // It ended before anything was begun. What is pinned since is known first.
        report::write_ahead(hands.context, state, hands.application).await?;
        requests::take_up(hands.context, state, hands.application).await?;
    } else if state
        .application
        .as_ref()
        .is_some_and(|it| it.operation.is_some())
    {
        // What was asked for meanwhile is next.
        state.look_again_in(Duration::ZERO);
    }
    hooks::clean_up(hands, state, &end).await?;
    let Some(running) = state.running.take() else {
        if let End::Terminated(by) = end {
            asked::give_up(state, by);
        }
        return Ok(());
    };
    let (context, application) = (hands.context, hands.application);
    let pause_of_asked = asked::tries_again(state, &running);
    let again = matches!(end, End::Failed(_)) && pause_of_asked.is_some();
    let (phase, message) = match end {
        End::Superseded(by) => {
            // The newer one is waiting and is taken up at once.
            state.retry_now();
            state.look_again_in(Duration::ZERO);
            (OperationPhase::Failed, format!("superseded by {by}"))
        }
        End::Terminated(by) => {
            state.held = Some(running.desired.clone());
            let message = format!("terminated by {by}; the next commit or sync goes on");
            if let Some(operation) = &mut state.operation {
                operation.terminated_by = by;
            }
            report::failed(context, application, state, &message, running.began);
            (OperationPhase::Failed, message)
        }
        End::Succeeded => {
            let message = summary(state, &running);
            if running.is_whole() && running.sync.leaves_hooks() && !running.sync.dry_run {
                asked::leave_hooks(state);
            }
            if running.reason == Reason::Drift {
                let now = Instant::now();
                for row in &running.rows {
                    state.fights.repaired(&row.key(), now);
                }
            }
            if running.is_whole() && !running.sync.dry_run {
                state.ignore.settle();
                keep_bundle(hands, state).await;
            }
            state.retry_now();
            state.sync_error = None;
            report::synced(context, application, state, &running, &message);
            time_applied(context, state, &running);
            (OperationPhase::Succeeded, message)
        }
        End::Failed(message) => {
            report::failed(context, application, state, &message, running.began);
            state.sync_error = Some(message.clone());
            let pause = pause_of_asked.unwrap_or_else(|| after_failure(state, application));
            state.next_attempt = Some(Instant::now() + pause);
            state.look_again_in(pause);
            (OperationPhase::Failed, message)
        }
    };
    conclude(state, running, (phase, message), again);
    Ok(())
}

/// Writes down how a sync ended; `again` says that the operation itself goes on with another try.
fn conclude(
    state: &mut State,
    running: Running,
    (phase, message): (OperationPhase, String),
    again: bool,
) {
    if !running.sync.dry_run {
        report::note_attempt(state, &running, &phase.to_string(), &message);
    }
    let revision = state
        .desired
        .as_ref()
        .map(|desired| desired.commit_id.clone());
    if let Some(operation) = &mut state.operation {
        match again {
            true => asked::note_failure(operation, &message),
            false => {
                operation.phase = phase;
                operation.message = message;
                operation.finished_at = Some(rfc3339(Timestamp::now()));
            }
        }
        let (resources, left_out) = running.results();
        operation.sync_result = Some(SyncResult {
            revision: revision.unwrap_or_default(),
            resources,
            left_out,
            desired: running.desired,
        });
    }
}

/// Keeps the rendered bundle of what was deployed. Without it the deployment stands, but there is
/// no way back to it.
async fn keep_bundle(hands: &Hands<'_>, state: &mut State) {
    let (context, application) = (hands.context, hands.application);
    let Some(digest) = state.desired.as_ref().map(|desired| desired.digest.clone()) else {
        return;
    };
    let limit = report::history_limit(application);
    let history = &state.written.history;
    if history.last().is_some_and(|last| last.bundle == digest) {
        return;
    }
    let mut wanted: BTreeSet<String> = history
        .iter()
        .rev()
        .take(limit.saturating_sub(1))
        .map(|deployment| deployment.bundle.clone())
        .collect();
    wanted.insert(digest);
    let manifests = match &hands.manifests {
        Some(manifests) => Ok(manifests.clone()),
        None => manifests::find(context, state, application).await,
    };
    let kept = match (manifests, &state.desired) {
        (Ok(manifests), Some(desired)) => {
            keep(&context.engine, application, desired, &manifests, &wanted)
                .await
                .map_err(|error| error.to_string())
        }
        (Err(why), _) => Err(why),
        (_, None) => Ok(()),
    };
    if let Err(why) = &kept {
        tracing::warn!(app = %application.key, why, "there will be no way back to this deployment");
    }
    state.bundle_error = kept.err();
}

fn summary(state: &State, running: &Running) -> String {
    let hooks = running.rows.iter();
    let hooks = hooks.filter(|row| row.sync_phase.is_some()).count();
    let count = running.changes() - hooks;
    let verb = match running.sync.dry_run {
        true => "would be changed",
        false => "changed",
    };
    let objects = state
        .desired
        .as_ref()
        .map_or(0, |desired| desired.objects.len());
    let mut message = match (count, &running.namespace) {
        (0, Some(namespace)) => format!("the namespace {}", namespace.message),
        (0, None) => "nothing to change".to_owned(),
        (count, _) => format!("{count} of {} objects {verb}", objects.max(count)),
    };
    if hooks > 0 {
        let verb = if running.sync.dry_run {
            "to run"
        } else {
            "run"
        };
        message = format!("{message}, {hooks} hooks {verb}");
    }
    if let Some(rest) = chosen::left_over(state, running) {
        message = format!("{message}; {rest}");
    }
    message
}

/// Measures how long it took from the push to the last apply.
fn time_applied(context: &Context, state: &mut State, running: &Running) {
    if let (Some(at), Some(timing)) = (running.applied_at, &mut state.timing)
        && let Some((received, trigger)) = state.moving
        && timing.applied_ms == 0
    {
        let took = at.saturating_duration_since(received);
        timing.applied_ms = millis(took);
        context
            .engine
            .metrics
            .push_stage(Stage::Applied, trigger, took);
    }
}

/// Counts a failure and tells how long to wait for the next attempt.
pub(super) fn after_failure(state: &mut State, application: &Application) -> Duration {
    state.failures = state.failures.saturating_add(1);
    retry_pause(&application.spec, state.failures)
}
