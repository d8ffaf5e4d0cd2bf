//! What runs once and came to its end: it is not missing when it is gone, also for an agent that was
//! started since.

use jiff::Timestamp;
use serde_json::Value;

use crate::controller::{
    Context,
    context::cluster_of,
    observe::{events, live::look_up},
    state::State,
};
use crate::crd::{Application, Ended};
use crate::health::runs_once;
use crate::object::{Object, ResourceKey};
use crate::sync::Lookup;

/// Remembers in the inventory what ran to its end as it was applied last. What ended and went while
/// no agent ran is asked for once after a start: the controller of Jobs says it in Events.
pub(in crate::controller) async fn note(
    context: &Context,
    state: &mut State,
    application: &Application,
) {
    let first = !std::mem::replace(&mut state.recalled, true);
    let Some(desired) = &state.desired else {
        return;
    };
    let mut unseen = Vec::new();
    let objects = desired.objects.iter();
    for (key, object) in objects.filter(|(_, object)| runs_once(&object.kind)) {
        let baseline = state.baselines.get(key);
        if let Some(held) = state.inventory.get_mut(key)
            && baseline.is_some_and(|baseline| baseline.desired == object.digest)
        {
            held.ended = context.live.ended(&object.kind, key).or(held.ended);
            if first && held.ended.is_none() && key.kind == "Job" && key.group == "batch" {
                unseen.push(key.clone());
            }
        }
    }
    for key in unseen {
        if look_up(context, state, application, &key) == Lookup::Absent
            && completed(context, state, application, &key).await
            && let Some(held) = state.inventory.get_mut(&key)
        {
            held.ended = Some(Ended::Complete);
        }
    }
}

/// Whether an Event says that a Job completed since the last sync began, in which it may have been
/// applied last.
async fn completed(
    context: &Context,
    state: &State,
    application: &Application,
    key: &ResourceKey,
) -> bool {
    let operation = state.operation.as_ref();
    let began = operation.and_then(|it| it.started_at.parse::<Timestamp>().ok());
    let Some(began) = began else {
        return false;
    };
    let fields = format!(
        "involvedObject.kind=Job,involvedObject.name={},reason=Completed",
        key.name
    );
    let acting = cluster_of(context, application);
    let clusters = [&acting, &context.engine.cluster];
    let events = events::of_namespace(clusters, &key.namespace, &fields).await;
    let at = |event: &Object| {
        let text = event.get("/lastTimestamp").and_then(Value::as_str)?;
        text.parse::<Timestamp>().ok()
    };
    events.iter().filter_map(at).any(|at| at >= began)
}
