//! The destination namespace of an application that asks for it (`CreateNamespace=true`).

use serde_json::json;

use crate::cluster::Mode;
use crate::controller::{Context, advance::Hands, reconcile::cluster_of, state::State, syncing};
use crate::crd::{Application, SyncOptions};
use crate::diff::Digest;
use crate::object::ResourceKey;
use crate::sync::{Comparison, WantedNamespace, namespace_key, wanted_namespace};

/// The namespace, when it lacks labels or annotations that the application asks for. It carries no
/// label of ours and is not watched: it is read once for each wish, and again with a hard refresh.
pub(in crate::controller) async fn lacking(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Option<ResourceKey> {
    let options = SyncOptions::of_application(application.spec.sync_options());
    let wanted = wanted_namespace(application, options, state.desired.as_ref()?)?;
    let wish = wish(&wanted)?;
    if state.namespace_held == Some(wish) {
        return None;
    }
    match wanted.is_held(&cluster_of(context, application)).await {
        Ok(true) => state.namespace_held = Some(wish),
        Ok(false) => return Some(namespace_key(wanted.name)),
        Err(error) => tracing::debug!(app = %application.key, %error, "not compared"),
    }
    None
}

/// What is asked for beside that it is there; none when nothing is.
fn wish(wanted: &WantedNamespace<'_>) -> Option<Digest> {
    let metadata = wanted.metadata?;
    let wish = json!([wanted.name, metadata.labels, metadata.annotations]);
    Some(Digest::of(&wish))
}

/// Sees to the namespace before all else, where something goes into it or it lacks something.
/// Says whether there was something to do, or why it could not be done.
pub(in crate::controller) async fn ensure(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    mode: Mode,
) -> Result<Option<ResourceKey>, (ResourceKey, String)> {
    let application = hands.application;
    let (Some(desired), Some(running)) = (&state.desired, &state.running) else {
        return Ok(None);
    };
    let options = running.options(application);
    let Some(wanted) = wanted_namespace(application, options, desired) else {
        return Ok(None);
    };
    let mut due = comparison.changed.iter().chain(&comparison.drifted);
    let creates = due.any(|key| {
        let live = syncing::look_up(hands.context, state, application, key);
        live.found().is_none()
    });
    if !creates && comparison.namespace.is_none() {
        return Ok(None);
    }
    let key = namespace_key(wanted.name);
    match wanted.ensure(&hands.cluster, mode).await {
        Ok(written) => {
            if mode == Mode::Write {
                state.namespace_held = wish(&wanted);
            }
            Ok(written.then_some(key))
        }
        Err(error) => Err((key, error.to_string())),
    }
}
