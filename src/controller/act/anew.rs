//! An application whose task panicked begins as at a start: what it remembered may be half changed.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::controller::{
    Context,
    act::report::write_status,
    context::PAUSE,
    decide::conditions::FAULT,
    mailbox::Mailbox,
    state::{State, fault::Fault},
};
use crate::crd::{Application, ApplicationKey, Condition};
use crate::object::rfc3339;
use crate::supervise::CALM;

/// Reads the Application as it is stored, says what happened, and has its source told anew. Goes on
/// until the API server answers.
pub(in crate::controller) async fn after_panics(
    context: &Context,
    key: &ApplicationKey,
    mailbox: &Mailbox,
    panics: u32,
) -> Option<Fault> {
    context.sources.forget(key);
    let message = message(panics);
    loop {
        let stored = match context.applications.get(key).await {
            Ok(stored) => stored,
            // Its deletion is in the mailbox, or comes.
            Err(error) if error.is_not_found() => return None,
            Err(error) => {
                tracing::warn!(app = %key, %error, "cannot begin again yet");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let conditions = told(&stored, &message, rfc3339(Timestamp::now()));
        let patch = json!({"conditions": conditions});
        // Said before the work that may panic once more.
        if let Err(error) = write_status(context, &stored, &patch).await {
            tracing::warn!(app = %key, %error, "cannot say that its task panicked");
        }
        mailbox.bring(stored);
        let until = Instant::now() + CALM;
        return Some(Fault { message, until });
    }
}

/// Takes the fault back when its time is over, and looks again then.
pub(in crate::controller) fn expire(state: &mut State) {
    let Some(fault) = &state.fault else {
        return;
    };
    match fault.until.checked_duration_since(Instant::now()) {
        Some(left) if left > Duration::ZERO => state.look_again_in(left),
        _ => state.fault = None,
    }
}

fn message(panics: u32) -> String {
    let times = match panics {
        1 => String::new(),
        panics => format!(" {panics} times in a row"),
    };
    format!(
        "the agent's own work on this application ended in a fault{times}, and began again as at a \
         start: what is said here may be as of before it; the agent's log says where the fault is"
    )
}

/// The conditions as they are stored, with this one.
fn told(stored: &Application, message: &str, now: String) -> Vec<Condition> {
    let known = &stored.status.conditions;
    let since = known.iter().find(|condition| condition.type_ == FAULT);
    let since = since.map_or(now, |condition| condition.last_transition_time.clone());
    let ours = Condition {
        type_: FAULT.to_owned(),
        message: message.to_owned(),
        last_transition_time: since,
    };
    let others = known.iter().filter(|condition| condition.type_ != FAULT);
    std::iter::once(ours).chain(others.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    #[test]
    fn the_fault_is_told_beside_what_is_known_and_keeps_its_time() {
        let of = |conditions: serde_json::Value| {
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
                "status": {"conditions": conditions},
            });
            let stored = read(Object::new(object).unwrap());
            let told = told(&stored, "canary", "now".to_owned());
            let told = told.into_iter();
            told.map(|it| (it.type_, it.message, it.last_transition_time))
                .collect::<Vec<_>>()
        };
        let text = |type_: &str, message: &str, time: &str| {
            (type_.to_owned(), message.to_owned(), time.to_owned())
        };
        let other = json!({"type": "SyncError", "message": "m", "lastTransitionTime": "then"});
        assert_eq!(
            of(json!([other])),
            [text(FAULT, "canary", "now"), text("SyncError", "m", "then")]
        );
        let ours = json!({"type": FAULT, "message": "m", "lastTransitionTime": "then"});
        assert_eq!(of(json!([ours])), [text(FAULT, "canary", "then")]);
        assert!(message(3).contains("3 times in a row"));
    }

    #[test]
    fn a_fault_is_told_until_all_went_well_for_a_while() {
        let fault = |until| {
            Some(Fault {
                message: String::new(),
                until,
            })
        };
        let mut state = State {
            fault: fault(Instant::now() + CALM),
            ..State::default()
        };
        expire(&mut state);
        assert!(state.fault.is_some() && state.due.is_some());
        state.fault = fault(Instant::now());
        expire(&mut state);
        assert_eq!(state.fault, None);
    }
}
