//! Goes on with a sync: step by step until it has to wait or is over.

use std::{collections::HashMap, time::Instant};

use super::reconcile::compare_and_settle;
use super::registry::Mailbox;
use super::running::{hook_outcome, tasks};
use super::state::{Held, State};
use super::syncing::{self, End};
use super::{Context, report};
use crate::cluster::{Cluster, Deletion, Error as ClusterError};
use crate::crd::options::prune_consent;
use crate::crd::{
    Application, Consent, HookPhase, HookResult, HookStatus, ResourceResult, SyncOptions,
};
use crate::diff::IgnoreRules;
use crate::object::ResourceKey;
use crate::plan::{Step, Subject, Task, step};
use crate::sync::{
    Change, Comparison, Execution, Lookup, Manifests, Outcome, check, delete, ensure_namespace,
    execute, key_of_run, namespace_key, start_hook,
};

/// What a sync needs at every step.
pub(super) struct Hands<'a> {
    pub(super) context: &'a Context,
    pub(super) application: &'a Application,
    pub(super) mailbox: &'a Mailbox,
    /// The cluster, acted on as the application's service account.
    pub(super) cluster: Cluster,
    pub(super) ignore: IgnoreRules,
    /// Loaded when something is applied.
    pub(super) manifests: Option<Manifests>,
}

/// Goes on until the sync waits or is over. Returns the comparison as it is then.
pub(super) async fn advance(
    hands: &mut Hands<'_>,
    state: &mut State,
    mut comparison: Comparison,
) -> Result<Comparison, ClusterError> {
    let timeout = hands.application.spec.wave_timeout();
    loop {
        latch_hooks(hands, state);
        let prunes = syncing::check_prune(state, hands.application, &comparison);
        let Some(running) = &state.running else {
            return Ok(comparison);
        };
        let live =
            |key: &ResourceKey| syncing::look_up(hands.context, state, hands.application, key);
        let tasks = tasks(state, running, &comparison, prunes, live);
        match step(&tasks, running.patience(timeout)) {
            Step::Run(begun) => {
                if hands.mailbox.supersedes() && !begun.is_empty() {
                    syncing::end(hands, state, End::Superseded).await?;
                    return Ok(comparison);
                }
                let applies = |index: &usize| !matches!(tasks[*index].subject, Subject::Prune(_));
                if hands.manifests.is_none() && begun.iter().any(applies) {
                    match syncing::manifests(hands.context, state, hands.application).await {
                        Ok(manifests) => hands.manifests = Some(manifests),
                        Err(why) => {
                            syncing::end(hands, state, End::Failed(why)).await?;
                            return Ok(comparison);
                        }
                    }
                }
                if !begin_all(hands, state, &tasks).await? {
                    continue;
                }
                if state.running.as_ref().is_some_and(|it| it.sync.dry_run) {
                    syncing::end(hands, state, End::Succeeded).await?;
                    return Ok(comparison);
                }
                let begun: Vec<_> = begun.into_iter().map(|index| &tasks[index]).collect();
                run(hands, state, &begun).await?;
                comparison = compare_and_settle(hands.context, state, hands.application).await;
            }
            Step::Wait(what) => {
                let pause = running.next_look(timeout);
                state.look_again_in(pause);
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

/// Before the first write: the namespace, then the question to the API server whether all of it
/// can be applied at all, then the inventory ahead of what will be created. False when something
/// was refused.
async fn begin_all(
    hands: &Hands<'_>,
    state: &mut State,
    tasks: &[Task],
) -> Result<bool, ClusterError> {
    let Some(running) = state.running.as_ref().filter(|running| !running.checked) else {
        return Ok(true);
    };
    let dry_run = running.sync.dry_run;
    let pending: Vec<ResourceKey> = tasks
        .iter()
        .filter_map(|task| match (&task.subject, &task.progress) {
            (Subject::Apply(key), crate::plan::Progress::Pending) => Some(key.clone()),
            _ => None,
        })
        .collect();
    let prunes = tasks
        .iter()
        .filter(|task| matches!(task.subject, Subject::Prune(_)))
        .count();
    if dry_run {
        let rows = tasks.iter().filter_map(|task| match &task.subject {
            Subject::Prune(key) => Some(row(key, "Pruned", "would be pruned".to_owned(), None)),
            Subject::Hook(index) if task.progress == crate::plan::Progress::Pending => {
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
    } else {
        report::started(
            hands.context,
            hands.application,
            state,
            pending.len(),
            prunes,
        );
        if let Some((key, why)) = make_namespace(hands, state, &pending).await {
            fail(state, &key, why);
            return Ok(set_checked(state, false));
        }
    }
    // One object alone needs no question: its apply is all or nothing.
    if pending.len() > 1 || dry_run {
        let execution = execution(hands, state, &pending);
        let Some(execution) = execution else {
            return Ok(set_checked(state, true));
        };
        let answers = check(&hands.context.engine, &execution, &pending).await;
        let mut refused = false;
        for (key, change) in answers {
            match change {
                Change::Failed(why) => {
                    refused = true;
                    fail(state, &key, why);
                }
                change if dry_run => take_row(state, &key, &change),
                _ => {}
            }
        }
        if refused {
            return Ok(set_checked(state, false));
        }
    }
    if !dry_run {
        write_ahead(hands, state, &pending).await?;
    }
    Ok(set_checked(state, true))
}

/// Notes that all was asked and written ahead: not before, so that an error leads here again.
fn set_checked(state: &mut State, passed: bool) -> bool {
    if let Some(running) = &mut state.running {
        running.checked = true;
    }
    passed
}

/// Creates the destination namespace where that is asked for and something goes into it.
async fn make_namespace(
    hands: &Hands<'_>,
    state: &State,
    pending: &[ResourceKey],
) -> Option<(ResourceKey, String)> {
    let spec = &hands.application.spec;
    let options = SyncOptions::of_application(spec.sync_options());
    let name = &spec.destination.namespace;
    let key = namespace_key(name);
    let policy = spec.sync_policy.as_ref();
    let metadata = policy.and_then(|policy| policy.managed_namespace_metadata.as_ref());
    let described = state
        .desired
        .as_ref()
        .is_some_and(|desired| desired.objects.contains_key(&key));
    let creates = pending.iter().any(|key| !state.inventory.contains_key(key));
    if !options.create_namespace || described || !(creates || metadata.is_some()) {
        return None;
    }
    let ensured = ensure_namespace(&hands.cluster, name, metadata).await;
    ensured.err().map(|error| (key, error.to_string()))
}

/// Writes the union of the inventory and what will be created before the first create: whatever
/// happens then, the inventory holds everything that is ours.
async fn write_ahead(
    hands: &Hands<'_>,
    state: &mut State,
    pending: &[ResourceKey],
) -> Result<(), ClusterError> {
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
        };
        state.inventory.insert(key.clone(), held);
    }
    // Against what was really written: an earlier write may have failed.
    let grew = state.inventory_status() != state.written.inventory;
    // What a person asked for must survive a restart before it is taken off the Application.
    let asked = hands.application.operation.is_some();
    if grew || asked {
        report::write_inventory(hands.context, state, hands.application).await?;
    }
    if asked {
        syncing::take_up(hands.context, state, hands.application).await?;
    }
    Ok(())
}

/// Begins the tasks of one place.
async fn run(hands: &Hands<'_>, state: &mut State, begun: &[&Task]) -> Result<(), ClusterError> {
    let mut applies = Vec::new();
    for task in begun {
        match &task.subject {
            Subject::Apply(key) => applies.push(key.clone()),
            Subject::Hook(index) => run_hook(hands, state, *index, task.place.phase).await?,
            Subject::Prune(key) => prune(hands, state, key).await,
        }
    }
    if !applies.is_empty()
        && let Some(execution) = execution(hands, state, &applies)
    {
        let superseded = || hands.mailbox.supersedes();
        let outcome = Box::pin(execute(
            &hands.context.engine,
            &execution,
            &applies,
            superseded,
        ))
        .await;
        remember(hands, state, &outcome);
    }
    if let Some(running) = &mut state.running {
        running.moved = Instant::now();
    }
    Ok(())
}

/// Starts a hook. It is in the inventory and its start in the status before it is created.
pub(super) async fn run_hook(
    hands: &Hands<'_>,
    state: &mut State,
    index: usize,
    phase: HookPhase,
) -> Result<(), ClusterError> {
    let Some((hook, desired)) = state.desired.as_ref().and_then(|desired| {
        let hook = desired.hooks.get(index)?.clone();
        Some((hook, desired.clone()))
    }) else {
        return Ok(());
    };
    let seconds = jiff::Timestamp::now().as_second();
    let key = key_of_run(&hook, phase, &desired.commit_id, seconds);
    let held = Held {
        kind: hook.kind.clone(),
        wave: hook.wave,
        last: false,
        hook: true,
    };
    state.inventory.insert(key.clone(), held);
    let mut result = HookResult {
        id: key.id(),
        phase,
        desired: desired.digest.clone(),
        status: HookStatus::Running,
        message: String::new(),
    };
    // Known as started before it is: after a crash it does not run twice.
    state.set_hook_result(&hook, result.clone());
    let written = report::write_inventory(hands.context, state, hands.application).await;
    if written.is_err() {
        state.hooks.retain(|known| *known != result);
    }
    written?;
    let kinds = state.kinds();
    let context = hands.context;
    context.live.watch_for(&hands.application.key, &kinds).await;
    let no_manifests = Manifests::default();
    let execution = Execution {
        owner: &hands.application.key,
        cluster: &hands.cluster,
        desired: &desired,
        manifests: hands.manifests.as_ref().unwrap_or(&no_manifests),
        ignore: &hands.ignore,
        options: &[],
        seen: HashMap::new(),
    };
    let started = start_hook(&context.engine, &execution, index, &key).await;
    match started {
        Ok(started) => {
            tracing::info!(app = %hands.application.key, %phase, hook = %key, "a hook was started");
            let (observation, health) = (started.observation, started.health);
            context.live.record(
                &hands.application.key,
                &hook.kind,
                &key,
                observation,
                health,
            );
        }
        Err(error) => {
            result.status = HookStatus::Failed;
            result.message = error.to_string();
            state.set_hook_result(&hook, result);
        }
    }
    if let Some(running) = &mut state.running {
        running.applied.insert(key.clone());
        running
            .rows
            .push(row(&key, "Synced", "started".to_owned(), Some(phase)));
    }
    Ok(())
}

/// Takes over how hooks ended, so that it is known when their objects are gone.
fn latch_hooks(hands: &Hands<'_>, state: &mut State) {
    let mut ended = Vec::new();
    let began = |key: &ResourceKey| {
        let running = state.running.as_ref();
        running.is_some_and(|running| running.applied.contains(key))
    };
    for (place, result) in state.hooks.iter().enumerate() {
        let current = state.desired.as_ref().map(|desired| &desired.digest);
        if result.status != HookStatus::Running || current != Some(&result.desired) {
            continue;
        }
        let Some(key) = ResourceKey::parse(&result.id) else {
            continue;
        };
        let live = syncing::look_up(hands.context, state, hands.application, &key);
        // The agent ended before it was created: it is to run, not to fail.
        if live == Lookup::Absent && !began(&key) {
            continue;
        }
        if let Some(outcome) = hook_outcome(live) {
            ended.push((place, key, result.clone(), outcome));
        }
    }
    for (place, key, mut result, outcome) in ended {
        let status = match outcome {
            Ok(()) => "succeeded",
            Err(_) => "failed",
        };
        (result.status, result.message) = match outcome {
            Ok(()) => (HookStatus::Succeeded, String::new()),
            Err(why) => (HookStatus::Failed, why),
        };
        tracing::info!(app = %hands.application.key, hook = %key, status, "a hook ended");
        if let Some(running) = &mut state.running {
            running.applied.insert(key.clone());
            let message = if result.message.is_empty() {
                status.to_owned()
            } else {
                format!("{status}: {}", result.message)
            };
            let phase = Some(result.phase);
            let known = running
                .rows
                .iter_mut()
                .find(|row| row.sync_phase == phase && row.is(&key));
            match known {
                Some(row) => row.message = message,
                None => running.rows.push(row(&key, "Synced", message, phase)),
            }
        }
        if let Some(known) = state.hooks.get_mut(place) {
            *known = result;
        }
    }
}

async fn prune(hands: &Hands<'_>, state: &mut State, key: &ResourceKey) {
    let Some(held) = state.inventory.get(key).cloned() else {
        return;
    };
    let options = SyncOptions::of_application(hands.application.spec.sync_options());
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
                Deletion::Kept | Deletion::Unconfirmed => ("PruneSkipped", "kept"),
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

/// What is to be applied, when there are manifests for it.
fn execution<'a>(
    hands: &'a Hands<'_>,
    state: &'a State,
    keys: &[ResourceKey],
) -> Option<Execution<'a>> {
    let seen = keys.iter().filter_map(|key| {
        let live = syncing::look_up(hands.context, state, hands.application, key).found()?;
        Some((key.clone(), live.observation.resource_version))
    });
    Some(Execution {
        owner: &hands.application.key,
        cluster: &hands.cluster,
        desired: state.desired.as_ref()?,
        manifests: hands.manifests.as_ref()?,
        ignore: &hands.ignore,
        options: state
            .running
            .as_ref()
            .map_or(&[], |running| running.sync.sync_options.as_slice()),
        seen: seen.collect(),
    })
}

fn remember(hands: &Hands<'_>, state: &mut State, outcome: &Outcome) {
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
    }
    for (key, change) in &outcome.changes {
        match change {
            Change::Failed(why) => fail(state, key, why.clone()),
            change => {
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

fn fail(state: &mut State, key: &ResourceKey, why: String) {
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "SyncFailed", why.clone(), None));
        running.failed.insert(key.clone(), why);
    }
}

fn take_row(state: &mut State, key: &ResourceKey, change: &Change) {
    let text = match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged | Change::Failed(_) => return,
    };
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "Synced", text.to_owned(), None));
    }
}

fn row(
    key: &ResourceKey,
    status: &str,
    message: String,
    phase: Option<HookPhase>,
) -> ResourceResult {
    ResourceResult {
        group: key.group.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        status: status.to_owned(),
        sync_phase: phase,
        message,
    }
}
