//! The end of an Application: with the finalizer its resources go first, without Git.

use std::time::Duration;

use super::Context;
use super::reconcile::cluster_of;
use super::report;
use super::state::State;
use crate::cluster::{Deletion, Error};
use crate::crd::names::DELETION_APPROVED;
use crate::crd::options::delete_consent;
use crate::crd::{Application, Consent, SyncOptions};
use crate::object::{Object, ResourceKey};
use crate::plan::{reverse_order, some_of};
use crate::sync::delete;

/// How long until the next look at what is on its way out.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Deletes the inventory batch by batch in reverse order, wave by wave and kind by kind, each
/// after the one before is gone, then removes our finalizers. Without ours nothing is deleted.
///
/// What says `Delete=false` stays and is let go; what says `Delete=confirm` waits for a person, and
/// what comes after it with it. CustomResourceDefinitions stay, as in Argo CD: with one go all its
/// objects of everybody.
pub(super) async fn finalize(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), Error> {
    context.sources.forget(&application.key);
    state.running = None;
    if !application.cascades() {
        return Ok(());
    }
    let kept = |key: &ResourceKey| key.kind == "CustomResourceDefinition";
    let keys: Vec<_> = state
        .inventory
        .iter()
        .filter(|(key, _)| !kept(key))
        .map(|(key, held)| (key.clone(), held.wave))
        .collect();
    let mut waits = Vec::new();
    for batch in reverse_order(keys) {
        for key in batch {
            if let Some(why) = delete_one(context, state, application, &key).await {
                waits.push(why);
            }
        }
        if !waits.is_empty() {
            break;
        }
    }
    if !waits.is_empty() {
        let left = state.inventory.keys().filter(|key| !kept(key)).count();
        tracing::info!(app = %application.key, left, "waiting for deletions");
        state.look_again_in(LOOK_AGAIN);
        let message = format!("{left} objects left: {}", some_of(&waits));
        return report::write_deletion(context, state, application, message).await;
    }
    match context.applications.remove_finalizers(application).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

/// Deletes one object and says what is still to be waited for.
async fn delete_one(
    context: &Context,
    state: &mut State,
    application: &Application,
    key: &ResourceKey,
) -> Option<String> {
    let options = SyncOptions::of_application(application.spec.sync_options());
    let approved = is_approved(application);
    let consent = |live: &Object| match delete_consent(live).unwrap_or(options.delete) {
        Consent::Confirm if approved => Consent::Yes,
        consent => consent,
    };
    let cluster = cluster_of(context, application);
    let deleted = delete(
        &cluster,
        &state.inventory[key].kind,
        key,
        &application.key,
        application.propagation(),
        consent,
    );
    match deleted.await {
        Ok(Deletion::Gone | Deletion::Kept) | Err(Error::NotOurs(..)) => {
            state.forget(key);
            None
        }
        Ok(Deletion::Accepted) => Some(format!("{key} is on its way out")),
        Ok(Deletion::Unconfirmed) => Some(format!(
            "{key} asks for confirmation: annotate the Application with \
             trimtab.dev/deletion-approved and the time now (RFC 3339)"
        )),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether a person agreed after the deletion was asked for.
fn is_approved(application: &Application) -> bool {
    let time = |text: &str| text.trim().parse::<jiff::Timestamp>().ok();
    let asked = application
        .object
        .get("/metadata/deletionTimestamp")
        .and_then(|text| time(text.as_str()?));
    let approved = application.annotation(DELETION_APPROVED).and_then(time);
    asked.is_some() && approved >= asked
}
