//! The destination namespace of an application that asks for it (`CreateNamespace=true`).

use crate::cluster::Mode;
use crate::controller::{
    context::Hands,
    observe::{live::look_up, namespace::wish},
    state::State,
};
use crate::object::ResourceKey;
use crate::sync::{Comparison, wanted_namespace};

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
        let live = look_up(hands.context, state, application, key);
        live.found().is_none()
    });
    if !creates && comparison.namespace.is_none() {
        return Ok(None);
    }
    let key = ResourceKey::of_namespace(wanted.name);
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
