//! Carries out a sync of one application and remembers what came of it.

use std::time::{Duration, Instant};

use super::reconcile::Manifests;
use super::registry::Mailbox;
use super::state::State;
use super::{Context, report};
use crate::cluster::Error as ClusterError;
use crate::crd::names::PRUNE_APPROVED;
use crate::crd::{
    Application, InitiatedBy, Operation, OperationPhase, OperationState, ResourceResult,
    SyncOperation, SyncResult, Timing,
};
use crate::object::ResourceKey;
use crate::plan::{PruneGuard, Reason, check_prune as guard_prune, retry_delay};
use crate::sync::{Change, Comparison, Execution, Outcome, Source, desire, execute};
use crate::telemetry::Stage;
use crate::trigger::Revision;

/// What is to be synced.
pub(super) struct Plan<'a> {
    pub(super) reason: Reason,
    pub(super) prune: bool,
    pub(super) comparison: &'a Comparison,
    /// The manifests when they were just rendered.
    pub(super) manifests: Option<Manifests>,
}

/// Whether what is stale may be deleted; what holds it up is remembered for the status.
pub(super) fn check_prune(
    state: &mut State,
    application: &Application,
    comparison: &Comparison,
) -> bool {
    let guard = PruneGuard {
        stale: &comparison.stale,
        desired: state
            .desired
            .as_ref()
            .map_or(0, |desired| desired.objects.len()),
        allow_empty: application
            .spec
            .automated()
            .is_some_and(|automated| automated.allow_empty),
        approved: application.annotation(PRUNE_APPROVED),
    };
    let held = if application.inventory_unknown {
        Err("the inventory in the status cannot be read".to_owned())
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
            .is_some_and(|s| s.prune);
    let allowed = held.is_ok();
    state.prune_held = held.err().filter(|_| asked && !comparison.stale.is_empty());
    allowed
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
    state.timing = Some(Timing {
        revision: revision.commit_id.clone(),
        trigger: trigger.as_str().to_owned(),
        received_at: report::timestamp(now.saturating_duration_since(revision.received)),
        fetched_ms: millis(since(revision.fetched)),
        rendered_ms: millis(since(now)),
        ..Timing::default()
    });
    state.moving = Some((revision.received, trigger));
}

/// Takes an operation off an Application that cannot be synced, and says why.
pub(super) async fn refuse(
    context: &Context,
    state: &mut State,
    application: &Application,
    why: &str,
) -> Result<(), ClusterError> {
    let Some(operation) = application.operation.clone() else {
        return Ok(());
    };
    let now = report::timestamp(Duration::ZERO);
    take_up(context, state, application).await?;
    state.operation = Some(OperationState {
        phase: OperationPhase::Error,
        message: format!("not started: {why}; see the conditions"),
        started_at: now.clone(),
        finished_at: Some(now),
        operation,
        sync_result: None,
        retry_count: 0,
    });
    Ok(())
}

async fn take_up(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), ClusterError> {
    let read = context
        .applications
        .clear_operation(&application.key, None)
        .await?;
    state.taken_up = read.resource_version.parse().ok();
    if let Some(known) = &mut state.application {
        known.operation = None;
    }
    Ok(())
}

/// Syncs: writes ahead what will be created, applies, prunes, remembers.
pub(super) async fn sync(
    context: &Context,
    state: &mut State,
    application: &Application,
    plan: Plan<'_>,
    mailbox: &Mailbox,
) -> Result<(), ClusterError> {
    let started = Instant::now();
    let asked = application
        .operation
        .clone()
        .filter(|_| plan.reason == Reason::Operation);
    let dry_run = asked
        .as_ref()
        .and_then(|o| o.sync.as_ref())
        .is_some_and(|sync| sync.dry_run);
    if asked.is_some() {
        take_up(context, state, application).await?;
    }
    if let Some((key, owner)) = plan.comparison.shared.first() {
        let message = format!("{key} belongs to Application {owner}");
        begin(state, asked, plan.prune);
        finish(state, OperationPhase::Failed, message, Vec::new());
        return Ok(());
    }
    begin(state, asked, plan.prune);
    let execution = match prepare(context, state, application, &plan, dry_run).await {
        Ok(execution) => execution,
        Err(message) => {
            let pause = after_failure(state, application);
            state.next_attempt = Some(Instant::now() + pause);
            state.look_again_in(pause);
            state.sync_error = Some(message.clone());
            finish(state, OperationPhase::Error, message, Vec::new());
            return Ok(());
        }
    };
    if !dry_run {
        write_ahead(context, state, application, &execution).await?;
    }
    report::started(context, application, state, &execution);
    let outcome = Box::pin(execute(&context.engine, execution, || mailbox.supersedes())).await;
    remember(context, state, application, &outcome, dry_run);
    conclude(context, state, application, &plan, &outcome, started);
    Ok(())
}

fn begin(state: &mut State, asked: Option<Operation>, prune: bool) {
    let operation = asked.unwrap_or_else(|| Operation {
        initiated_by: Some(InitiatedBy {
            username: String::new(),
            automated: true,
        }),
        sync: Some(SyncOperation {
            prune,
            dry_run: false,
        }),
        info: Vec::new(),
    });
    state.operation = Some(OperationState {
        phase: OperationPhase::Running,
        message: String::new(),
        started_at: report::timestamp(Duration::ZERO),
        finished_at: None,
        operation,
        sync_result: None,
        retry_count: i64::from(state.failures),
    });
}

fn finish(
    state: &mut State,
    phase: OperationPhase,
    message: String,
    resources: Vec<ResourceResult>,
) {
    let revision = state
        .desired
        .as_ref()
        .map(|desired| desired.commit_id.clone());
    if let Some(operation) = &mut state.operation {
        operation.phase = phase;
        operation.message = message;
        operation.finished_at = Some(report::timestamp(Duration::ZERO));
        operation.sync_result = Some(SyncResult {
            revision: revision.unwrap_or_default(),
            resources,
        });
    }
}

/// Finds the manifests of what is to be applied.
async fn prepare<'a>(
    context: &Context,
    state: &State,
    application: &'a Application,
    plan: &Plan<'_>,
    dry_run: bool,
) -> Result<Execution<'a>, String> {
    let mut manifests = match &plan.manifests {
        Some(manifests) => manifests.clone(),
        None => {
            let commit_id = state
                .desired
                .as_ref()
                .map(|desired| desired.commit_id.clone());
            let mirror = (context.mirror_of)(&application.key);
            let (Some(commit_id), Some(mirror)) = (commit_id, mirror) else {
                return Err("the source is not known yet".to_owned());
            };
            let source = Source {
                mirror: &mirror,
                commit_id: &commit_id,
            };
            desire(&context.engine, application, &source)
                .await
                .map_err(|e| e.to_string())?
                .1
        }
    };
    let wanted = plan
        .comparison
        .changed
        .iter()
        .chain(&plan.comparison.drifted);
    let apply: Manifests = wanted
        .filter_map(|key| manifests.remove_entry(key))
        .collect();
    let seen = apply.keys().filter_map(|key| {
        let kind = state.kind_of(key)?;
        let live = context.live.look_up(&application.key, kind, key).found()?;
        Some((key.clone(), live.observation.resource_version))
    });
    let seen: std::collections::HashMap<_, _> = seen.collect();
    let prune = if plan.prune {
        plan.comparison.stale.as_slice()
    } else {
        &[]
    };
    let creates = apply.keys().any(|key| !state.inventory.contains_key(key));
    let creates_namespace = creates && application.spec.has_sync_option("CreateNamespace=true");
    Ok(Execution {
        owner: &application.key,
        prune: prune
            .iter()
            .filter_map(|key| Some((key.clone(), state.inventory.get(key)?.clone())))
            .collect(),
        apply,
        dry_run,
        create_namespace: creates_namespace
            .then_some(application.spec.destination.namespace.as_str()),
        seen,
    })
}

/// Writes the union of the inventory and what will be created before the first create: whatever
/// happens then, the inventory holds everything that is ours.
async fn write_ahead(
    context: &Context,
    state: &mut State,
    application: &Application,
    execution: &Execution<'_>,
) -> Result<(), ClusterError> {
    let mut grew = false;
    for (key, object) in &execution.apply {
        let kind = object.api();
        grew |= state.inventory.insert(key.clone(), kind.clone()) != Some(kind);
    }
    if grew {
        report::write_inventory(context, state, application).await
    } else {
        Ok(())
    }
}

fn remember(
    context: &Context,
    state: &mut State,
    application: &Application,
    outcome: &Outcome,
    dry_run: bool,
) {
    for (kind, key, observation, health) in &outcome.seen {
        context.live.record(
            &application.key,
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
    }
    let gone = outcome
        .changes
        .iter()
        .filter(|(_, change)| *change == Change::Gone && !dry_run);
    for (key, _) in gone {
        state.inventory.remove(key);
        state.baselines.remove(key);
    }
}

/// Puts the result into words and decides when to try again.
fn conclude(
    context: &Context,
    state: &mut State,
    application: &Application,
    plan: &Plan<'_>,
    outcome: &Outcome,
    started: Instant,
) {
    let failed: Vec<_> = outcome
        .failures()
        .map(|(key, message)| format!("{key}: {message}"))
        .collect();
    let dry_run = state
        .operation
        .as_ref()
        .and_then(|state| state.operation.sync.as_ref())
        .is_some_and(|sync| sync.dry_run);
    let resources: Vec<_> = outcome.changes.iter().filter_map(row).collect();
    let metrics = &context.engine.metrics;
    if outcome.superseded {
        // The newer one is waiting and is taken up at once.
        finish(
            state,
            OperationPhase::Failed,
            "superseded by a newer revision".to_owned(),
            resources,
        );
        state.retry_now();
    } else if failed.is_empty() {
        let verb = if dry_run {
            "would be changed"
        } else {
            "changed"
        };
        let count = resources.len();
        let message = if count == 0 {
            "nothing to change".to_owned()
        } else {
            format!(
                "{count} of {} objects {verb}",
                desired_count(state).max(count)
            )
        };
        state.retry_now();
        state.sync_error = None;
        report::synced(
            context,
            application,
            state,
            plan.reason,
            outcome,
            &message,
            started,
        );
        finish(state, OperationPhase::Succeeded, message, resources);
        if let (Some(at), Some(timing)) = (outcome.applied_at, &mut state.timing)
            && let Some((received, trigger)) = state.moving
            && timing.applied_ms == 0
            && !dry_run
        {
            timing.applied_ms = millis(at.saturating_duration_since(received));
            metrics.push_stage(
                Stage::Applied,
                trigger,
                at.saturating_duration_since(received),
            );
        }
    } else {
        let message = some_of(&failed);
        report::failed(context, application, state, &message, started);
        finish(state, OperationPhase::Failed, message.clone(), resources);
        state.sync_error = Some(message);
        let pause = after_failure(state, application);
        state.next_attempt = Some(Instant::now() + pause);
        state.look_again_in(pause);
    }
}

/// Counts a failure and tells how long to wait for the next attempt.
pub(super) fn after_failure(state: &mut State, application: &Application) -> Duration {
    state.failures = state.failures.saturating_add(1);
    let retry = application
        .spec
        .sync_policy
        .as_ref()
        .and_then(|policy| policy.retry.as_ref());
    retry_delay(
        state.failures,
        retry.and_then(|retry| retry.limit),
        retry.and_then(|retry| retry.backoff.as_ref()),
    )
}

fn desired_count(state: &State) -> usize {
    state
        .desired
        .as_ref()
        .map_or(0, |desired| desired.objects.len())
}

fn row((key, change): &(ResourceKey, Change)) -> Option<ResourceResult> {
    let (status, message) = match change {
        Change::Created => ("Synced", "created".to_owned()),
        Change::Configured => ("Synced", "configured".to_owned()),
        Change::Pruned | Change::Gone => ("Pruned", "pruned".to_owned()),
        Change::Failed(message) => ("SyncFailed", message.clone()),
        Change::Unchanged => return None,
    };
    Some(ResourceResult {
        group: key.group.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        status: status.to_owned(),
        message,
    })
}

fn some_of(messages: &[String]) -> String {
    let shown = messages
        .iter()
        .take(3)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    match messages.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
