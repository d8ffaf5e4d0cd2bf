//! Going back: an earlier deployment, or a revision that a person names, counts as desired until
//! the next commit. An earlier deployment needs neither Git nor a renderer.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::cluster::Error as ClusterError;
use crate::controller::{
    Context,
    act::requests,
    context::PAUSE,
    observe::projects,
    state::{State, answered::Answered, rendered_spec},
};
use crate::crd::{Application, Operation, OperationPhase, Pin, RollbackOperation, SyncOperation};
use crate::object::rfc3339;
use crate::sync::{Desired, Manifests, Source, desire, keep, recall};

/// Takes up a rollback that a person asked for: pins the deployment and turns the request into a
/// sync of it. What cannot be done is refused.
pub(in crate::controller) async fn take_up(
    context: &Context,
    state: &mut State,
    application: &mut Application,
) -> Result<(), ClusterError> {
    let Some(operation) = application.operation.clone() else {
        state.answered = None;
        return Ok(());
    };
    if operation.terminate {
        // What is asked for beside that is taken up when the sync has ended.
        return Ok(());
    }
    let begun = is_begun(state, &operation);
    let answered = state.answered.clone().filter(|answered| {
        answered.is_for(&operation, newest(state).as_deref(), state.pin.as_ref())
    });
    let request = operation.clone();
    let revision = operation.sync.filter(|sync| !sync.revision.is_empty());
    let outcome = match (&operation.rollback, &revision) {
        // It waits, and is still on the Application.
        _ if begun => Ok(()),
        (Some(_), _) | (_, Some(_)) if answered.is_some() => {
            answered.map_or(Ok(()), |answered| answered.outcome)
        }
        (Some(wish), _) if wish.undo => undo(state),
        (Some(wish), _) => pin(context, state, application, wish).await,
        (None, Some(sync)) => pin_revision(context, state, application, sync).await,
        (None, None) => return Ok(()),
    };
    if !begun {
        state.answered = Some(Box::new(Answered {
            request,
            revision: newest(state),
            pin: state.pin.clone(),
            outcome: outcome.clone(),
        }));
    }
    match outcome {
        Ok(()) => {
            if let (Some(wish), Some(operation)) = (operation.rollback, &mut application.operation)
            {
                operation.sync = Some(SyncOperation {
                    prune: wish.prune,
                    ..SyncOperation::default()
                });
            }
            Ok(())
        }
        Err(why) => {
            requests::refuse_next(context, state, application, &why).await?;
            application.operation = None;
            Ok(())
        }
    }
}

fn newest(state: &State) -> Option<String> {
    state.revision.as_ref().map(|it| it.commit_id.clone())
}

/// Whether a request is what runs, or ran when the agent ended, and was not taken off yet.
pub(in crate::controller) fn is_begun(state: &State, operation: &Operation) -> bool {
    let Some(known) = &state.operation else {
        return false;
    };
    let open = match &state.running {
        Some(running) => !running.taken,
        None => known.phase == OperationPhase::Running,
    };
    open && known.operation.is_same(operation)
}

fn undo(state: &mut State) -> Result<(), String> {
    // It may have been ended for this very request already, and not been written yet.
    if state.pin.take().is_none() && state.written.pin.is_none() {
        return Err("no rollback is in force".to_owned());
    }
    // Rendered again from the newest commit, or recalled when that cannot be read.
    state.desired = None;
    state.rendered_spec = None;
    Ok(())
}

async fn pin(
    context: &Context,
    state: &mut State,
    application: &Application,
    wish: &RollbackOperation,
) -> Result<(), String> {
    let history = &state.written.history;
    let found = match wish.id {
        Some(id) => history.iter().find(|deployment| deployment.id == id),
        // The one before the last, as `helm rollback` and `kubectl rollout undo` do.
        None => history.iter().rev().nth(1),
    };
    let Some(deployment) = found.cloned() else {
        let ids: Vec<_> = history.iter().map(|it| it.id.to_string()).collect();
        return Err(format!(
            "there is no such deployment in the history, which has {}",
            ids.join(", ")
        ));
    };
    if deployment.bundle.is_empty() {
        return Err(format!(
            "deployment {} has no rendered bundle",
            deployment.id
        ));
    }
    let recalled = recall(
        &context.engine,
        application,
        &deployment.bundle,
        &deployment.revision,
    );
    let (desired, manifests) = recalled
        .await
        .map_err(|error| error.to_string())?
        .ok_or_else(|| {
            format!(
                "the rendered bundle of deployment {} is gone",
                deployment.id
            )
        })?;
    permitted(context, application, &desired)?;
    tracing::info!(app = %application.key, id = deployment.id, "rolled back until the next commit");
    let pin = Pin {
        id: Some(deployment.id),
        bundle: deployment.bundle,
        ..Pin::default()
    };
    hold(state, application, pin, desired, manifests);
    Ok(())
}

/// Pins a branch, tag or commit. Its bundle is kept first, so that a restart finds it again.
async fn pin_revision(
    context: &Context,
    state: &mut State,
    application: &Application,
    wish: &SyncOperation,
) -> Result<(), String> {
    if wish.dry_run {
        return Err(
            "a dry run is of the newest revision; a diff shows what another one would change"
                .to_owned(),
        );
    }
    let fetched = (context.fetch)(application.key.clone(), wish.revision.clone());
    let commit_id = fetched.await?;
    let newest = state.revision.as_ref().map(|it| &it.commit_id);
    if newest == Some(&commit_id) {
        if state.pin.is_some() {
            undo(state)?;
        }
        return Ok(());
    }
    let mirror = (context.mirror_of)(&application.key)
        .ok_or_else(|| "the repository was not read yet".to_owned())?;
    let source = Source {
        mirror: &mirror,
        commit_id: &commit_id,
    };
    let engine = &context.engine;
    let rendered = desire(engine, application, &source).await;
    let (desired, manifests) = rendered.map_err(|error| error.to_string())?;
    permitted(context, application, &desired)?;
    let history = &state.written.history;
    let deployed = history.iter().map(|deployment| deployment.bundle.clone());
    let wanted: BTreeSet<_> = deployed.chain([desired.digest.clone()]).collect();
    keep(engine, application, &desired, &manifests, &wanted)
        .await
        .map_err(|error| error.to_string())?;
    tracing::info!(app = %application.key, revision = commit_id, "syncs to it until the next commit");
    let pin = Pin {
        bundle: desired.digest.clone(),
        ..Pin::default()
    };
    hold(state, application, pin, desired, manifests);
    Ok(())
}

/// What the project does not permit now is not pinned, whatever it permitted then.
fn permitted(
    context: &Context,
    application: &Application,
    desired: &Desired,
) -> Result<(), String> {
    projects::refuse_objects(context, application, desired).map_or(Ok(()), Err)
}

/// From now on this is what is desired, until the source has something newer.
fn hold(
    state: &mut State,
    application: &Application,
    pin: Pin,
    desired: Desired,
    manifests: Manifests,
) {
    let newest = state.revision.as_ref().map(|it| it.commit_id.clone());
    let until = newest
        .or_else(|| state.pin.as_ref().map(|pin| pin.until.clone()))
        .unwrap_or_else(|| state.written.sync.revision.clone());
    let operation = application.operation.as_ref();
    let by = operation.and_then(|operation| operation.initiated_by.as_ref());
    state.pin = Some(Pin {
        revision: desired.commit_id.clone(),
        until,
        by: by.map(|by| by.username.clone()).unwrap_or_default(),
        at: rfc3339(Timestamp::now()),
        ..pin
    });
    state.desired = Some(desired);
    state.manifests = Some(manifests);
    state.rendered_spec = Some(rendered_spec(application));
    state.compare_error = None;
}

/// Whether a rollback is in force. A newer commit or another spec ends it.
pub(in crate::controller) fn is_pinned(state: &mut State, application: &Application) -> bool {
    let Some(pin) = &state.pin else {
        return false;
    };
    let newer = state
        .revision
        .as_ref()
        .is_some_and(|revision| revision.commit_id != pin.until);
    let spec = rendered_spec(application);
    let other_spec = state.rendered_spec.as_ref().is_some_and(|it| *it != spec);
    if newer || other_spec {
        tracing::info!(app = %application.key, revision = pin.revision, "the rollback is over");
        state.pin = None;
        state.desired = None;
        return false;
    }
    state.rendered_spec = Some(spec);
    true
}

/// Finds the desired state of a pin, or of the last deployment, when there is none at hand.
pub(in crate::controller) async fn recall_deployed(
    context: &Context,
    state: &mut State,
    application: &Application,
) {
    if state.desired.is_some() {
        return;
    }
    let last = state.written.history.last();
    let pinned = state.pin.as_ref().map(|pin| (&pin.bundle, &pin.revision));
    let wanted = pinned.or_else(|| last.map(|last| (&last.bundle, &last.revision)));
    let Some((bundle, revision)) = wanted.filter(|(bundle, _)| !bundle.is_empty()) else {
        return;
    };
    match recall(&context.engine, application, bundle, revision).await {
        Ok(Some((desired, manifests))) => {
            tracing::info!(app = %application.key, revision, "goes on with what was deployed last");
            state.desired = Some(desired);
            state.manifests = Some(manifests);
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(app = %application.key, %error, "the last deployment cannot be recalled");
            state.look_again_in(PAUSE);
        }
    }
}
