//! Writes one object as its options ask for: applied, replaced, created only, or deleted and
//! created again where a change is impossible.

use std::time::{Duration, Instant};

use super::Execution;
use super::adopt::adopt;
use super::handing::ready;
use crate::cluster::{Cluster, Deletion, Error, Mode, Served};
use crate::crd::{ApplicationKey, Consent, Propagation, SyncOptions};
use crate::diff::OfKubectl;
use crate::object::{Kind, Object, ResourceKey};

/// How long a deletion may take before its object is created again.
const GOING: Duration = Duration::from_secs(30);

/// Kinds that hold data or other objects: they are created again only when they ask for it
/// themselves.
pub(super) const PRECIOUS: [&str; 5] = [
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Namespace",
    "CustomResourceDefinition",
    "StatefulSet",
];

/// Writes or asks about one object and returns how it is, or would be, then.
pub(super) async fn write(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
    options: SyncOptions,
    mode: Mode,
) -> Result<Object, Error> {
    let cluster = execution.cluster;
    let key = manifest.key();
    if options.if_not_present
        && let Some(live) = cluster.get(served, &key).await?
    {
        return Ok(live);
    }
    debug_assert!(!options.left_alone, "{key} is never among what is applied");
    let ready = ready(execution, served, manifest, mode).await?;
    let manifest = ready.manifest.as_ref().unwrap_or(manifest);
    let written = if options.replace {
        let whole = ready.whole.as_ref().unwrap_or(manifest);
        replace(cluster, served, (whole, manifest), mode).await
    } else {
        cluster.apply(served, manifest, mode).await
    };
    match written {
        Err(error) if options.force && error.is_immutable() => {
            let precious = PRECIOUS.contains(&key.kind.as_str()) && !options.force_by_name;
            if precious {
                return Err(error);
            }
            try_as_new(cluster, served, manifest).await?;
            if mode == Mode::DryRun {
                return Ok(manifest.clone());
            }
            recreate(execution, served, manifest).await
        }
        Ok(answer) if mode == Mode::Write => {
            let of_kubectl = match options {
                options if options.revert_kubectl => OfKubectl::All,
                options if options.keeps_kubectl => OfKubectl::Nothing,
                _ => OfKubectl::Applied,
            };
            adopt(execution, served, manifest, answer, of_kubectl).await
        }
        written => written,
    }
}

/// Replaces a live object and applies the same after, so that its fields are ours by apply: what
/// is removed later is really removed. `whole` has beside the manifest what is left to others.
async fn replace(
    cluster: &Cluster,
    served: &Served,
    (whole, manifest): (&Object, &Object),
    mode: Mode,
) -> Result<Object, Error> {
    let Some(live) = cluster.get(served, &manifest.key()).await? else {
        return cluster.apply(served, manifest, mode).await;
    };
    let replaced = cluster
        .replace(served, whole, live.resource_version(), mode)
        .await?;
    match mode {
        Mode::DryRun => Ok(replaced),
        Mode::Write => cluster.apply(served, manifest, mode).await,
    }
}

/// Asks whether the manifest would be accepted if it were new, under another name: an object is
/// not deleted for a manifest that is wrong anyway.
pub(super) async fn try_as_new(
    cluster: &Cluster,
    served: &Served,
    manifest: &Object,
) -> Result<Object, Error> {
    let mut new = manifest.clone();
    let short: String = manifest.name().chars().take(40).collect();
    let name = format!("{}-trimtab-check", short.trim_end_matches(['-', '.']));
    new.metadata_mut().insert("name".to_owned(), name.into());
    cluster.apply(served, &new, Mode::DryRun).await
}

async fn recreate(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
) -> Result<Object, Error> {
    let key = manifest.key();
    tracing::info!(app = %execution.owner, %key, "deleted and created again, as Force=true asks");
    delete_until_gone(execution.cluster, served, &key, execution.owner).await?;
    execution.cluster.apply(served, manifest, Mode::Write).await
}

/// Deletes an object of ours and waits until it is gone.
pub(super) async fn delete_until_gone(
    cluster: &Cluster,
    served: &Served,
    key: &ResourceKey,
    owner: &ApplicationKey,
) -> Result<(), Error> {
    let deadline = Instant::now() + GOING;
    let mut pause = Duration::from_millis(20);
    loop {
        let deletion = cluster
            .delete_owned(served, key, owner, Propagation::Background, |_| {
                Consent::Yes
            })
            .await;
        match deletion {
            Ok(Deletion::Gone) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut {
                doing: format!("see {key} gone"),
                after: GOING,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Deletes one object of the inventory if it agrees. A kind that is not served any more has no
/// objects.
pub(crate) async fn delete(
    cluster: &Cluster,
    kind: &Kind,
    key: &ResourceKey,
    owner: &ApplicationKey,
    propagation: Propagation,
    consent: impl Fn(&Object) -> Consent,
) -> Result<Deletion, Error> {
    let served = match cluster.served(kind).await {
        Ok(served) => served,
        Err(Error::UnknownKind(_)) => return Ok(Deletion::Gone),
        Err(error) => return Err(error),
    };
    let asked = cluster.delete_owned(&served, key, owner, propagation, &consent);
    match asked.await {
        // Somebody wrote between our read and our delete: look again once.
        Err(error) if error.is_conflict() => {
            cluster
                .delete_owned(&served, key, owner, propagation, consent)
                .await
        }
        result => result,
    }
}
