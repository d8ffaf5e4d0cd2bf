//! Settles by a dry run whether an object that was touched really differs.

use super::Context;
use super::state::State;
use crate::cluster::{Error, Mode};
use crate::crd::Application;
use crate::diff::{Verdict, differs};
use crate::object::{Object, ResourceKey};
use crate::sync::{Comparison, Source, desire};

/// Looks at every suspect with one read and one dry run, once for each version of the object.
/// What turns out as desired is taken off the drift.
///
/// This is for applications that do not heal themselves: the others apply at once, which costs
/// less and writes nothing where nothing differs.
pub(super) async fn look_closer(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    let suspects: Vec<_> = comparison
        .drifted
        .iter()
        .filter(|key| comparison.verdicts.get(*key) == Some(&Verdict::Suspect))
        .cloned()
        .collect();
    state
        .settled_suspicions
        .retain(|key, _| suspects.contains(key));
    if suspects.is_empty() {
        return;
    }
    for key in &suspects {
        if let Some(kind) = state.kind_of(key) {
            context.live.suspect(kind, key);
        }
    }
    let version_of = |state: &State, key: &ResourceKey| {
        let live = context
            .live
            .look_up(&application.key, state.kind_of(key)?, key)
            .found()?;
        Some(live.observation.resource_version)
    };
    let open = |state: &State, key: &ResourceKey| {
        let known = state
            .settled_suspicions
            .get(key)
            .map(|(version, _)| version);
        known != version_of(state, key).as_ref()
    };
    if suspects.iter().any(|key| open(state, key))
        && let Some(commit_id) = state
            .desired
            .as_ref()
            .map(|desired| desired.commit_id.clone())
        && let Some(mirror) = (context.mirror_of)(&application.key)
    {
        let source = Source {
            mirror: &mirror,
            commit_id: &commit_id,
        };
        let Ok((_, manifests)) = desire(&context.engine, application, &source).await else {
            return;
        };
        for key in suspects
            .iter()
            .filter(|key| open(state, key))
            .cloned()
            .collect::<Vec<_>>()
        {
            let Some(version) = version_of(state, &key) else {
                continue;
            };
            let Some(manifest) = manifests.objects.get(&key) else {
                continue;
            };
            match differs_now(context, manifest, &key).await {
                Ok(differs) => drop(state.settled_suspicions.insert(key, (version, differs))),
                Err(error) => tracing::debug!(app = %application.key, %error, "no dry run"),
            }
        }
    }
    for key in suspects {
        if state
            .settled_suspicions
            .get(&key)
            .is_some_and(|(_, differs)| !differs)
        {
            comparison.drifted.retain(|drifted| *drifted != key);
            comparison.verdicts.insert(key, Verdict::Synced);
        }
    }
}

async fn differs_now(
    context: &Context,
    manifest: &Object,
    key: &ResourceKey,
) -> Result<bool, Error> {
    let cluster = &context.engine.cluster;
    let served = cluster.served(&manifest.api()).await?;
    let predicted = cluster.apply(&served, manifest, Mode::DryRun).await?;
    let live = cluster.get(&served, key).await?;
    Ok(live.is_none_or(|live| differs(&predicted, &live)))
}
