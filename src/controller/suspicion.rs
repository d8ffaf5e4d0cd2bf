//! Settles by a dry run whether an object that was touched really differs.

use super::reconcile::cluster_of;
use super::state::State;
use super::{Context, syncing};
use crate::cluster::{Cluster, Error, Mode};
use crate::crd::Application;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{Baseline, Observation, Verdict, differs, observe};
use crate::object::{Object, ResourceKey};
use crate::sync::Comparison;

/// Looks at suspects with one read and one dry run, once for each version of the object. What turns
/// out as desired is taken off the drift.
///
/// This is for applications that do not heal themselves, and for objects of which something is
/// ignored. The others are applied at once, which costs less and writes nothing where nothing
/// differs.
pub(super) async fn look_closer(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    let automated = application.spec.automated();
    let heals = automated.is_some_and(|automated| automated.self_heal);
    let suspects: Vec<_> = comparison
        .drifted
        .iter()
        .filter(|key| comparison.verdicts.get(*key) == Some(&Verdict::Suspect))
        .filter(|key| !heals || state.ignore.of(key).is_some())
        .cloned()
        .collect();
    state
        .settled_suspicions
        .retain(|key, _| suspects.contains(key));
    let mut open = Vec::new();
    for key in &suspects {
        if let Some(kind) = state.kind_of(key) {
            context.live.suspect(kind, key);
        }
        let live = syncing::look_up(context, state, application, key).found();
        let version = live.map(|live| live.observation.resource_version);
        let known = state.settled_suspicions.get(key);
        if known.map(|(version, _)| version) != version.as_ref() {
            open.extend(version.map(|version| (key.clone(), version)));
        }
    }
    if !open.is_empty() {
        let Ok(manifests) = syncing::manifests(context, state, application).await else {
            return;
        };
        let cluster = cluster_of(context, application);
        for (key, version) in open {
            let Some(manifest) = manifests.objects.get(&key) else {
                continue;
            };
            match ask(&cluster, state, manifest, &key).await {
                Ok(Answer::Differs) => drop(state.settled_suspicions.insert(key, (version, true))),
                Ok(Answer::Same(live)) => {
                    rebase(state, &key, &live);
                    state.settled_suspicions.insert(key, (version, false));
                }
                Err(error) => tracing::debug!(app = %application.key, %error, "no dry run"),
            }
        }
        state.manifests = Some(manifests);
    }
    for key in suspects {
        let settled = state.settled_suspicions.get(&key);
        if settled.is_some_and(|(_, differs)| !differs) {
            comparison.drifted.retain(|drifted| *drifted != key);
            comparison.verdicts.insert(key, Verdict::Synced);
        }
    }
}

enum Answer {
    Differs,
    Same(Observation),
}

/// Compares what an apply would make of an object with what it is.
async fn ask(
    cluster: &Cluster,
    state: &State,
    manifest: &Object,
    key: &ResourceKey,
) -> Result<Answer, Error> {
    let served = cluster.served(&manifest.api()).await?;
    let Some(live) = cluster.get(&served, key).await? else {
        return Ok(Answer::Differs);
    };
    let mut manifest = manifest.clone();
    if let Some(ignored) = state.ignore.of(key) {
        ignored.respect(&mut manifest, &live);
    }
    let predicted = cluster.apply(&served, &manifest, Mode::DryRun).await?;
    Ok(match differs(&predicted, &live) {
        true => Answer::Differs,
        false => Answer::Same(observe(&live, FIELD_MANAGER)),
    })
}

/// Where something is ignored, what is live now is as desired from now on: others that write what is
/// ignored cost a question once and no more.
fn rebase(state: &mut State, key: &ResourceKey, live: &Observation) {
    let desired = state.desired.as_ref();
    let Some(object) = desired.and_then(|desired| desired.objects.get(key)) else {
        return;
    };
    if state.ignore.of(key).is_some()
        && let Some(baseline) = Baseline::new(object.digest, live)
    {
        state.baselines.insert(key.clone(), baseline);
    }
}
