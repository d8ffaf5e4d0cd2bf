//! The end of an Application: with the finalizer its resources go first, without Git.

use std::time::Duration;

use super::Context;
use super::report;
use super::state::State;
use crate::cluster::{Deletion, Error};
use crate::crd::{Application, Propagation};
use crate::object::ResourceKey;
use crate::plan::reverse_order;
use crate::sync::delete;

/// How long until the next look at what is on its way out.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Deletes the inventory batch by batch in reverse order, each batch after the one before is
/// gone, then removes our finalizers. Without ours nothing is deleted.
///
/// CustomResourceDefinitions stay, as in Argo CD: with one go all its objects of everybody.
pub(super) async fn finalize(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), Error> {
    context.sources.forget(&application.key);
    if !application.cascades() {
        return Ok(());
    }
    let kept = |key: &ResourceKey| key.kind == "CustomResourceDefinition";
    let keys: Vec<_> = state
        .inventory
        .keys()
        .filter(|key| !kept(key))
        .cloned()
        .collect();
    let mut waiting = false;
    for batch in reverse_order(keys) {
        for key in batch {
            match delete(
                &context.engine.cluster,
                &state.inventory[&key].kind,
                &key,
                &application.key,
                Propagation::Background,
            )
            .await
            {
                Ok(Deletion::Gone) | Err(Error::NotOurs(..)) => {
                    state.inventory.remove(&key);
                    state.baselines.remove(&key);
                }
                Ok(Deletion::Accepted) => waiting = true,
                Err(error) => {
                    waiting = true;
                    state.sync_error = Some(error.to_string());
                }
            }
        }
        if waiting {
            break;
        }
    }
    if waiting {
        let left = state.inventory.keys().filter(|key| !kept(key)).count();
        tracing::info!(app = %application.key, left, "waiting for deletions");
        state.look_again_in(LOOK_AGAIN);
        return report::write_inventory(context, state, application).await;
    }
    match context.applications.remove_finalizers(application).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}
