//! What ends a sync before its time: a person says so or wants another one, or what it is about is not
//! desired any more.

use crate::cluster::Error as ClusterError;
use crate::controller::{
    act::requests,
    context::Hands,
    state::{State, sync_run::End},
    syncing,
};
use crate::crd::Operation;
use crate::plan::Reason;

/// Ends the running sync when a person says so or wants another one, or when it is about a desired
/// state that is not the newest any more.
pub(in crate::controller) async fn interrupt(
    hands: &Hands<'_>,
    state: &mut State,
) -> Result<(), ClusterError> {
    let operation = hands.application.operation.as_ref();
    if let Some(operation) = operation.filter(|operation| operation.terminate) {
        let by = operation.terminated_by().to_owned();
        requests::take_up(hands.context, state, hands.application).await?;
        return syncing::end(hands, state, End::Terminated(by)).await;
    }
    match superseding(state, operation) {
        Some(by) => syncing::end(hands, state, End::Superseded(by)).await,
        None => Ok(()),
    }
}

/// What takes the place of the sync that runs, in words: another desired state than it is about, or
/// the sync that a person asks for while one runs by itself.
fn superseding(state: &State, operation: Option<&Operation>) -> Option<String> {
    let running = state.running.as_ref()?;
    let desired = state.desired.as_ref();
    let newest = desired.map(|desired| desired.digest.as_str());
    if newest != Some(running.desired.as_str()) {
        let commit = desired.map_or("", |desired| desired.commit_id.as_str());
        let commit = commit.get(..7).unwrap_or(commit);
        let pin = state.pin.as_ref();
        return Some(
            match pin.filter(|pin| Some(pin.bundle.as_str()) == newest) {
                Some(pin) => format!("what {} asked to go to ({commit})", somebody(&pin.by)),
                None => format!("a newer desired state ({commit})"),
            },
        );
    }
    let asked = operation.filter(|operation| operation.sync.is_some())?;
    let by = asked.initiated_by.as_ref();
    let by = somebody(by.map_or("", |by| by.username.as_str()));
    (running.reason != Reason::Operation)
        .then(|| format!("a sync that {by} asked for; the desired state is the same"))
}

fn somebody(name: &str) -> &str {
    match name {
        "" => "somebody",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::state::sync_run::Running;
    use crate::crd::{InitiatedBy, Pin, SyncOperation};
    use crate::sync::Desired;

    #[test]
    fn it_is_said_what_took_the_place_of_a_sync() {
        let asked = |username: &str| Operation {
            sync: Some(SyncOperation::default()),
            initiated_by: Some(InitiatedBy {
                username: username.to_owned(),
                automated: false,
            }),
            ..Operation::default()
        };
        let pin = |bundle: &str| Pin {
            bundle: bundle.to_owned(),
            by: "ann".to_owned(),
            ..Pin::default()
        };
        let same = |by: &str| format!("a sync that {by} asked for; the desired state is the same");
        let newer = || "a newer desired state (0123456)".to_owned();
        for (runs, reason, pin, operation, expected) in [
            ("d", Reason::Change, None, None, None),
            (
                "d",
                Reason::Change,
                None,
                Some(asked("ann")),
                Some(same("ann")),
            ),
            (
                "d",
                Reason::Drift,
                None,
                Some(asked("")),
                Some(same("somebody")),
            ),
            ("d", Reason::Operation, None, Some(asked("ann")), None),
            ("d", Reason::Change, None, Some(Operation::default()), None),
            ("old", Reason::Operation, None, None, Some(newer())),
            (
                "old",
                Reason::Change,
                None,
                Some(asked("ann")),
                Some(newer()),
            ),
            (
                "old",
                Reason::Change,
                Some(pin("other")),
                None,
                Some(newer()),
            ),
            (
                "old",
                Reason::Change,
                Some(pin("d")),
                None,
                Some("what ann asked to go to (0123456)".to_owned()),
            ),
        ] {
            let state = State {
                running: Some(Running::new(
                    reason,
                    SyncOperation::default(),
                    runs.to_owned(),
                )),
                desired: Some(Desired {
                    digest: "d".to_owned(),
                    commit_id: "0123456789abcdef".to_owned(),
                    ..Desired::default()
                }),
                pin,
                ..State::default()
            };
            assert_eq!(
                superseding(&state, operation.as_ref()),
                expected,
                "{runs} {reason:?}"
            );
        }
    }
}
