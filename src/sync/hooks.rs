//! Starts hooks: the object of an earlier run goes first where it asks for that.

use super::write::delete_until_gone;
use super::{DesiredHook, Engine, Execution};
use crate::cluster::{Error, Mode};
use crate::crd::names::{
    FIELD_MANAGER, TRACKING_ANNOTATION, TRACKING_LABEL, tracking_id, tracking_label,
};
use crate::crd::{Health, HookPhase};
use crate::diff::{Observation, observe};
use crate::health;
use crate::object::{Object, ResourceKey};

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

/// Creates the object of a hook.
///
/// An object that is there already is deleted first when the policy says so and it is ours, else
/// it is applied over.
pub(crate) async fn start_hook(
    engine: &Engine,
    execution: &Execution<'_>,
    index: usize,
    key: &ResourceKey,
) -> Result<Started, Error> {
    let (Some(hook), Some(manifest)) = (
        execution.desired.hooks.get(index),
        execution.manifests.hooks.get(index),
    ) else {
        return Err(Error::NotFound {
            doing: format!("find the manifest of hook {key}"),
        });
    };
    let manifest = named(manifest, key, execution);
    let _slot = engine.apply_slots.acquire().await;
    let served = execution.cluster.served(&hook.kind).await?;
    if hook.hook.before_creation {
        delete_until_gone(execution.cluster, &served, key, execution.owner).await?;
    }
    let answer = execution
        .cluster
        .apply(&served, &manifest, Mode::Write)
        .await?;
    Ok(Started {
        observation: observe(&answer, FIELD_MANAGER),
        health: health::assess(&answer),
    })
}

/// Asks the API server whether it would take the object of a hook. Only a manifest that is wrong in
/// itself is an error: what a hook needs beside it, a kind, a namespace or an account, may come with
/// the sync. What cannot change is no fault where the object of an earlier run goes first.
pub(crate) async fn check_hook(
    engine: &Engine,
    execution: &Execution<'_>,
    index: usize,
    key: &ResourceKey,
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
        cluster.apply(&served, &manifest, Mode::DryRun).await
    };
    match asked.await {
        Err(error) if hook.hook.before_creation && error.is_immutable() => Ok(()),
        Err(error) if error.is_invalid() => Err(error),
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
