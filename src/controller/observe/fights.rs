//! Fights: somebody keeps changing what self-heal keeps putting back.

use std::time::Instant;

use crate::controller::{
    Context,
    context::cluster_of,
    state::{
        State,
        fights::{REPAIRS, WINDOW},
    },
};
use crate::crd::Application;
use crate::crd::names::FIELD_MANAGER;
use crate::object::Object;
use crate::sync::Comparison;

/// Takes what is fought over out of the drift, so that it is shown and left alone.
pub(in crate::controller) fn set_aside(state: &mut State, comparison: &mut Comparison) {
    let digest = state.desired.as_ref().map(|desired| desired.digest.clone());
    let digest = digest.unwrap_or_default();
    if state.fights.desired != digest {
        state.fights.forget();
        state.fights.desired = digest;
    }
    let fights = &state.fights.given_up;
    let (fought, drifted) = std::mem::take(&mut comparison.drifted)
        .into_iter()
        .partition(|key| fights.contains_key(key));
    (comparison.fought, comparison.drifted) = (fought, drifted);
}

/// Gives up what was changed again after too many repairs, and says who changed it.
pub(in crate::controller) async fn give_up(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) {
    let now = Instant::now();
    for key in comparison.drifted.clone() {
        if !state.fights.is_fought_over(&key, now) {
            continue;
        }
        let cluster = cluster_of(context, application);
        let live = match state.kind_of(&key) {
            Some(kind) => cluster.find(kind, &key).await.ok().flatten(),
            None => None,
        };
        let who = live.as_ref().and_then(last_writer);
        let why = format!(
            "{key} was put back {REPAIRS} times in {} min, and changed again by {}; self-heal \
             leaves it alone until the next commit or sync",
            WINDOW.as_secs() / 60,
            who.unwrap_or_else(|| "somebody".to_owned()),
        );
        tracing::warn!(app = %application.key, "{why}");
        state.fights.given_up.insert(key, why);
    }
    set_aside(state, comparison);
}

/// The field manager that wrote last to what a manifest may declare, apart from us. The status is
/// written all the time, by whoever keeps the kind.
fn last_writer(live: &Object) -> Option<String> {
    let entries = live.get("/metadata/managedFields")?.as_array()?;
    let others = entries
        .iter()
        .filter(|entry| entry["manager"] != FIELD_MANAGER && entry["subresource"] != "status");
    let last = others.max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?;
    let (manager, time) = (last["manager"].as_str()?, last["time"].as_str()?);
    Some(format!("{manager} at {time}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_one_who_wrote_is_named() {
        let live = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [
                {"manager": "early", "time": "2026-01-01T00:00:00Z"},
                {"manager": "late", "time": "2026-01-02T00:00:00Z"},
                {"manager": "trimtab", "time": "2026-01-03T00:00:00Z"},
                {"manager": "kubelet", "time": "2026-01-04T00:00:00Z", "subresource": "status"},
            ]},
        }));
        let last = last_writer(&live.unwrap());
        assert_eq!(last.as_deref(), Some("late at 2026-01-02T00:00:00Z"));
    }
}
