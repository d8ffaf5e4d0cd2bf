//! What a person asks for on an Application: taken up when it is begun, or refused with a reason.

use jiff::Timestamp;

use crate::cluster::Error as ClusterError;
use crate::controller::{Context, act::report, state::State};
use crate::crd::names::REFRESH;
use crate::crd::{Application, Operation, OperationPhase, OperationState};
use crate::object::rfc3339;
use crate::plan::Reason;

/// Refuses what is asked for next. While a sync runs, also one that the agent was killed in, its own
/// end is told first: what was asked for waits, and is refused then.
pub(in crate::controller) async fn refuse_next(
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
pub(in crate::controller) async fn refuse(
    context: &Context,
    state: &mut State,
    application: &Application,
    why: &str,
) -> Result<(), ClusterError> {
    // What is wrong with the request is named here, as its condition goes with it.
    let own = application.operation_faults();
    let why = match own.is_empty() {
        true => format!("{why}; see the conditions"),
        false => own.join("; "),
    };
    refuse_for(context, state, application, why).await
}

/// Takes an operation off an Application that is not begun, for this reason alone.
pub(in crate::controller) async fn refuse_for(
    context: &Context,
    state: &mut State,
    application: &Application,
    why: String,
) -> Result<(), ClusterError> {
    let Some(operation) = asked_for(application) else {
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
        message: format!("not started: {why}"),
        started_at: now.clone(),
        finished_at: Some(now),
        operation,
        sync_result: None,
        terminated_by: String::new(),
        retry_count: 0,
    });
    Ok(())
}

/// What a person asked for; nothing in particular where that cannot be read.
fn asked_for(application: &Application) -> Option<Operation> {
    let unreadable = !application.operation_faults().is_empty();
    let read = application.operation.clone();
    read.or_else(|| unreadable.then(Operation::default))
}

/// Refuses what asks for nothing that is known, instead of leaving it there for ever.
pub(in crate::controller) async fn refuse_empty(
    context: &Context,
    state: &mut State,
    application: &mut Application,
) -> Result<(), ClusterError> {
    let operation = application.operation.as_ref();
    let asks = |it: &Operation| it.sync.is_some() || it.rollback.is_some() || it.terminate;
    if operation.is_none_or(asks) {
        return Ok(());
    }
    let why = "operation asks for nothing: it has neither sync nor rollback nor terminate";
    refuse(context, state, application, why).await?;
    application.operation = None;
    Ok(())
}

/// Answers what is asked of an Application that is on its way out and not gone yet.
pub(in crate::controller) async fn refuse_deleted(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), ClusterError> {
    answer_refresh(state, application);
    if asked_for(application).is_none() {
        return Ok(());
    }
    state.running = None;
    let why = "the Application is being deleted";
    match refuse(context, state, application, why).await {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => report::write_ahead(context, state, application).await,
    }
}

/// Ends a wish to refresh where no source is looked at: the conditions are the answer.
pub(in crate::controller) fn answer_refresh(state: &mut State, application: &Application) {
    if application.annotation(REFRESH).is_some() {
        state.refreshing = true;
        state.source_answered = true;
    }
}

/// Answers what is asked for while it is not known what is desired. False when it is to wait, as the
/// first word of the source is on its way.
pub(in crate::controller) async fn answer_without_desired(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<bool, ClusterError> {
    let fault = state.source_error.as_ref().map(|fault| &fault.message);
    let why = state.compare_error.as_ref().or(fault);
    let why = why.map(|why| format!("it is not known what is desired: {why}"));
    // Of a sync that the agent was killed in; there is none else without a desired state.
    let open = state.operation.as_mut();
    let open = open.filter(|known| known.phase == OperationPhase::Running);
    let operation = application.operation.as_ref();
    if let Some(ends) = operation.filter(|operation| operation.terminate) {
        if let Some(open) = open {
            let by = ends.terminated_by();
            open.phase = OperationPhase::Failed;
            open.message = format!("terminated by {by}");
            by.clone_into(&mut open.terminated_by);
            open.finished_at = Some(rfc3339(Timestamp::now()));
        }
        take_up(context, state, application).await?;
        return Ok(true);
    }
    let Some(why) = why else {
        return Ok(false);
    };
    let resumes = open
        .as_ref()
        .is_some_and(|open| operation.is_none_or(|operation| operation.is_same(&open.operation)));
    if resumes {
        if let Some(open) = open {
            open.message = format!("waiting for the source; {why}");
        }
    } else {
        refuse(context, state, application, &why).await?;
    }
    Ok(true)
}

/// How often what somebody else writes at the same time is looked at again.
const ATTEMPTS: usize = 5;

/// Takes what a person asked for off the Application, and nothing that was asked for since. What waits
/// for the end of a sync stays when that end is asked for.
pub(in crate::controller) async fn take_up(
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
            state.asked = None;
            if let Some(known) = &mut state.application {
                known.remove_operation();
            }
            return Ok(());
        }
        let version = Some(stored.resource_version.as_str());
        let (applications, key) = (&context.applications, &application.key);
        let ends = application.operation.as_ref();
        let cleared = match ends.filter(|ends| ends.goes_on()) {
            // It comes with an event of this version.
            Some(ends) => applications.clear_terminate(key, ends, version).await,
            None => applications.clear_operation(key, version).await,
        };
        let read = match cleared {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => continue,
            cleared => cleared?,
        };
        state.taken_up = read.resource_version.parse().ok();
        state.answered = None;
        state.asked = None;
        if let Some(known) = &mut state.application {
            known.remove_operation();
        }
        return Ok(());
    }
    Ok(())
}

/// Whether what is asked for on the Application is what runs, and still to be taken off.
pub(in crate::controller) fn is_to_take_up(state: &State, application: &Application) -> bool {
    let Some(running) = state.running.as_ref().filter(|running| !running.taken) else {
        return false;
    };
    let begun = state.operation.as_ref().map(|state| &state.operation);
    let asked = application.operation.as_ref();
    running.reason == Reason::Operation && asked.zip(begun).is_some_and(|(a, b)| a.is_same(b))
}
