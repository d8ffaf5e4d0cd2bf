//! Settles by a dry run whether an object that was touched really differs, and sees to it that an
//! apply gives back what was taken from us though nothing differs.

use crate::cluster::{Cluster, Error, Mode};
use crate::controller::{
    Context,
    context::cluster_of,
    observe::{live::look_up, manifests},
    state::{State, settled::Settled},
};
use crate::crd::Application;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{Baseline, Digest, Verdict, differs, judge, observe};
use crate::object::{Object, ResourceKey};
use crate::sync::{Comparison, apply, stored_of};

/// When the rules of what is left alone changed, everything that they are or were about is asked
/// about once: what was taken for as desired by the rules before may not be so, and the reverse.
pub(in crate::controller) fn doubt_by_rules(state: &mut State, comparison: &mut Comparison) {
    // A sync that runs goes first; it would take what is doubted for its own.
    if state.running.is_some() {
        return;
    }
    if let Some(before) = state.ignored_before.take() {
        let now = &state.ignore;
        comparison.doubt(|key| before.of(key).is_some() || now.of(key).is_some());
    }
}

/// Looks at suspects with one read and one dry run, once for each version of the object. What turns
/// out as desired is taken off the drift.
///
/// Where nothing differs but fields are not ours any more, later removals of them would not remove
/// anything: with automation such an object is applied at once, without it with the next sync.
///
/// This is for applications that do not heal themselves, and for objects of which something is
/// ignored. The others are applied at once, which costs less and writes nothing where nothing
/// differs.
pub(in crate::controller) async fn look_closer(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    let automated = application.spec.automated();
    let heals = automated.is_some_and(|automated| automated.self_heal);
    let syncs = state.running.is_some() || application.operation.is_some();
    let touched = comparison
        .drifted
        .iter()
        .filter(|key| comparison.verdicts.get(*key) == Some(&Verdict::Suspect))
        .filter(|key| !heals || state.ignore.of(key).is_some());
    // Nobody applies these by themselves, and they may differ in what is ignored only.
    let changed = comparison
        .changed
        .iter()
        .filter(|key| automated.is_none() && !syncs && state.ignore.of(key).is_some());
    let suspects: Vec<_> = touched.chain(changed).cloned().collect();
    state
        .settled_suspicions
        .retain(|key, _| suspects.contains(key));
    let mut open = Vec::new();
    for key in &suspects {
        if let Some(kind) = state.kind_of(key) {
            context.live.suspect(kind, key);
        }
        let live = look_up(context, state, application, key).found();
        let desired = state.desired.as_ref().and_then(|it| it.objects.get(key));
        let Some((live, desired)) = live.zip(desired) else {
            continue;
        };
        let seen = &live.observation;
        let version = format!("{} {:?}", seen.resource_version, desired.digest);
        if state
            .settled_suspicions
            .get(key)
            .map(|(version, _)| version)
            != Some(&version)
        {
            let seems = judge(desired.digest, state.baselines.get(key), Some(seen));
            open.push((key.clone(), version, seems == Verdict::Synced));
        }
    }
    if !open.is_empty() {
        let Ok(manifests) = manifests::find(context, state, application).await else {
            return;
        };
        let cluster = cluster_of(context, application);
        for (key, version, seemed_synced) in open {
            let Some(manifest) = manifests.objects.get(&key) else {
                continue;
            };
            match ask(&cluster, state, manifest, &key).await {
                Ok(settled) => {
                    if settled == Settled::Differs && seemed_synced {
                        stay_suspicious(state, &key);
                    }
                    state.settled_suspicions.insert(key, (version, settled));
                }
                Err(error) => tracing::debug!(app = %application.key, %error, "no dry run"),
            }
        }
        state.manifests = Some(manifests);
    }
    for key in suspects {
        let changed = comparison.changed.contains(&key);
        match state.settled_suspicions.get(&key) {
            None | Some((_, Settled::Differs)) => continue,
            Some((_, Settled::Lost)) if syncs || changed => continue,
            Some((_, Settled::Lost)) if automated.is_some() => {
                comparison.drifted.retain(|drifted| *drifted != key);
                comparison.changed.push(key);
                continue;
            }
            Some((_, Settled::Lost | Settled::Same)) => {}
        }
        comparison.drifted.retain(|drifted| *drifted != key);
        if changed {
            comparison.changed.retain(|changed| *changed != key);
        }
        comparison.verdicts.insert(key, Verdict::Synced);
    }
}

/// What was taken for as desired by rules that are gone is not so any more: it is suspicious until
/// it was applied or asked about again.
fn stay_suspicious(state: &mut State, key: &ResourceKey) {
    if let Some(baseline) = state.baselines.get_mut(key) {
        baseline.projection = Digest::of_texts(&[]);
    }
}

/// Compares what an apply would make of an object with what it is.
async fn ask(
    cluster: &Cluster,
    state: &mut State,
    manifest: &Object,
    key: &ResourceKey,
) -> Result<Settled, Error> {
    let served = cluster.served(&manifest.api()).await?;
    let Some(live) = cluster.get(&served, key).await? else {
        return Ok(Settled::Differs);
    };
    let mut manifest = manifest.clone();
    if let Some(ignored) = state.ignore.of(key) {
        ignored.respect(&mut manifest, &live);
    }
    let predicted = apply(cluster, &served, &manifest, Mode::DryRun).await?;
    let known = state.stored.remove(key).unwrap_or_default();
    let stored = stored_of(&manifest, &predicted, &state.ignore, &known);
    if !stored.is_empty() {
        state.stored.insert(key.clone(), stored);
    }
    let Some(desired) = state.desired.as_ref().and_then(|it| it.objects.get(key)) else {
        return Ok(Settled::Differs);
    };
    let seen = observe(&live, FIELD_MANAGER);
    let reverts = desired.options.revert_kubectl && seen.by_kubectl;
    if reverts || differs(&predicted, &live) {
        return Ok(Settled::Differs);
    }
    if observe(&predicted, FIELD_MANAGER).entry != seen.entry {
        return Ok(Settled::Lost);
    }
    // What is live now is as desired from now on: others that write what is ignored, or the server
    // that writes our entry in another form, cost a question once and no more.
    if let Some(baseline) = Baseline::new(desired.digest, &seen) {
        state.baselines.insert(key.clone(), baseline);
    }
    Ok(Settled::Same)
}
