//! What is known of a live object, from the watches or as it was read.

use crate::controller::{Context, state::State};
use crate::crd::Application;
use crate::object::ResourceKey;
use crate::sync::Lookup;

/// What is remembered of a live object.
pub(in crate::controller) fn look_up(
    context: &Context,
    state: &State,
    application: &Application,
    key: &ResourceKey,
) -> Lookup {
    let Some(kind) = state.kind_of(key) else {
        return Lookup::Unknown;
    };
    match context.live.look_up(&application.key, kind, key) {
        Lookup::Unknown => match state.reads.get(key) {
            Some(Ok(read)) => read.clone(),
            Some(Err(_)) | None => Lookup::Unknown,
        },
        known => known,
    }
}
