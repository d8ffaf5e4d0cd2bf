//! Goes on with a sync: step by step until it has to wait or is over.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use super::ahead::{begin_all, begin_namespace, begin_waiting};
use super::comparing::compare_and_settle;
use super::registry::Mailbox;
use super::running::{PRUNE_SKIPPED, hook_outcome, tasks};
use super::state::{Held, State};
use super::syncing::{self, End};
use super::{Context, report};
use crate::cluster::{Cluster, Deletion, Error as ClusterError};
use crate::crd::options::prune_consent;
use crate::crd::{Application, Consent, HookPhase, HookResult, HookStatus, ResourceResult};
use crate::diff::IgnoreRules;
use crate::object::ResourceKey;
use crate::plan::{Step, Subject, Task, reverse_order, step};
use crate::sync::{
    Applied, Change, Comparison, Execution, Lookup, Manifests, Outcome, delete, execute,
    is_scalable, key_of_run, start_hook, wanted_namespace,
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

impl Hands<'_> {
    /// Whether something newer than what is known waits; that the source is still where it was, as
    /// a refresh says, is nothing newer.
    fn is_superseded(&self, state: &State) -> bool {
        let known = state
            .revision
            .as_ref()
            .map(|known| known.commit_id.as_str());
        self.mailbox.supersedes(known)
    }
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
        // One that ended just now keeps nothing from being Synced.
        comparison.hooks = state.open_hooks();
        let prunes = syncing::check_prune(state, hands.application, &comparison);
        if let Err(why) = begin_namespace(hands, state, &mut comparison).await {
            syncing::end(hands, state, End::Failed(why)).await?;
            return Ok(comparison);
        }
        let Some(running) = &state.running else {
            return Ok(comparison);
        };
        let live =
            |key: &ResourceKey| syncing::look_up(hands.context, state, hands.application, key);
        let options = running.options(hands.application);
        let tasks = tasks(state, running, options, &comparison, prunes, live);
        match step(&tasks, running.patience(timeout)) {
            Step::Run(begun) => {
                if hands.is_superseded(state) && !begun.is_empty() {
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
                let waits_to_prune = running.waits_to_prune;
                if let Some(pause) = running.next_look(timeout) {
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

/// Begins the tasks of one place.
async fn run(hands: &Hands<'_>, state: &mut State, begun: &[&Task]) -> Result<(), ClusterError> {
    let (mut applies, mut prunes) = (Vec::new(), Vec::new());
    for task in begun {
        match &task.subject {
            Subject::Apply(key) => applies.push(key.clone()),
            Subject::Hook(index) => run_hook(hands, state, *index, task.place.phase).await?,
            // All of one wave.
            Subject::Prune(key) => prunes.push((key.clone(), 0)),
        }
    }
    for key in reverse_order(prunes).concat() {
        prune(hands, state, &key).await;
    }
    if !applies.is_empty()
        && let Some(execution) = execution(hands, state, &applies)
    {
        let superseded = || hands.is_superseded(state);
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
    let written = report::write_ahead(hands.context, state, hands.application).await;
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
        scaled: HashSet::new(),
        namespace: None,
        applied: None,
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

/// What is to be applied, when there are manifests for it.
pub(super) fn execution<'a>(
    hands: &'a Hands<'_>,
    state: &'a State,
    keys: &[ResourceKey],
) -> Option<Execution<'a>> {
    let (mut seen, mut scaled) = (HashMap::new(), HashSet::new());
    for key in keys {
        let live = match syncing::look_up(hands.context, state, hands.application, key) {
            Lookup::Found(live) => live,
            // It was applied before, and is not known again yet.
            Lookup::Unknown if is_scalable(key) && state.baselines.contains_key(key) => {
                scaled.insert(key.clone());
                continue;
            }
            Lookup::Unknown | Lookup::Absent => continue,
        };
        if live.observation.replicas {
            scaled.insert(key.clone());
        }
        seen.insert(key.clone(), live.observation.resource_version);
    }
    let desired = state.desired.as_ref()?;
    let running = state.running.as_ref();
    let namespace = running
        .and_then(|running| {
            wanted_namespace(
                hands.application,
                running.options(hands.application),
                desired,
            )
        })
        .map(|wanted| wanted.name);
    Some(Execution {
        owner: &hands.application.key,
        cluster: &hands.cluster,
        desired,
        manifests: hands.manifests.as_ref()?,
        ignore: &hands.ignore,
        options: running.map_or(&[], |running| running.sync.sync_options.as_slice()),
        seen,
        scaled,
        namespace,
        applied: Some(Applied {
            application: hands.application,
            baselines: &state.baselines,
            stored: &state.stored,
            bundle: state
                .written
                .history
                .last()
                .map_or("", |last| last.bundle.as_str()),
        }),
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

pub(super) fn fail(state: &mut State, key: &ResourceKey, why: String) {
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "SyncFailed", why.clone(), None));
        running.failed.insert(key.clone(), why);
    }
}

pub(super) fn take_row(state: &mut State, key: &ResourceKey, change: &Change) {
    let text = match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged | Change::Failed(_) => return,
    };
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "Synced", text.to_owned(), None));
    }
}

pub(super) fn row(
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
