//! What leaves the source and stands in the way of what comes with the same commit: it is deleted
//! first. Everything else that leaves goes at the end, when what replaces it is there.

use futures::{StreamExt, stream};
use serde_json::json;

use super::advance::Hands;
use super::running::Running;
use super::state::State;
use crate::diff::Refusal;
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::{Place, Progress, Subject, Task, is_judged_by_content, stands_in_the_way};
use crate::sync::Comparison;

/// A stale object that is deleted before what it stands in the way of.
pub(super) struct Cleared {
    /// Where that is applied.
    pub(super) place: Place,
    /// The stale object, as far as it was judged.
    pub(super) object: Object,
}

/// What the API server did not take.
pub(super) struct Refused {
    pub(super) key: ResourceKey,
    pub(super) place: Place,
    pub(super) why: String,
    pub(super) refusal: Option<Refusal>,
}

/// At most so many stale objects are read at once.
const AT_ONCE: usize = 8;

/// Lets what stands in the way of refused objects go first, where this sync deletes it anyway, and
/// returns what stays refused. While anything does, the order stays as it is: nothing is deleted
/// early for a commit that cannot be applied.
pub(super) async fn clear(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    tasks: &[Task],
    mut refused: Vec<Refused>,
) -> Vec<Refused> {
    let Some(running) = &state.running else {
        return refused;
    };
    let judged = refused.iter().any(|it| it.refusal.is_some());
    if !judged || comparison.stale.is_empty() {
        return refused;
    }
    let syncs = (running, state.prune_held.is_some());
    let stale = comparison.stale.iter().filter_map(|key| {
        let kind = state.inventory.get(key)?.kind.clone();
        Some((kind, stays(syncs, comparison, tasks, key), key))
    });
    let read: Vec<_> = stale
        .map(|(kind, stays, key)| async move { (read(hands, &kind, key).await, stays) })
        .collect();
    let stale: Vec<_> = stream::iter(read)
        .buffered(AT_ONCE)
        .filter_map(async |(object, stays)| Some((object?, stays)))
        .collect()
        .await;
    let mut first = Vec::new();
    refused.retain_mut(|it| {
        let Some(refusal) = &it.refusal else {
            return true;
        };
        let in_the_way = |object: &Object| stands_in_the_way(refusal, &it.key, object);
        let found: Vec<_> = stale
            .iter()
            .filter(|(object, _)| in_the_way(object))
            .collect();
        let goes: Vec<_> = found.iter().filter(|(_, stays)| stays.is_none()).collect();
        if let ([], [(object, Some(stays)), ..]) = (goes.as_slice(), found.as_slice()) {
            let key = object.key();
            it.why = format!(
                "{}; {key} stands in its way, which is no longer in the source: {stays}",
                it.why
            );
        }
        first.extend(goes.iter().map(|(object, _)| (object.clone(), it.place)));
        goes.is_empty()
    });
    if let Some(running) = state.running.as_mut().filter(|_| refused.is_empty()) {
        for (object, place) in first {
            let key = object.key();
            tracing::info!(app = %hands.application.key, %key, "goes first: it stands in the way");
            let cleared = running
                .cleared
                .entry(key)
                .or_insert(Cleared { place, object });
            cleared.place = cleared.place.min(place);
        }
    }
    refused
}

/// A stale object as far as it takes to judge it; none when it cannot be read.
async fn read(hands: &Hands<'_>, kind: &Kind, key: &ResourceKey) -> Option<Object> {
    if is_judged_by_content(key) {
        return hands.cluster.find(kind, key).await.ok().flatten();
    }
    let api_version = kind.api_version();
    let mut metadata = json!({"name": key.name});
    if !key.namespace.is_empty() {
        metadata["namespace"] = key.namespace.as_str().into();
    }
    let bare = json!({"apiVersion": api_version, "kind": key.kind, "metadata": metadata});
    Object::new(bare).ok()
}

/// Why this sync does not delete a stale object first; none when it does.
fn stays(
    (running, is_held): (&Running, bool),
    comparison: &Comparison,
    tasks: &[Task],
    key: &ResourceKey,
) -> Option<String> {
    let task = tasks
        .iter()
        .find(|task| matches!(&task.subject, Subject::Prune(pruned) if pruned == key));
    let why = match (task, comparison.kept.get(key)) {
        (Some(Task { last: true, .. }), _) => "it asks to go last (PruneLast=true)",
        (Some(task), _) if matches!(task.progress, Progress::Failed(_)) => {
            "its deletion was refused"
        }
        (Some(_), _) => return None,
        (None, Some(why)) => return Some(format!("it is kept: {why}")),
        (None, None) if is_held => "it is deleted first once its deletion is approved",
        (None, None) if !running.sync.prune => "a sync that prunes deletes it first",
        (None, None) => "it is not among what this sync is about",
    };
    Some(why.to_owned())
}
