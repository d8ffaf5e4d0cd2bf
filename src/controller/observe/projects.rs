//! What the project of an application does not permit just now.

use jiff::Timestamp;

use crate::controller::{Context, state::State};
use crate::crd::Application;
use crate::plan::windows;
use crate::sync::{Comparison, Desired};

/// Leaves what the project does not permit out of what may be pruned.
pub(in crate::controller) fn spare(
    context: &Context,
    application: &Application,
    comparison: &mut Comparison,
) {
    for key in comparison.stale.clone() {
        if let Some(why) = context.projects.forbids(application, &key) {
            comparison.forbid(key, why);
        }
    }
}

/// What of the desired objects the project does not permit; none when all is.
pub(in crate::controller) fn refuse_objects(
    context: &Context,
    application: &Application,
    desired: &Desired,
) -> Option<String> {
    let hooks = desired.hooks.iter().map(|hook| &hook.key);
    let objects = desired.objects.keys().chain(hooks);
    let refusals = context.projects.refusals(application, objects);
    (!refusals.is_empty()).then(|| refusals.join("; "))
}

/// Looks at the sync windows: what holds automation up, and whether a person may sync. The
/// application is looked at again when a window opens or closes.
pub(in crate::controller) fn look_at_windows(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Option<(String, bool)> {
    let current = context.projects.current();
    let project = current.projects.get(&application.spec.project)?;
    if project.sync_windows.is_empty() {
        return None;
    }
    let now = Timestamp::now();
    let destination = &application.spec.destination.namespace;
    let name = &application.key.name;
    let found = windows(&project.sync_windows, name, destination, now);
    if let Some(at) = found.changes_at {
        let left = at.duration_since(now).try_into().unwrap_or_default();
        state.look_again_in(left);
    }
    found.why.map(|why| (why, found.manual))
}
