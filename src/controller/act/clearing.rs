//! What leaves the source and stands in the way of what comes with the same commit: it is deleted
//! first. Everything else that leaves goes at the end, when what replaces it is there.

use futures::{StreamExt, stream};
use serde_json::json;

use crate::controller::{
    act::{execution::execution, refused::Refused},
    context::Hands,
    observe::live::look_up,
    state::{
        State,
        sync_run::{Cleared, Running},
    },
};
use crate::diff::By;
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::{Progress, Subject, Task, enough, is_judged_by_content, stands_in_the_way};
use crate::sync::{Comparison, taken_without};

/// At most so many stale objects are read at once.
const AT_ONCE: usize = 8;

/// Lets what stands in the way of refused objects go first, where this sync deletes it anyway, and
/// returns what stays refused. While anything does, the order stays as it is: nothing is deleted
/// early for a commit that cannot be applied.
///
/// Where all that stays refused waits for what another application may take over just now, nothing
/// is refused yet: the sync waits until that is known, and asks anew.
pub(in crate::controller) async fn clear(
    hands: &Hands<'_>,
    state: &mut State,
    comparison: &Comparison,
    tasks: &[Task],
    refused: Vec<Refused>,
) -> Vec<Refused> {
    let judged = refused.iter().any(|it| it.refusal.is_some());
    if !judged || comparison.stale.is_empty() {
        return refused;
    }
    let stale = stale(hands, state, comparison, tasks).await;
    let (mut first, mut left) = (Vec::new(), Vec::new());
    let mut may_move = 0;
    for mut it in refused {
        match judge(hands, state, &stale, &it).await {
            Ok(goes) => first.extend(goes.into_iter().map(|object| (object, it.place))),
            Err(fault) => {
                may_move += usize::from(fault.may_move);
                it.why = fault.why;
                left.push(it);
            }
        }
    }
    if may_move == left.len()
        && may_move > 0
        && let Some(running) = &mut state.running
    {
        running.waits_to_move = true;
        return Vec::new();
    }
    if let Some(running) = state.running.as_mut().filter(|_| left.is_empty()) {
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
    left
}

/// A stale object, and why this sync does not delete it first; none when it does.
type Stale = (Object, Option<Stays>);

/// Why a stale object is not deleted first.
#[derive(Debug, PartialEq)]
enum Stays {
    /// Another application may take it over, which is known in a moment.
    MayMove,
    For(String),
}

/// Why an object stays refused.
struct Fault {
    why: String,
    /// It is known in a moment whether what stands in its way may go.
    may_move: bool,
}

impl Fault {
    fn new(why: String) -> Self {
        Self {
            why,
            may_move: false,
        }
    }
}

/// All that is stale, as far as it takes to judge it.
async fn stale(
    hands: &Hands<'_>,
    state: &State,
    comparison: &Comparison,
    tasks: &[Task],
) -> Vec<Stale> {
    let Some(running) = &state.running else {
        return Vec::new();
    };
    let is_held = state.prune_held.is_some();
    let stale = comparison.stale.iter().filter_map(|key| {
        let kind = state.inventory.get(key)?.kind.clone();
        let live = look_up(hands.context, state, hands.application, key).found();
        let goes = live.is_some_and(|live| live.observation.terminating);
        let stays = stays((running, is_held, goes), comparison, tasks, key);
        Some((kind, stays, key))
    });
    let read: Vec<_> = stale
        .map(|(kind, stays, key)| async move { (read(hands, &kind, key).await, stays) })
        .collect();
    stream::iter(read)
        .buffered(AT_ONCE)
        .filter_map(async |(object, stays)| Some((object?, stays)))
        .collect()
        .await
}

/// What goes first so that one object is taken, or why it stays refused.
async fn judge(
    hands: &Hands<'_>,
    state: &State,
    stale: &[Stale],
    it: &Refused,
) -> Result<Vec<Object>, Fault> {
    let unjudged = || Fault::new(it.why.clone());
    let mut refusal = it.refusal.clone().ok_or_else(unjudged)?;
    let mut why = it.why.clone();
    let mut goes: Vec<Object> = Vec::new();
    loop {
        let found = stale
            .iter()
            .filter(|(object, _)| stands_in_the_way(&refusal, &it.key, object));
        let (going, staying): (Vec<_>, Vec<_>) = found.partition(|(_, stays)| stays.is_none());
        let going = enough(
            &refusal,
            going.into_iter().map(|(object, _)| object).collect(),
        );
        let more: Vec<_> = going
            .into_iter()
            .filter(|object| goes.iter().all(|known| known.key() != object.key()))
            .cloned()
            .collect();
        if more.is_empty() {
            let kept = staying.iter().find_map(|(object, stays)| match stays {
                Some(Stays::For(stays)) => Some((object, stays)),
                _ => None,
            });
            return Err(match kept {
                Some((object, stays)) => Fault::new(format!(
                    "{why}; {} stands in its way, which is no longer in the source: {stays}",
                    object.key()
                )),
                None => Fault {
                    may_move: !staying.is_empty(),
                    why,
                },
            });
        }
        goes.extend(more);
        if it.key.kind != "Service" || refusal.by() != By::Validation {
            return Ok(goes);
        }
        // One thing is said at a time: what would be said next is asked for before anything goes.
        let Some(execution) = execution(hands, state, &[]) else {
            return Ok(goes);
        };
        match taken_without(&execution, &it.key, &goes).await {
            Ok(()) => return Ok(goes),
            Err(error) => {
                why = error.to_string();
                let unjudged = || Fault::new(why.clone());
                refusal = error.refusal().cloned().ok_or_else(unjudged)?;
            }
        }
    }
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
    (running, is_held, goes): (&Running, bool, bool),
    comparison: &Comparison,
    tasks: &[Task],
    key: &ResourceKey,
) -> Option<Stays> {
    let task = tasks
        .iter()
        .find(|task| matches!(&task.subject, Subject::Prune(pruned) if pruned == key));
    let why = match (task, comparison.kept.get(key)) {
        (Some(Task { last: true, .. }), _) => "it asks to go last (PruneLast=true)",
        (Some(task), _) if matches!(task.progress, Progress::Failed(_)) => {
            "its deletion was refused"
        }
        (Some(_), _) => return None,
        (None, _) if goes => "it is on its way out, and something holds that up (a finalizer)",
        (None, Some(why)) => return Some(Stays::For(format!("it is kept: {why}"))),
        (None, None) if is_held => "it is deleted first once its deletion is approved",
        (None, None) if running.may_move => return Some(Stays::MayMove),
        (None, None) if !running.sync.prune => "a sync that prunes deletes it first",
        (None, None) => "it is not among what this sync is about",
    };
    Some(Stays::For(why.to_owned()))
}
