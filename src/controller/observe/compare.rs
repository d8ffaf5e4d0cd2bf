//! Compares with what is remembered of the cluster, makes sure of what seems to be gone, and hands
//! over what another application desires.

use crate::controller::{
    Context,
    context::cluster_of,
    observe::{ended, fights, live::look_up, namespace, projects, unwatched},
    state::State,
};
use crate::crd::names::tracked_by;
use crate::crd::options::{is_extraneous, prune_consent};
use crate::crd::{Application, Consent, SyncOptions};
use crate::object::{Object, ResourceKey};
use crate::sync::{Comparison, compare, wanted_namespace};

/// Reads every object that seems to be gone: our label may have been taken off it. What is really
/// gone, or not ours any more, leaves the inventory; what is still ours is stale.
async fn settle(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    for key in std::mem::take(&mut comparison.settled) {
        let Some(kind) = state.inventory.get(&key).map(|held| held.kind.clone()) else {
            continue;
        };
        let cluster = cluster_of(context, application);
        let live = cluster.find(&kind, &key).await;
        let ours = |live: &Object| {
            tracked_by(live).is_some_and(|(namespace, name)| {
                namespace == application.key.namespace && name == application.key.name
            })
        };
        match live {
            Ok(Some(live)) if ours(&live) => {
                let consent = default_consent(state, application);
                let extraneous = is_extraneous(&live);
                comparison.add_stale(key, prune_consent(&live), consent, extraneous);
            }
            Ok(_) => state.forget(&key),
            Err(error) => {
                tracing::debug!(app = %application.key, %error, "it stays in the inventory");
            }
        }
    }
}

/// Compares with what is remembered of the cluster, and makes sure of what seems to be gone.
pub(in crate::controller) async fn compare_and_settle(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Comparison {
    unwatched::read(context, state, application).await;
    ended::note(context, state, application).await;
    let Some(desired) = &state.desired else {
        return Comparison::default();
    };
    let inventory = state.inventory.iter().filter(|(_, held)| !held.hook);
    let mut comparison = compare(
        desired,
        &state.baselines,
        inventory.map(|(key, _)| key),
        |key| look_up(context, state, application, key),
        |key| state.inventory.get(key)?.ended,
        default_consent(state, application),
    );
    for (key, why) in &mut comparison.unseen {
        if let Some(Err(error)) = state.reads.get(key) {
            why.clone_from(error);
        }
    }
    comparison.hooks = state.open_hooks();
    comparison.namespace = namespace::lacking(context, state, application).await;
    settle(context, state, application, &mut comparison).await;
    keep_namespace(state, application, &mut comparison);
    hand_over(context, state, application, &mut comparison).await;
    projects::spare(context, application, &mut comparison);
    fights::set_aside(state, &mut comparison);
    comparison
}

/// The namespace that an application asks for (`CreateNamespace=true`) stays when its manifest leaves
/// the source: from then on it is one that no application keeps.
fn keep_namespace(state: &mut State, application: &Application, comparison: &mut Comparison) {
    let options = match &state.running {
        Some(running) => running.options(application),
        None => SyncOptions::of_application(application.spec.sync_options()),
    };
    let desired = state.desired.as_ref();
    let wanted = desired.and_then(|desired| wanted_namespace(application, options, desired));
    let Some(key) = wanted.map(|wanted| ResourceKey::of_namespace(wanted.name)) else {
        return;
    };
    if comparison.stale.contains(&key) {
        tracing::info!(app = %application.key, %key, "it left the source and stays");
        comparison.remove_stale(&key);
        state.forget(&key);
    }
}

/// What left this application and is desired by another one is handed over instead of deleted;
/// what is desired here and is still another one's is waited for.
async fn hand_over(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    let own = &application.key;
    for key in comparison.stale.clone() {
        if let Some(other) = context.claims.claimant(own, &key) {
            tracing::info!(app = %own, %key, to = %other, "handed over");
            comparison.remove_stale(&key);
            state.forget(&key);
            (context.wake)(&other);
        }
    }
    let mut contested = Vec::new();
    for (key, owner) in std::mem::take(&mut comparison.shared) {
        let held = match context.claims.desires(&owner, &key) {
            Some(desires) => desires,
            // Not one of ours: held while that Application exists.
            None => match context.applications.get(&owner).await {
                Err(error) => !error.is_not_found(),
                Ok(_) => true,
            },
        };
        if held {
            contested.push((key, owner));
        }
    }
    for owner in context.claims.contest(own, &contested) {
        (context.wake)(&owner);
    }
    comparison.shared = contested;
    comparison.claimed = context.claims.contested(own);
}

/// What an application, or the sync that runs, says about pruning where an object says nothing.
fn default_consent(state: &State, application: &Application) -> Consent {
    match &state.running {
        Some(running) => running.options(application).prune,
        None => SyncOptions::of_application(application.spec.sync_options()).prune,
    }
}
