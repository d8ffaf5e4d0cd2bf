//! Reports: the status patch, Events, log lines and metrics of one application.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::cluster::{Error, Notice};
use crate::controller::{
    Context,
    decide::{
        conditions::deletion_condition,
        reasons::pending_hooks,
        status::{begin_unknown, fold, patch},
        view::View,
    },
    observe::live::look_up,
    state::{
        State, millis,
        room::{self, Room},
        sync_run::Running,
    },
};
use crate::crd::names::{KIND, VERSION};
use crate::crd::{
    Application, ApplicationStatus, Attempt, Condition, Deployment, HealthCode, InitiatedBy,
    OperationPhase,
};
use crate::object::{rfc3339, rfc3339_before};
use crate::plan::Reason;
use crate::sync::Comparison;
use crate::telemetry;
use crate::telemetry::{Answer, KubeVerb, Stage};
use crate::trigger::Cause;

/// How many deployments the history keeps when the spec does not say: Argo CD's number.
const HISTORY: i64 = 10;

/// Writes the status when it changed.
pub(in crate::controller) async fn write(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: Option<&Comparison>,
) -> Result<(), Error> {
    tell_progress(state);
    let view = view(state, application, comparison);
    let live = |key: &_| {
        let live = look_up(context, state, application, key).found();
        live.filter(|live| live.ours)
    };
    let mut next = fold(&state.written, view, live, &rfc3339(Timestamp::now()));
    let healthy = next
        .health
        .as_ref()
        .is_some_and(|health| health.status == HealthCode::Healthy);
    if let (Some(timing), Some((received, trigger))) = (&mut next.timing, state.moving)
        && healthy
        && timing.applied_ms > 0
    {
        let took = received.elapsed();
        timing.healthy_ms = Some(millis(took));
        context
            .engine
            .metrics
            .push_stage(Stage::Healthy, trigger, took);
        state.moving = None;
        state.timing.clone_from(&next.timing);
    }
    if !put(context, state, application, &mut next, comparison.is_some()).await? {
        return Ok(());
    }
    if let Some(timing) = next
        .timing
        .as_ref()
        .filter(|_| next.timing != state.written.timing)
    {
        let delivery = match state.revision.as_ref().map(|revision| &revision.cause) {
            Some(Cause::Push(delivery)) => delivery,
            _ => "",
        };
        context.journal.timed(&application.key, delivery, timing);
    }
    let before = codes(&state.written);
    let after = codes(&next);
    if before != after {
        tracing::info!(app = %application.key, sync = %after.0, health = after.1.map_or("-".to_owned(), |h| h.to_string()), "state");
    }
    *state.written = next;
    Ok(())
}

/// Writes what there is room for of a status, if that is another one than was written. Where the API
/// server refuses it as too large, the rows go first. Returns whether something was written.
async fn put(
    context: &Context,
    state: &mut State,
    application: &Application,
    next: &mut ApplicationStatus,
    compared: bool,
) -> Result<bool, Error> {
    loop {
        let now = rfc3339(Timestamp::now());
        room::fit(next, &state.written, state.room, &now);
        let written = match patch(&state.written, next) {
            Ok(None) => return Ok(false),
            Ok(Some(mut patch)) => {
                if compared {
                    patch["reconciledAt"] = now.as_str().into();
                }
                write_status(context, application, &patch).await
            }
            Err(error) => Err(Error::TooLarge {
                doing: format!("write the status of application {}", application.key),
                reason: error.to_string(),
            }),
        };
        match written {
            Ok(()) => {
                if compared {
                    next.reconciled_at = now;
                }
                return Ok(true);
            }
            Err(error) if error.is_too_large() && state.room == Room::Ample => {
                tracing::warn!(app = %application.key, %error, "the status is cut");
                state.room = Room::Scarce;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Says that not even a short status could be written: in one condition, if that fits, and as an
/// Event.
pub(in crate::controller) async fn write_refusal(
    context: &Context,
    state: &mut State,
    application: &Application,
    error: &Error,
) {
    let message = format!("nothing is reported or applied: {error}");
    announce(
        context,
        application,
        true,
        "StatusTooLarge",
        message.clone(),
    );
    let mut next = state.written.clone();
    next.conditions = vec![Condition {
        type_: room::LARGE.to_owned(),
        message,
        last_transition_time: rfc3339(Timestamp::now()),
    }];
    let known = &state.written.conditions;
    if known
        .iter()
        .any(|it| it.message == next.conditions[0].message)
    {
        return;
    }
    if let Ok(Some(patch)) = patch(&state.written, &next)
        && write_status(context, application, &patch).await.is_ok()
    {
        state.written = next;
    }
}

pub(in crate::controller) async fn write_status(
    context: &Context,
    application: &Application,
    patch: &serde_json::Value,
) -> Result<(), Error> {
    let written = context
        .applications
        .patch_status(&application.key, None, patch)
        .await;
    let answer = if written.is_ok() {
        Answer::Ok
    } else {
        Answer::Failed
    };
    context
        .engine
        .metrics
        .kube_request(KubeVerb::Status, answer);
    written.map(drop)
}

pub(in crate::controller) fn codes(
    status: &ApplicationStatus,
) -> (crate::crd::SyncCode, Option<HealthCode>) {
    (
        status.sync.status,
        status.health.as_ref().map(|health| health.status),
    )
}

/// Writes what must survive a restart before what it is about is done: the inventory ahead of the
/// objects that will be created, hooks ahead of their start, and what a person asked for before it
/// is taken off the Application.
pub(in crate::controller) async fn write_ahead(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), Error> {
    tell_progress(state);
    let mut next = state.written.clone();
    next.inventory = state.inventory_status();
    next.hooks.clone_from(&state.hooks);
    next.operation_state.clone_from(&state.operation);
    next.pin.clone_from(&state.pin);
    begin_unknown(&mut next, &rfc3339(Timestamp::now()));
    if put(context, state, application, &mut next, false).await? {
        state.written = next;
    }
    Ok(())
}

/// Puts what the running sync did so far into what is written anyway.
fn tell_progress(state: &mut State) {
    if let (Some(running), Some(operation)) = (&state.running, &mut state.operation) {
        let result = operation.sync_result.get_or_insert_default();
        (result.resources, result.left_out) = running.results();
    }
}

/// Says how far the deletion of an Application came.
pub(in crate::controller) async fn write_deletion(
    context: &Context,
    state: &mut State,
    application: &Application,
    message: String,
) -> Result<(), Error> {
    let mut next = state.written.clone();
    next.inventory = state.inventory_status();
    next.hooks.clone_from(&state.hooks);
    let since = rfc3339(Timestamp::now());
    next.conditions = deletion_condition(&state.written.conditions, message, since);
    if put(context, state, application, &mut next, false).await? {
        state.written = next;
    }
    Ok(())
}

fn view<'a>(
    state: &'a State,
    application: &'a Application,
    comparison: Option<&'a Comparison>,
) -> View<'a> {
    View {
        fault: state.fault.as_ref().map(|fault| fault.message.as_str()),
        faults: &application.faults,
        source_error: state.source_error.as_ref(),
        compare_error: state.compare_error.as_deref(),
        sync_error: state.sync_error.as_deref(),
        prune_held: state.prune_held.as_deref(),
        pending_hooks: pending_hooks(state),
        bundle_error: state.bundle_error.as_deref(),
        holds: &state.holds,
        fights: state
            .fights
            .given_up()
            .map(|(_, why)| why.to_owned())
            .collect(),
        desired: state.desired.as_ref(),
        comparison,
        inventory: state.inventory_status(),
        operation: state.operation.as_ref(),
        hooks: &state.hooks,
        stored: Some(&state.stored),
        pin: state.pin.as_ref(),
        attempts: &state.attempts,
        deployed: deployed(state, application),
        history_limit: history_limit(application),
        timing: state.timing.as_ref(),
    }
}

/// How many deployments are kept, with their rendered bundles; the last one always.
pub(in crate::controller) fn history_limit(application: &Application) -> usize {
    let limit = application.spec.revision_history_limit.unwrap_or(HISTORY);
    usize::try_from(limit).unwrap_or_default().max(1)
}

/// A history entry when a revision was deployed that is not the last one of the history.
fn deployed(state: &State, application: &Application) -> Option<Deployment> {
    let operation = state.operation.as_ref()?;
    let partly = operation
        .operation
        .sync
        .as_ref()
        .is_some_and(|sync| sync.dry_run || !sync.resources.is_empty());
    if operation.phase != OperationPhase::Succeeded || partly {
        return None;
    }
    let revision = &operation.sync_result.as_ref()?.revision;
    let source = application.spec.source.clone();
    let last = state.written.history.last();
    if last.is_some_and(|last| last.revision == *revision && last.source == source) {
        return None;
    }
    Some(Deployment {
        id: 0,
        revision: revision.clone(),
        deploy_started_at: operation.started_at.clone(),
        deployed_at: operation.finished_at.clone().unwrap_or_default(),
        initiated_by: operation.operation.initiated_by.clone(),
        source,
        bundle: operation.sync_result.as_ref()?.desired.clone(),
    })
}

/// How many of the last syncs the status keeps; the log has them all.
const ATTEMPTS: usize = 10;

/// Who or what a sync is due to.
fn initiator(person: Option<&InitiatedBy>, reason: Reason, cause: Option<&Cause>) -> String {
    match (reason, cause) {
        (Reason::Operation, _) => match person.map(|person| person.username.as_str()) {
            None | Some("") => "somebody".to_owned(),
            Some(name) => name.to_owned(),
        },
        (Reason::Drift, _) => "drift".to_owned(),
        (_, Some(Cause::Push(delivery))) => format!("push {delivery}"),
        (_, Some(cause)) => cause.label().as_str().to_owned(),
        (_, None) => String::new(),
    }
}

/// Notes what became of a sync.
pub(in crate::controller) fn note_attempt(
    state: &mut State,
    running: &Running,
    result: &str,
    message: &str,
) {
    let operation = state.operation.as_ref();
    let person = operation.and_then(|state| state.operation.initiated_by.as_ref());
    let cause = state.revision.as_ref().map(|revision| &revision.cause);
    let by = initiator(person, running.reason, cause);
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let until = |at: Option<Instant>| {
        at.map_or(0, |at| millis(at.saturating_duration_since(running.began)))
    };
    let attempt = Attempt {
        at: rfc3339_before(Timestamp::now(), running.began.elapsed()),
        by,
        revision: state
            .desired
            .as_ref()
            .map(|desired| desired.commit_id.clone())
            .unwrap_or_default(),
        desired: running.desired.clone(),
        result: result.to_owned(),
        message: message.chars().take(256).collect(),
        changed: count(running.changes()),
        pruned: count(running.pruned.len()),
        checked_ms: until(running.checked_at),
        applied_ms: until(running.applied_at),
        duration_ms: millis(running.began.elapsed()),
    };
    let app = state.application.as_ref().map(|it| it.key.to_string());
    tracing::info!(
        app, by = attempt.by, revision = attempt.revision, desired = attempt.desired,
        result, reason = ?running.reason, changed = attempt.changed, pruned = attempt.pruned,
        checked_ms = attempt.checked_ms, applied_ms = attempt.applied_ms,
        duration_ms = attempt.duration_ms, "attempt: {message}"
    );
    state.attempts.push(attempt);
    let surplus = state.attempts.len().saturating_sub(ATTEMPTS);
    state.attempts.drain(..surplus);
}

/// Announces a sync that has something to do.
pub(in crate::controller) fn started(
    context: &Context,
    application: &Application,
    state: &State,
    apply: usize,
    prune: usize,
) {
    if apply + prune == 0 {
        return;
    }
    let revision = state
        .desired
        .as_ref()
        .map(|d| d.commit_id.as_str())
        .unwrap_or_default();
    let short = revision.get(..7).unwrap_or(revision);
    let message = format!("{short}: {apply} objects to apply, {prune} to delete");
    announce(context, application, false, "SyncStarted", message);
}

/// Announces a sync that did what it was meant to.
pub(in crate::controller) fn synced(
    context: &Context,
    application: &Application,
    state: &State,
    running: &Running,
    message: &str,
) {
    let revision = state
        .desired
        .as_ref()
        .map(|d| d.commit_id.clone())
        .unwrap_or_default();
    let changed = running.changes();
    let pruned = running.pruned.len();
    let metrics = &context.engine.metrics;
    metrics.sync(telemetry::Outcome::Succeeded, running.began.elapsed());
    metrics.prunes(pruned as u64);
    if running.reason == Reason::Drift {
        metrics.drift_repairs(changed as u64);
    }
    if changed == 0 || running.sync.dry_run {
        return;
    }
    let short = revision.get(..7).unwrap_or(&revision).to_owned();
    announce(
        context,
        application,
        false,
        "SyncSucceeded",
        format!("{short}: {message}"),
    );
    if pruned > 0 {
        announce(
            context,
            application,
            false,
            "Pruned",
            format!("{pruned} objects were deleted"),
        );
    }
}

/// Announces a sync that failed.
pub(in crate::controller) fn failed(
    context: &Context,
    application: &Application,
    state: &State,
    message: &str,
    started: Instant,
) {
    context
        .engine
        .metrics
        .sync(telemetry::Outcome::Failed, started.elapsed());
    tracing::warn!(app = %application.key, attempt = state.failures + 1, "sync failed: {message}");
    announce(context, application, true, "SyncFailed", message.to_owned());
}

/// Announces something about an application.
pub(in crate::controller) fn announce(
    context: &Context,
    application: &Application,
    warning: bool,
    reason: &'static str,
    message: String,
) {
    let reference = ObjectReference {
        api_version: Some(format!("{}/{VERSION}", application.object.group())),
        kind: Some(KIND.to_owned()),
        namespace: Some(application.key.namespace.clone()),
        name: Some(application.key.name.clone()),
        uid: Some(application.uid.clone()),
        ..ObjectReference::default()
    };
    context.announcer.announce(
        reference,
        Notice {
            warning,
            reason,
            message,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_names_who_or_what_it_is_due_to() {
        let by = |username: &str, automated| InitiatedBy {
            username: username.to_owned(),
            automated,
        };
        let (ann, nobody, itself) = (by("ann", false), by("", false), by("", true));
        for (person, reason, cause, expected) in [
            (Some(&ann), Reason::Operation, Cause::Poll, "ann"),
            (Some(&nobody), Reason::Operation, Cause::Poll, "somebody"),
            (None, Reason::Operation, Cause::Poll, "somebody"),
            (
                Some(&itself),
                Reason::Change,
                Cause::Application,
                "application",
            ),
            (Some(&itself), Reason::Change, Cause::Manual, "manual"),
            (
                Some(&itself),
                Reason::Prune,
                Cause::Push("7".to_owned()),
                "push 7",
            ),
            (Some(&itself), Reason::Drift, Cause::Poll, "drift"),
        ] {
            assert_eq!(initiator(person, reason, Some(&cause)), expected);
        }
    }
}
