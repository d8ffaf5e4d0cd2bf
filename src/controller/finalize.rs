//! The end of an Application: with the finalizer its resources go first, without Git.

use std::time::Duration;

use crate::cluster::{Deletion, Error};
use crate::controller::{
    Context,
    act::{
        hooks::{confirm, run_hook},
        report, rollback,
    },
    context::{Hands, cluster_of},
    decide::tasks::hook_outcome,
    mailbox::Mailbox,
    observe::{live::look_up, manifests, unwatched},
    state::State,
};
use crate::crd::names::DELETION_APPROVED;
use crate::crd::options::delete_consent;
use crate::crd::{Application, Consent, HookPhase, HookResult, HookStatus, SyncOptions};
use crate::object::{Object, ResourceKey, rfc3339};
use crate::plan::{reverse_order, some_of};
use crate::sync::{Lookup, delete};

/// How long until the next look at what is on its way out ...
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// ... and when nothing moved since the last one: a watch tells when something does.
const NOTHING_MOVED: Duration = Duration::from_secs(5);

/// What to do where the project does not permit what the deletion needs.
const LET_GO: &str = "permit it in the project, or let go of everything by --cascade=orphan";

/// Runs the PreDelete hooks, deletes the inventory batch by batch in reverse order, wave by wave and
/// kind by kind, each after the one before is gone, runs the PostDelete hooks, deletes what they
/// left, then removes our finalizers. Without ours nothing is done.
///
/// What says `Delete=false` stays and is let go; what says `Delete=confirm` waits for a person, and
/// what comes after it with it, and so does what its project does not permit.
/// CustomResourceDefinitions stay, as in Argo CD: with one go all its
/// objects of everybody.
pub(super) async fn finalize(
    context: &Context,
    state: &mut State,
    application: &Application,
    mailbox: &Mailbox,
) -> Result<(), Error> {
    context.sources.forget(&application.key);
    state.running = None;
    if !application.cascades() {
        return Ok(());
    }
    if application.inventory_unknown {
        let message = "the inventory in the status cannot be read, so that nobody knows what to \
            delete: correct the status, or let go of everything by --cascade=orphan";
        return report::write_deletion(context, state, application, message.to_owned()).await;
    }
    rollback::recall_deployed(context, state, application).await;
    let kinds = state.kinds();
    context.live.watch_for(&application.key, &kinds).await;
    unwatched::read(context, state, application).await;
    let mut hands = Hands {
        context,
        application,
        mailbox,
        cluster: cluster_of(context, application),
        ignore: state.ignore.clone(),
        manifests: None,
    };
    let waits = run_hooks(&mut hands, state, HookPhase::PreDelete).await?;
    if !waits.is_empty() {
        return wait(context, state, application, &waits).await;
    }
    let after: Vec<_> = made_by(state, HookPhase::PostDelete);
    let waits = delete_all(context, state, application, |key| !after.contains(key)).await;
    if !waits.is_empty() {
        return wait(context, state, application, &waits).await;
    }
    let waits = run_hooks(&mut hands, state, HookPhase::PostDelete).await?;
    if !waits.is_empty() {
        return wait(context, state, application, &waits).await;
    }
    let waits = delete_all(context, state, application, |_| true).await;
    if !waits.is_empty() {
        return wait(context, state, application, &waits).await;
    }
    match context.applications.remove_finalizers(application).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

/// What is never deleted with an Application.
fn is_kept(key: &ResourceKey) -> bool {
    key.kind == "CustomResourceDefinition"
}

/// Says what is waited for, and looks again soon.
async fn wait(
    context: &Context,
    state: &mut State,
    application: &Application,
    waits: &[String],
) -> Result<(), Error> {
    let left = state.inventory.keys().filter(|key| !is_kept(key)).count();
    let message = format!("{left} objects left: {}", some_of(waits));
    let conditions = &state.written.conditions;
    if conditions
        .iter()
        .any(|condition| condition.message == message)
    {
        state.look_again_in(NOTHING_MOVED);
        return Ok(());
    }
    tracing::info!(app = %application.key, left, "waiting for deletions: {message}");
    state.look_again_in(LOOK_AGAIN);
    report::write_deletion(context, state, application, message).await
}

/// Deletes what is chosen of the inventory, as far as nothing is to be waited for.
async fn delete_all(
    context: &Context,
    state: &mut State,
    application: &Application,
    chosen: impl Fn(&ResourceKey) -> bool,
) -> Vec<String> {
    let keys: Vec<_> = state
        .inventory
        .iter()
        .filter(|(key, _)| !is_kept(key) && chosen(key))
        .map(|(key, held)| (key.clone(), held.wave))
        .collect();
    let mut waits = Vec::new();
    for batch in reverse_order(keys) {
        for key in batch {
            waits.extend(delete_one(context, state, application, &key).await);
        }
        if !waits.is_empty() {
            break;
        }
    }
    waits
}

/// The objects that hooks of a phase made.
fn made_by(state: &State, phase: HookPhase) -> Vec<ResourceKey> {
    let results = state.hooks.iter().filter(|result| result.phase == phase);
    results
        .filter_map(|result| ResourceKey::parse(&result.id))
        .collect()
}

/// Runs the hooks of a phase, wave by wave, and says what is still to be waited for. One that
/// failed holds up the deletion, as in Argo CD: it runs again when its object is deleted.
async fn run_hooks(
    hands: &mut Hands<'_>,
    state: &mut State,
    phase: HookPhase,
) -> Result<Vec<String>, Error> {
    confirm(hands, state).await?;
    let hooks = state.desired.as_ref().map(|desired| desired.hooks.clone());
    let mut hooks: Vec<_> = hooks.unwrap_or_default().into_iter().enumerate().collect();
    hooks.retain(|(_, hook)| hook.hook.phases.contains(&phase));
    hooks.sort_by_key(|(_, hook)| hook.wave);
    let mut waits = Vec::new();
    let mut wave = None;
    for (index, hook) in hooks {
        if wave != Some(hook.wave) && !waits.is_empty() {
            break;
        }
        wave = Some(hook.wave);
        let known = state.hook_result(&hook, phase).cloned();
        let key = known.as_ref().and_then(|it| ResourceKey::parse(&it.id));
        let live = key.as_ref().map_or(Lookup::Absent, |key| {
            look_up(hands.context, state, hands.application, key)
        });
        // What has its name and was made by another run is no answer.
        let answers = known.as_ref().is_some_and(|known| match &live {
            Lookup::Found(live) => live.observation.uid == known.uid,
            Lookup::Unknown => !known.uid.is_empty(),
            Lookup::Absent => false,
        });
        let name = key.map_or_else(|| hook.key.to_string(), |key| key.to_string());
        match known {
            Some(known) if known.status == HookStatus::Succeeded => {}
            Some(known) if answers => match hook_outcome(&known, &live) {
                None => waits.push(runs_since(&known, &name)),
                Some(Ok(())) => {
                    let status = HookStatus::Succeeded;
                    state.set_hook_result(&hook, HookResult { status, ..known });
                }
                Some(Err(why)) => waits.push(format!(
                    "{phase} hook {name} failed: {why}; delete its object to run it again"
                )),
            },
            _ => {
                if let Some(why) = hands.context.projects.forbids(hands.application, &hook.key) {
                    waits.push(format!("{phase} hook: {why}; {LET_GO}"));
                    continue;
                }
                if hands.manifests.is_none() {
                    let found = manifests::find(hands.context, state, hands.application).await;
                    match found {
                        Ok(manifests) => hands.manifests = Some(manifests),
                        Err(why) => return Ok(vec![format!("{phase} hook {name}: {why}")]),
                    }
                }
                run_hook(hands, state, index, phase).await?;
                waits.push(match state.hook_result(&hook, phase) {
                    Some(result) if result.message.is_empty() => runs_since(result, &name),
                    Some(result) => format!("{phase} hook {name}: {}", result.message),
                    None => format!("{phase} hook {name} was not begun"),
                });
            }
        }
    }
    Ok(waits)
}

fn runs_since(result: &HookResult, name: &str) -> String {
    let phase = result.phase;
    match result.began() {
        Some(began) => format!("{phase} hook {name} runs since {}", rfc3339(began)),
        None => format!("{phase} hook {name} runs"),
    }
}

/// Deletes one object and says what is still to be waited for.
async fn delete_one(
    context: &Context,
    state: &mut State,
    application: &Application,
    key: &ResourceKey,
) -> Option<String> {
    if let Some(why) = context.projects.forbids(application, key) {
        return Some(format!("{why}; {LET_GO}"));
    }
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
