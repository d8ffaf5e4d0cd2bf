//! What a person asks for on an Application: taken up when it is begun, or refused with a reason.

use jiff::Timestamp;

use super::state::State;
use super::{Context, report};
use crate::cluster::Error as ClusterError;
use crate::crd::{Application, OperationPhase, OperationState};
use crate::object::rfc3339;
use crate::plan::Reason;

/// Refuses what is asked for next. While a sync runs, also one that the agent was killed in, its own
/// end is told first: what was asked for waits, and is refused then.
pub(super) async fn refuse_next(
    context: &Context,
    state: &mut State,
    application: &Application,
    why: &str,
) -> Result<(), ClusterError> {
    let operation = application.operation.as_ref();
    let resumes = state.operation.as_ref().is_some_and(|known| {
        let by = known.operation.initiated_by.as_ref();
        known.phase == OperationPhase::Running
            && !by.is_some_and(|by| by.automated)
            && !operation.is_some_and(|asked| asked.is_same(&known.operation))
    });
    if state.running.is_some() || (resumes && state.desired.is_some()) {
        return Ok(());
    }
    refuse(context, state, application, why).await
}

/// Takes an operation off an Application that cannot be synced, and says why.
pub(super) async fn refuse(
    context: &Context,
    state: &mut State,
    application: &Application,
    why: &str,
) -> Result<(), ClusterError> {
    let Some(operation) = application.operation.clone() else {
        return Ok(());
    };
    let now = rfc3339(Timestamp::now());
    take_up(context, state, application).await?;
    if state.running.is_some() {
        // What the status tells is the sync that runs.
        let message = format!("what was asked for is not begun: {why}");
        report::announce(context, application, true, "OperationRefused", message);
        return Ok(());
    }
    state.operation = Some(OperationState {
        phase: OperationPhase::Error,
        message: format!("not started: {why}; see the conditions"),
        started_at: now.clone(),
        finished_at: Some(now),
        operation,
        sync_result: None,
        terminated_by: String::new(),
        retry_count: 0,
    });
    Ok(())
}

/// How often what somebody else writes at the same time is looked at again.
const ATTEMPTS: usize = 5;

/// Takes what a person asked for off the Application, and nothing that was asked for since.
pub(super) async fn take_up(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), ClusterError> {
    let asked = |application: &Application| application.object.get("/operation").cloned();
    let ours = asked(application);
    for attempt in 1..=ATTEMPTS {
        let stored = context.applications.get(&application.key).await?;
        if asked(&stored) != ours {
            // What is there now comes with an event of this version or a later one.
            state.taken_up = stored.resource_version.parse().ok();
            state.answered = None;
            if let Some(known) = &mut state.application {
                known.operation = None;
            }
            return Ok(());
        }
        let version = Some(stored.resource_version.as_str());
        let cleared = context
            .applications
            .clear_operation(&application.key, version)
            .await;
        let read = match cleared {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => continue,
            cleared => cleared?,
        };
        state.taken_up = read.resource_version.parse().ok();
        state.answered = None;
        if let Some(known) = &mut state.application {
            known.operation = None;
        }
        return Ok(());
    }
    Ok(())
}

/// Whether what is asked for on the Application is what runs, and still to be taken off.
pub(super) fn is_to_take_up(state: &State, application: &Application) -> bool {
    let Some(running) = state.running.as_ref().filter(|running| !running.taken) else {
        return false;
    };
    let begun = state.operation.as_ref().map(|state| &state.operation);
    let asked = application.operation.as_ref();
    running.reason == Reason::Operation && asked.zip(begun).is_some_and(|(a, b)| a.is_same(b))
}
