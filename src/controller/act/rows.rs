//! What a sync did, object by object, for the status.

use crate::controller::state::State;
use crate::crd::{HookPhase, HookResult, HookStatus, ResourceResult};
use crate::object::ResourceKey;
use crate::sync::Change;

pub(in crate::controller) fn fail(state: &mut State, key: &ResourceKey, why: String) {
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "SyncFailed", why.clone(), None));
        running.failed.insert(key.clone(), why);
    }
}

pub(in crate::controller) fn take_row(state: &mut State, key: &ResourceKey, change: &Change) {
    let text = match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged | Change::Failed(_) => return,
    };
    if let Some(running) = &mut state.running {
        running.rows.push(row(key, "Synced", text.to_owned(), None));
    }
}

pub(in crate::controller) fn row(
    key: &ResourceKey,
    status: &str,
    message: String,
    phase: Option<HookPhase>,
) -> ResourceResult {
    ResourceResult {
        group: key.group.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        status: status.to_owned(),
        sync_phase: phase,
        hook_type: phase,
        hook_phase: None,
        message,
    }
}

/// The row of a hook, which says how far it came.
pub(in crate::controller) fn hook_row(key: &ResourceKey, result: &HookResult) -> ResourceResult {
    let (status, text) = match result.status {
        HookStatus::Running => ("Synced", "started"),
        HookStatus::Succeeded => ("Synced", "succeeded"),
        HookStatus::Failed => ("SyncFailed", "failed"),
    };
    let message = match result.message.as_str() {
        "" => text.to_owned(),
        why => format!("{text}: {why}"),
    };
    ResourceResult {
        hook_phase: Some(result.status),
        ..row(key, status, message, Some(result.phase))
    }
}
