//! Starts hooks: the object of an earlier run goes first where it asks for that.

use super::accepted::apply;
use super::delete::delete_until_gone;
use super::later::{waits_for, when_heard};
use super::refused::PRECIOUS;
use super::{DesiredHook, Engine, Execution};
use crate::cluster::{Cluster, Error, Mode, Served};
use crate::crd::names::{
    FIELD_MANAGER, HOOK_RUN, TRACKING_ANNOTATION, TRACKING_LABEL, tracked_by, tracking_id,
    tracking_label,
};
use crate::crd::{Health, HookPhase};
use crate::diff::{Observation, observe};
use crate::health;
use crate::object::{Kind, Object, ResourceKey};

/// A hook's object as it was created.
pub(crate) struct Started {
    pub(crate) observation: Observation,
    pub(crate) health: Option<Health>,
}

/// The key of the object that a run of a hook creates. A generated name is made of the revision,
/// the phase and the time, as Argo CD does.
pub(crate) fn key_of_run(
    hook: &DesiredHook,
    phase: HookPhase,
    revision: &str,
    seconds: i64,
) -> ResourceKey {
    let mut key = hook.key.clone();
    if key.name.is_empty() {
        let short = revision.get(..7).unwrap_or(revision);
        let name = format!("{}{short}-{phase}-{seconds}", hook.generate_name);
        key.name = name.to_lowercase();
    }
    key
}

/// Whether an object of an earlier run goes before the next: where the policy says so, and where an
/// apply over it would run nothing. Another one is applied over, and only goes where it cannot be
/// changed and holds no data.
fn goes_first(hook: &DesiredHook) -> bool {
    hook.hook.before_creation || health::runs_once(&hook.kind)
}

fn may_go(hook: &DesiredHook) -> bool {
    !PRECIOUS.contains(&hook.kind.kind.as_str())
}

/// Finds the object that a run of a hook made, and tells its uid. An empty run is one of an agent
/// that did not name them yet.
pub(crate) async fn find_run(
    cluster: &Cluster,
    kind: &Kind,
    key: &ResourceKey,
    run: &str,
) -> Result<Option<String>, Error> {
    let live = cluster.find(kind, key).await?;
    let of_run = |live: &Object| run.is_empty() || live.annotation(HOOK_RUN) == Some(run);
    Ok(live.filter(of_run).map(|live| live.uid().to_owned()))
}

/// Creates the object of a hook, marked as made by this run. What an earlier run left under its
/// name goes first, if it is ours.
pub(crate) async fn start_hook(
    engine: &Engine,
    execution: &Execution<'_>,
    index: usize,
    key: &ResourceKey,
    run: &str,
) -> Result<Started, Error> {
    let (Some(hook), Some(manifest)) = (
        execution.desired.hooks.get(index),
        execution.manifests.hooks.get(index),
    ) else {
        return Err(Error::NotFound {
            doing: format!("find the manifest of hook {key}"),
        });
    };
    let mut manifest = named(manifest, key, execution);
    manifest.set_annotation(HOOK_RUN, run);
    let attempt = || create(engine, execution, hook, &manifest, key);
    let answer = when_heard(execution, key, &[], attempt).await?;
    Ok(Started {
        observation: observe(&answer, FIELD_MANAGER),
        health: health::assess(&answer),
    })
}

async fn create(
    engine: &Engine,
    execution: &Execution<'_>,
    hook: &DesiredHook,
    manifest: &Object,
    key: &ResourceKey,
) -> Result<Object, Error> {
    let _slot = engine.apply_slots.acquire().await;
    let cluster = execution.cluster;
    let served = cluster.served(&hook.kind).await?;
    if goes_first(hook) {
        clear(execution, &served, manifest, key).await?;
    }
    match apply(cluster, &served, manifest, Mode::Write).await {
        Err(error) if error.is_immutable() && may_go(hook) => {
            clear(execution, &served, manifest, key).await?;
            apply(cluster, &served, manifest, Mode::Write).await
        }
        answer => answer,
    }
}

/// Deletes what stands where a hook is to run. As an ordinary object that is there already is taken
/// over by the first apply, so is what another tool left, unless it is another application's: only
/// what says itself that it is ours is deleted.
async fn clear(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
    key: &ResourceKey,
) -> Result<(), Error> {
    let (cluster, owner) = (execution.cluster, execution.owner);
    match delete_until_gone(cluster, served, key, owner).await {
        Err(error @ Error::NotOurs(..)) => {
            let live = cluster.get(served, key).await?;
            let other = live.as_ref().and_then(tracked_by);
            if other.is_some_and(|it| it != (owner.namespace.clone(), owner.name.clone())) {
                return Err(error);
            }
            let mut marked = manifest.clone();
            marked
                .fields_mut()
                .retain(|field, _| ["apiVersion", "kind", "metadata"].contains(&field.as_str()));
            cluster.apply(served, &marked, Mode::Write).await?;
            delete_until_gone(cluster, served, key, owner).await
        }
        deleted => deleted,
    }
}

/// Asks the API server whether it would take the object of a hook. Only a manifest that is wrong in
/// itself is an error: what a hook needs beside it, a kind, a namespace or an account, may come with
/// the sync. What cannot change is no fault where the object of an earlier run goes first.
pub(crate) async fn check_hook(
    engine: &Engine,
    execution: &Execution<'_>,
    index: usize,
    key: &ResourceKey,
    pending: &[ResourceKey],
) -> Result<(), Error> {
    let (Some(hook), Some(manifest)) = (
        execution.desired.hooks.get(index),
        execution.manifests.hooks.get(index),
    ) else {
        return Ok(());
    };
    let manifest = named(manifest, key, execution);
    let _slot = engine.apply_slots.acquire().await;
    let asked = async {
        let served = execution.cluster.served(&hook.kind).await?;
        let cluster = execution.cluster;
        apply(cluster, &served, &manifest, Mode::DryRun).await
    };
    match asked.await {
        Err(error) if error.is_immutable() && (goes_first(hook) || may_go(hook)) => Ok(()),
        // What the same sync changes, its definition for instance, may make it valid at its place.
        Err(error)
            if error.is_invalid() && waits_for(execution, key, &error, pending).is_none() =>
        {
            Err(error)
        }
        Err(_) | Ok(_) => Ok(()),
    }
}

/// The manifest of a run: with its name, and tracked under it.
fn named(manifest: &Object, key: &ResourceKey, execution: &Execution<'_>) -> Object {
    let mut manifest = manifest.clone();
    let metadata = manifest.metadata_mut();
    metadata.remove("generateName");
    metadata.insert("name".to_owned(), key.name.clone().into());
    let (namespace, name) = (&execution.owner.namespace, &execution.owner.name);
    manifest.set_label(TRACKING_LABEL, &tracking_label(namespace, name));
    manifest.set_annotation(TRACKING_ANNOTATION, &tracking_id(namespace, name, key));
    manifest
}
