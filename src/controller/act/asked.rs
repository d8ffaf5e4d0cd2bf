//! What a person's own sync asks for beside the sync itself: to be tried again, and to leave hooks.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::controller::state::{State, sync_run::Running};
use crate::crd::{Application, HookPhase, HookResult, HookStatus, OperationPhase, OperationState};
use crate::object::rfc3339;
use crate::plan::{Reason, retry_pause_of};
use crate::sync::key_of_run;

/// Whether a sync that failed still waits to be tried again. What was asked for since takes its place.
pub(in crate::controller) fn waits(
    operation: &mut OperationState,
    next_attempt: Option<Instant>,
    application: &Application,
) -> bool {
    let due = next_attempt.is_none_or(|at| at <= Instant::now());
    if operation.retry_count == 0 || due {
        return false;
    }
    let since = application.operation.as_ref();
    if since.is_some_and(|since| !since.is_same(&operation.operation)) {
        operation.phase = OperationPhase::Failed;
        operation
            .message
            .push_str("; given up for what was asked for since");
        operation.finished_at = Some(rfc3339(Timestamp::now()));
    }
    true
}

/// Notes that a sync failed and is tried again.
pub(in crate::controller) fn note_failure(operation: &mut OperationState, message: &str) {
    operation.retry_count += 1;
    operation.message = format!("tried again in a moment: {message}");
}

/// How long what a person asked for waits after a failure until it is tried again; none where it is
/// not.
pub(in crate::controller) fn tries_again(state: &State, running: &Running) -> Option<Duration> {
    let operation = state.operation.as_ref()?;
    let failed = operation.retry_count;
    let again = running.reason == Reason::Operation && operation.operation.tries_again(failed);
    let failures = u32::try_from(failed.saturating_add(1)).unwrap_or(u32::MAX);
    again.then(|| retry_pause_of(operation.operation.retry.as_ref(), failures))
}

/// Ends what a person asked for while it waits to be tried again.
pub(in crate::controller) fn give_up(state: &mut State, by: String) {
    let waiting = state.operation.as_mut();
    if let Some(operation) = waiting.filter(|it| it.phase == OperationPhase::Running) {
        operation.phase = OperationPhase::Failed;
        operation.message = format!("terminated by {by}; the next commit or sync goes on");
        operation.terminated_by = by;
        operation.finished_at = Some(rfc3339(Timestamp::now()));
        state.held = state.desired.as_ref().map(|desired| desired.digest.clone());
    }
}

/// Notes that the hooks of the desired state are not run, as was asked for: as in Argo CD they are not
/// made up for.
pub(in crate::controller) fn leave_hooks(state: &mut State) {
    let Some(desired) = state.desired.clone() else {
        return;
    };
    let open: Vec<_> = state.open_hooks_of(&desired).cloned().collect();
    for hook in open {
        for phase in hook
            .hook
            .phases
            .iter()
            .filter(|it| **it < HookPhase::SyncFail)
        {
            let key = key_of_run(&hook, *phase, &desired.commit_id, 0);
            let result = HookResult {
                id: key.id(),
                phase: *phase,
                desired: desired.digest.clone(),
                status: HookStatus::Succeeded,
                message: "not run: the sync was asked for without hooks".to_owned(),
                run: String::new(),
                uid: String::new(),
            };
            state.set_hook_result(&hook, result);
        }
    }
}
