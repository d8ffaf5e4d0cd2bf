//! Whether the destination namespace has what the application asks for.

use serde_json::json;

use crate::controller::{Context, context::cluster_of, state::State};
use crate::crd::{Application, SyncOptions};
use crate::diff::Digest;
use crate::object::ResourceKey;
use crate::sync::{WantedNamespace, wanted_namespace};

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
        Ok(false) => return Some(ResourceKey::of_namespace(wanted.name)),
        Err(error) => tracing::debug!(app = %application.key, %error, "not compared"),
    }
    None
}

/// What is asked for beside that it is there; none when nothing is.
pub(in crate::controller) fn wish(wanted: &WantedNamespace<'_>) -> Option<Digest> {
    let metadata = wanted.metadata?;
    let wish = json!([wanted.name, metadata.labels, metadata.annotations]);
    Some(Digest::of(&wish))
}
