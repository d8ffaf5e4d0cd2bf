//! Waiting for what was asked for, with a deadline, telling how far it is.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::output::Progress;
use super::target::Target;
use super::text::span;
use crate::crd::{Application, Info, OperationPhase, OperationState, SyncResult, names, read};
use crate::object::Object;

/// How far a request is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Nobody has taken it up.
    Requested,
    /// Another one runs before it; the text says what that is at.
    Behind(String),
    /// What is done at the moment.
    Running(String),
    Over,
    /// It began, and before its end was seen another one took its place.
    Replaced,
}

/// The mark of one request.
pub(super) fn mark(id: &str) -> Info {
    Info {
        name: names::REQUEST.to_owned(),
        value: id.to_owned(),
    }
}

/// The state of the operation that carries a mark.
pub(super) fn state_of<'a>(
    application: &'a Application,
    mark: &Info,
) -> Option<&'a OperationState> {
    let state = application.status.operation_state.as_ref();
    state.filter(|state| state.operation.info.contains(mark))
}

/// How far the operation with a mark is. `began` tells whether it was seen running before.
pub(super) fn operation_stage(application: &Application, mark: &Info, began: bool) -> Stage {
    match state_of(application, mark) {
        Some(state) if state.phase == OperationPhase::Running => {
            let results = state.sync_result.as_ref();
            let done = results.map_or(0, SyncResult::rows);
            Stage::Running(match (state.message.as_str(), done) {
                ("", 0) => "running".to_owned(),
                ("", 1) => "running, 1 object changed".to_owned(),
                ("", done) => format!("running, {done} objects changed"),
                (message, _) => message.to_owned(),
            })
        }
        Some(_) => Stage::Over,
        None if began => Stage::Replaced,
        None => match application.status.operation_state.as_ref() {
            Some(other) if other.phase == OperationPhase::Running => {
                Stage::Behind(other.message.clone())
            }
            _ => Stage::Requested,
        },
    }
}

/// A refresh is over when the agent has taken the request away.
pub(super) fn refresh_stage(application: &Application) -> Stage {
    match application.annotation(names::REFRESH) {
        Some(_) => Stage::Requested,
        None => Stage::Over,
    }
}

/// Follows an Application until a request is over, and returns it as it is stored then.
pub(super) async fn follow(
    target: &Target,
    name: &str,
    patience: Duration,
    stage: impl Fn(&Application, bool) -> Stage,
) -> Result<Object> {
    match follow_to_its_end(target, name, patience, stage).await? {
        Some(object) => Ok(object),
        None => bail!("application \"{name}\" was deleted meanwhile"),
    }
}

/// The same; none when the Application is gone before.
pub(super) async fn follow_to_its_end(
    target: &Target,
    name: &str,
    patience: Duration,
    stage: impl Fn(&Application, bool) -> Stage,
) -> Result<Option<Object>> {
    let deadline = Instant::now() + patience;
    let mut progress = Progress::new();
    let mut began = false;
    let mut far = "nothing has taken it up, is the agent running? It stays requested".to_owned();
    progress.say(&format!("{name}: requested"));
    let mut changes = target.applications.watch(&target.key(name));
    loop {
        let Ok(change) = timeout_at(deadline, changes.next()).await else {
            drop(progress);
            bail!("gave up on \"{name}\" after {}: {far}", span(patience));
        };
        let object = match change {
            Some(Ok(Some(object))) => object,
            Some(Ok(None)) => return Ok(None),
            Some(Err(error)) if error.is_passing() => {
                progress.say(&format!("{name}: {error}, trying again"));
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the watch on application \"{name}\" ended"),
        };
        match stage(&read(object.clone()), began) {
            Stage::Requested => {}
            Stage::Behind(doing) => {
                let behind = match doing.as_str() {
                    "" => "behind the operation that runs".to_owned(),
                    doing => format!("behind the operation that runs ({doing})"),
                };
                progress.say(&format!("{name}: waiting {behind}"));
                far = format!("it waits {behind}, and stays requested");
            }
            Stage::Running(doing) => {
                began = true;
                progress.say(&format!("{name}: {doing}"));
                far = format!("it is still at: {doing}");
            }
            Stage::Over => return Ok(Some(object)),
            Stage::Replaced => bail!("another operation on \"{name}\" took the place of this one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn application(metadata: &Value, state: &Value) -> Application {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": metadata, "spec": {}, "status": {"operationState": state},
        });
        read(Object::new(object).unwrap())
    }

    #[test]
    fn only_the_operation_that_was_asked_for_counts() {
        let state = |phase: &str, id: &str, message: &str| {
            json!({
                "phase": phase, "startedAt": "2026-03-10T12:00:00Z", "message": message,
                "operation": {"info": [{"name": names::REQUEST, "value": id}], "sync": {}},
                "syncResult": {"resources": [{"kind": "ConfigMap"}]},
            })
        };
        let running = Stage::Running("running, 1 object changed".to_owned());
        for (state, began, expected) in [
            (json!(null), false, Stage::Requested),
            (state("Succeeded", "other", ""), false, Stage::Requested),
            (state("Running", "mine", ""), false, running),
            (
                state("Running", "mine", "wave 2"),
                true,
                Stage::Running("wave 2".to_owned()),
            ),
            (state("Succeeded", "mine", ""), false, Stage::Over),
            (state("Failed", "mine", ""), true, Stage::Over),
            (state("Running", "other", ""), true, Stage::Replaced),
            (
                state("Running", "other", "waiting for approval"),
                false,
                Stage::Behind("waiting for approval".to_owned()),
            ),
        ] {
            let seen = application(&json!({"name": "shop"}), &state);
            assert_eq!(operation_stage(&seen, &mark("mine"), began), expected);
        }
    }

    #[test]
    fn a_refresh_is_over_when_its_annotation_is_gone() {
        let asked = json!({"name": "shop", "annotations": {"trimtab.dev/refresh": "hard"}});
        let check = |metadata, expected| {
            let seen = application(&metadata, &json!(null));
            assert_eq!(refresh_stage(&seen), expected);
        };
        check(asked, Stage::Requested);
        check(json!({"name": "shop"}), Stage::Over);
    }
}
