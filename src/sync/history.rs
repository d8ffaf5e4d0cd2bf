//! Keeps the rendered bundle of each deployed state, and finds it again without Git or disk.

use std::collections::BTreeSet;

use super::prepare::{Desired, Manifests, prepare};
use super::{Engine, Error};
use crate::bundle::history;
use crate::cluster::Content;
use crate::crd::Application;
use crate::object::Object;

/// Keeps a deployed state, and lets those go that nobody wants any more.
///
/// `wanted` are the digests of the deployments that the history keeps, this one included.
pub(crate) async fn keep(
    engine: &Engine,
    application: &Application,
    desired: &Desired,
    manifests: &Manifests,
    wanted: &BTreeSet<String>,
) -> Result<(), Error> {
    let namespace = &application.key.namespace;
    let selector = history::selector(application, None);
    let cluster = &engine.cluster;
    let kept = cluster
        .secrets(namespace, history::SECRET_TYPE, &selector, Content::Names)
        .await?;
    if !history::is_whole(&kept, &desired.digest) {
        let objects: Vec<Object> = desired
            .objects
            .keys()
            .filter_map(|key| manifests.objects.get(key))
            .chain(&manifests.hooks)
            .chain(&manifests.left)
            .cloned()
            .collect();
        for secret in history::secrets(application, &desired.digest, &objects) {
            cluster.write_secret(&secret).await?;
        }
    }
    for secret in &kept {
        let digest = history::digest_of(secret).unwrap_or_default();
        if !wanted.contains(digest) && is_owned(secret, application) {
            cluster.delete_secret(secret).await?;
        }
    }
    Ok(())
}

/// The desired state that was deployed under a digest; none when its bundle is not there.
pub(crate) async fn recall(
    engine: &Engine,
    application: &Application,
    digest: &str,
    commit_id: &str,
) -> Result<Option<(Desired, Manifests)>, Error> {
    let namespace = &application.key.namespace;
    let selector = history::selector(application, Some(digest));
    let kept = engine
        .cluster
        .secrets(namespace, history::SECRET_TYPE, &selector, Content::Whole)
        .await?;
    let Some(objects) = history::unite(&kept, digest)? else {
        return Ok(None);
    };
    let (mut desired, manifests) = prepare(engine, application, objects).await?;
    commit_id.clone_into(&mut desired.commit_id);
    Ok(Some((desired, manifests)))
}

/// Whether a Secret belongs to this very Application, not to an earlier one of the same name.
fn is_owned(secret: &Object, application: &Application) -> bool {
    let owners = secret.get("/metadata/ownerReferences");
    owners
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .any(|owner| owner["uid"] == application.uid.as_str())
}
