//! Whether another application may be about to take over what is stale.

use std::time::Duration;

use crate::controller::{Context, state::State};
use crate::crd::Application;
use crate::sync::Comparison;

/// How long until the next look while another application may take over what would be pruned ...
pub(in crate::controller) const MOVING: Duration = Duration::from_millis(100);
/// ... and how long it has for that since the commit was fetched.
const MOVED: Duration = Duration::from_secs(10);

/// Whether what would be pruned may turn out to be desired by another application, which looks at
/// the same commit just now.
pub(in crate::controller) fn may_move(
    context: &Context,
    state: &State,
    application: &Application,
    comparison: &Comparison,
) -> bool {
    let recent = state
        .revision
        .as_ref()
        .is_some_and(|revision| revision.fetched.elapsed() < MOVED);
    recent
        && comparison.prunable().next().is_some()
        && context.claims.others_expected(&application.key)
}
