//! Writes one object as its options ask for: applied, replaced, created only, or deleted and
//! created again where a change is impossible.

use super::Execution;
use super::accepted::again;
use super::adopt::{adopt, of_kubectl};
use super::handing::ready;
use super::refused::{Attempt, create_again_if_it_fits, go_on};
use crate::cluster::{Cluster, Error, Mode, Served};
use crate::crd::SyncOptions;
use crate::diff::kept;
use crate::object::Object;

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
    let mut instead = None;
    let written = match written {
        Err(error) => {
            let again = again(cluster, served, manifest, mode, error).await;
            instead = again.manifest;
            again.answer
        }
        written => written,
    };
    let manifest = instead.as_ref().unwrap_or(manifest);
    let attempt = Attempt {
        execution,
        served,
        manifest,
        options,
        mode,
    };
    match written {
        Err(error) => go_on(attempt, error).await,
        Ok(answer) if mode == Mode::Write => {
            let answer = adopt(execution, served, manifest, answer, of_kubectl(options)).await?;
            match options.force && kept(&answer, manifest).is_some() {
                true => create_again_if_it_fits(attempt, answer).await,
                false => Ok(answer),
            }
        }
        Ok(answer) => Ok(answer),
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
