//! Hooks: each runs once for a desired state, whenever the agent dies, and goes as it asks.
//!
//! A run has a name, which is in the status before its object is created and which the object
//! carries. After a restart an object counts as this run's only by that: an old one of the same
//! name, finished long ago, is no success of the new run.

use std::collections::{HashMap, HashSet};

use crate::cluster::Error as ClusterError;
use crate::controller::{
    act::{refused::Refused, report, rows::hook_row},
    context::Hands,
    decide::tasks::hook_outcome,
    observe::live::look_up,
    state::{
        Held, State,
        sync_run::{End, Running},
    },
};
use crate::crd::{Consent, HookPhase, HookResult, HookStatus, Propagation};
use crate::object::ResourceKey;
use crate::plan::Place;
use crate::sync::{
    DesiredHook, Execution, Lookup, Manifests, delete, find_run, key_of_run, start_hook,
};

/// Starts a hook. It is in the inventory and its start in the status before it is created. One that
/// is not taken has failed; it is returned why.
pub(in crate::controller) async fn run_hook(
    hands: &Hands<'_>,
    state: &mut State,
    index: usize,
    phase: HookPhase,
) -> Result<Option<Refused>, ClusterError> {
    let Some((hook, desired)) = state.desired.as_ref().and_then(|desired| {
        let hook = desired.hooks.get(index)?.clone();
        Some((hook, desired.clone()))
    }) else {
        return Ok(None);
    };
    let now = jiff::Timestamp::now();
    let key = key_of_run(&hook, phase, &desired.commit_id, now.as_second());
    let before = state.inventory.insert(key.clone(), held(&hook));
    let mut result = HookResult {
        id: key.id(),
        phase,
        desired: desired.digest.clone(),
        status: HookStatus::Running,
        message: String::new(),
        run: format!("{}.{}", desired.digest, now.as_millisecond()),
        uid: String::new(),
    };
    // Known as started before it is: after a crash it does not run twice.
    state.set_hook_result(&hook, result.clone());
    let written = report::write_ahead(hands.context, state, hands.application).await;
    if let Err(error) = &written {
        state.hooks.retain(|known| *known != result);
        if error.is_too_large() {
            state.restore(vec![(key.clone(), before)]);
        }
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
        gone: state.running.as_ref().map_or_else(Vec::new, Running::gone),
    };
    let mut refused = None;
    let started = start_hook(&context.engine, &execution, index, &key, &result.run).await;
    match started {
        Ok(started) => {
            tracing::info!(app = %hands.application.key, %phase, hook = %key, "a hook was started");
            let (observation, health) = (started.observation, started.health);
            result.uid.clone_from(&observation.uid);
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
            refused = Some(Refused {
                key: key.clone(),
                place: Place::of_wave(phase, hook.wave),
                why: result.message.clone(),
                refusal: error.refusal().cloned(),
            });
        }
    }
    state.set_hook_result(&hook, result.clone());
    if let Some(running) = &mut state.running {
        running.applied.insert(key.clone());
        running.rows.push(hook_row(&key, &result));
    }
    Ok(refused)
}

/// What is remembered of a hook's object.
fn held(hook: &DesiredHook) -> Held {
    Held {
        kind: hook.kind.clone(),
        wave: hook.wave,
        last: false,
        hook: true,
        ended: None,
        counted: false,
    }
}

/// Takes a run back that was refused for what is now to go first: it is to be started again.
pub(in crate::controller) fn take_back(state: &mut State, key: &ResourceKey, phase: HookPhase) {
    let id = key.id();
    state
        .hooks
        .retain(|result| result.id != id || result.phase != phase);
    if let Some(running) = &mut state.running {
        running.applied.remove(key);
        running
            .rows
            .retain(|row| !(row.is(key) && row.sync_phase == Some(phase)));
    }
}

/// Makes sure of runs whose start was noted by an agent that died then: their object is looked for
/// once. What was not created, or was made by another run, is to be started.
pub(in crate::controller) async fn confirm(
    hands: &Hands<'_>,
    state: &mut State,
) -> Result<(), ClusterError> {
    let current = state.desired.as_ref().map(|desired| desired.digest.clone());
    let open = |result: &HookResult| {
        let unsure = result.status == HookStatus::Running && result.uid.is_empty();
        unsure && current.as_ref() == Some(&result.desired)
    };
    let unsure: Vec<_> = state.hooks.iter().filter(|it| open(it)).cloned().collect();
    for result in unsure {
        let key = ResourceKey::parse(&result.id);
        let held = key.and_then(|key| Some((state.inventory.get(&key)?.kind.clone(), key)));
        let found = match held {
            Some((kind, key)) => find_run(&hands.cluster, &kind, &key, &result.run).await?,
            None => None,
        };
        match found {
            Some(uid) => {
                let same = state.hooks.iter_mut().find(|known| **known == result);
                if let Some(known) = same {
                    known.uid = uid;
                }
            }
            None => state.hooks.retain(|known| *known != result),
        }
    }
    Ok(())
}

/// Takes over how hooks ended, so that it is known when their objects are gone.
pub(in crate::controller) async fn latch(
    hands: &Hands<'_>,
    state: &mut State,
) -> Result<(), ClusterError> {
    confirm(hands, state).await?;
    let (mut ended, mut lost) = (Vec::new(), Vec::new());
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
        let live = look_up(hands.context, state, hands.application, &key);
        // It went while nobody saw how it ended: it is to run, not to fail.
        if live == Lookup::Absent && !began(&key) {
            lost.push(result.clone());
        } else if let Some(outcome) = hook_outcome(result, &live) {
            ended.push((place, key, result.clone(), outcome));
        }
    }
    for (place, key, mut result, outcome) in ended {
        (result.status, result.message) = match outcome {
            Ok(()) => (HookStatus::Succeeded, String::new()),
            Err(why) => (HookStatus::Failed, why),
        };
        let (app, status) = (&hands.application.key, result.status);
        tracing::info!(%app, hook = %key, ?status, "a hook ended");
        if let Some(running) = &mut state.running {
            running.applied.insert(key.clone());
            let row = hook_row(&key, &result);
            let mut rows = running.rows.iter_mut();
            match rows.find(|it| it.sync_phase == row.sync_phase && it.is(&key)) {
                Some(known) => *known = row,
                None => running.rows.push(row),
            }
        }
        if let Some(known) = state.hooks.get_mut(place) {
            *known = result;
        }
    }
    state.hooks.retain(|known| !lost.contains(known));
    Ok(())
}

/// Deletes the objects of hooks as their policies and the end of the sync ask for. A hook that
/// still runs when its sync is cut short is ended with it.
///
/// That one succeeded is written down before its object goes: an agent that dies in between would
/// find neither, and run it again.
pub(in crate::controller) async fn clean_up(
    hands: &Hands<'_>,
    state: &mut State,
    end: &End,
) -> Result<(), ClusterError> {
    let Some(digest) = state
        .running
        .as_ref()
        .map(|running| running.desired.clone())
    else {
        return Ok(());
    };
    let unwritten = |result: &HookResult| {
        let key = ResourceKey::parse(&result.id);
        result.desired == digest
            && key.is_some_and(|key| state.inventory.contains_key(&key))
            && goes_with_success(state, result)
            && !state.written.hooks.contains(result)
    };
    if matches!(end, End::Succeeded) && state.hooks.iter().any(unwritten) {
        report::write_ahead(hands.context, state, hands.application).await?;
    }
    let cut = matches!(end, End::Superseded(_) | End::Terminated(_));
    for result in state.hooks.clone() {
        if result.desired != digest {
            continue;
        }
        let goes = match end {
            End::Succeeded => goes_with_success(state, &result),
            End::Failed(_) => policy(state, &result).is_some_and(|it| it.when_failed),
            End::Superseded(_) | End::Terminated(_) => result.status == HookStatus::Running,
        };
        if goes
            && delete_object(hands, state, &result).await
            && cut
            && let Some(result) = state.hooks.iter_mut().find(|known| **known == result)
        {
            result.status = HookStatus::Failed;
            "its sync was cut short".clone_into(&mut result.message);
        }
    }
    Ok(())
}

/// Deletes what hooks of another desired state left that still ran when the agent died, or when
/// their sync failed: nothing waits for it any more, and it must not stand in the way.
pub(in crate::controller) async fn clean_up_left(hands: &Hands<'_>, state: &mut State) {
    let current = state.desired.as_ref().map(|desired| desired.digest.clone());
    let left = |result: &HookResult| {
        result.status == HookStatus::Running && Some(&result.desired) != current.as_ref()
    };
    for result in state.hooks.clone().iter().filter(|it| left(it)) {
        if delete_object(hands, state, result).await {
            state.hooks.retain(|known| known != result);
        }
    }
}

/// Where all is as desired and nothing runs: deletes what a sync left whose end the agent did not
/// live to see.
pub(in crate::controller) async fn sweep(hands: &Hands<'_>, state: &mut State) {
    if state.hooks.is_empty() {
        return;
    }
    clean_up_left(hands, state).await;
    let current = state.desired.as_ref().map(|desired| desired.digest.clone());
    for result in state.hooks.clone() {
        let done =
            result.status == HookStatus::Succeeded && current == Some(result.desired.clone());
        if done && goes_with_success(state, &result) {
            delete_object(hands, state, &result).await;
        }
    }
}

fn policy<'a>(state: &'a State, result: &HookResult) -> Option<&'a crate::plan::Hook> {
    let key = ResourceKey::parse(&result.id)?;
    let hooks = &state.desired.as_ref()?.hooks;
    hooks.iter().find(|hook| hook.made(&key)).map(|it| &it.hook)
}

fn goes_with_success(state: &State, result: &HookResult) -> bool {
    policy(state, result).is_some_and(|policy| policy.when_succeeded)
}

/// Deletes what a hook made, if that is known to be there. Whether nothing is left to do about it.
async fn delete_object(hands: &Hands<'_>, state: &mut State, result: &HookResult) -> bool {
    let Some(key) = ResourceKey::parse(&result.id) else {
        return true;
    };
    let Some(held) = state.inventory.get(&key).cloned() else {
        return true;
    };
    let owner = &hands.application.key;
    let deleted = delete(
        &hands.cluster,
        &held.kind,
        &key,
        owner,
        Propagation::Background,
        |_| Consent::Yes,
    );
    match deleted.await {
        Ok(_) | Err(ClusterError::NotOurs(..)) => {
            state.forget(&key);
            true
        }
        Err(error) => {
            tracing::warn!(app = %owner, hook = %key, %error, "a hook stays");
            false
        }
    }
}
