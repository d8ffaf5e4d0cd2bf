//! Why a hook does not get on: what Events say about it and its pods. Asked for only when one waits
//! for some seconds, and then rarely.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::controller::{context::Hands, observe::events, state::State};
use crate::crd::{HookResult, HookStatus};
use crate::object::{Object, ResourceKey};

/// How long a hook may take without a word about it ...
const QUIET: Duration = Duration::from_secs(5);
/// ... and how long until Events are asked for again: so long at least, and a quarter of what it took.
const EVERY: Duration = Duration::from_secs(20);
/// Characters of an Event's message that are kept.
const MAX_MESSAGE: usize = 300;

/// How long until Events are to be asked for; none when no hook is waited for.
pub(in crate::controller) fn due_in(state: &State, timeout: Duration) -> Option<Duration> {
    let running = state.running.as_ref()?;
    running_hooks(state).next()?;
    let quiet = QUIET.min(timeout / 2);
    let after_start = quiet.saturating_sub(running.moved.elapsed());
    let every = EVERY.max(running.moved.elapsed() / 4);
    let asked = running.asked_why;
    let after_last = asked.map(|at| every.saturating_sub(at.elapsed()));
    Some(after_last.map_or(after_start, |pause| pause.max(after_start)))
}

/// Asks why the hooks that run do not get on. Whether something new is known.
pub(in crate::controller) async fn ask(hands: &Hands<'_>, state: &mut State) -> bool {
    let waiting: Vec<_> = running_hooks(state).cloned().collect();
    let mut found = false;
    for result in waiting {
        let Some(key) = ResourceKey::parse(&result.id) else {
            continue;
        };
        let clusters = [&hands.cluster, &hands.context.engine.cluster];
        let events = events::of_namespace(clusters, &key.namespace, "type=Warning").await;
        let since = result.began().unwrap_or(Timestamp::UNIX_EPOCH);
        let Some(reason) = reason(&events, &key, since) else {
            continue;
        };
        // In the status, so that it is known as well when the sync has given up.
        if let Some(known) = state.hooks.iter_mut().find(|known| **known == result) {
            found |= known.message != reason;
            known.message = reason;
        }
    }
    if let Some(running) = &mut state.running {
        running.asked_why = Some(Instant::now());
    }
    found
}

/// The hooks that run.
fn running_hooks(state: &State) -> impl Iterator<Item = &HookResult> {
    let current = state.desired.as_ref().map(|desired| &desired.digest);
    state.hooks.iter().filter(move |result| {
        result.status == HookStatus::Running && current == Some(&result.desired)
    })
}

/// The newest warning about an object or a pod of it since a time: `FailedCreate: ...`.
fn reason(events: &[Object], key: &ResourceKey, since: Timestamp) -> Option<String> {
    let text = |event: &Object, pointer: &str| {
        let text = event.get(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let time = |event: &Object| {
        let times = [
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/eventTime",
            "/firstTimestamp",
            "/metadata/creationTimestamp",
        ];
        let mut times = times.iter().map(|pointer| text(event, pointer));
        times.find_map(|time| time.parse::<Timestamp>().ok())
    };
    let pods = format!("{}-", key.name);
    let about = |event: &Object| {
        let kind = text(event, "/involvedObject/kind");
        let name = text(event, "/involvedObject/name");
        let itself = kind == key.kind && name == key.name;
        itself || (kind == "Pod" && name.starts_with(&pods))
    };
    // Events tell whole seconds.
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let new = events.iter().filter(|event| about(event));
    let new = new.filter(|event| time(event).is_some_and(|at| at >= since));
    let newest = new.max_by_key(|event| time(event))?;
    let message = text(newest, "/message");
    let mut message: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    Some(format!("{}: {message}", text(newest, "/reason")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_warning_about_the_run_is_the_reason() {
        let event = |kind: &str, name: &str, at: &str, reason: &str| {
            Object::new(json!({
                "apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": kind, "name": name},
                "lastTimestamp": at, "reason": reason, "message": "it\n is so",
            }))
            .unwrap()
        };
        let key = ResourceKey::parse("batch/Job:shop/migrate").unwrap();
        let since: Timestamp = "2026-01-01T10:00:00.7Z".parse().unwrap();
        let old = event("Job", "migrate", "2026-01-01T09:59:59Z", "Old");
        let own = event("Job", "migrate", "2026-01-01T10:00:00Z", "FailedCreate");
        let pod = event(
            "Pod",
            "migrate-x1",
            "2026-01-01T10:00:05Z",
            "FailedScheduling",
        );
        let other = event("Pod", "other-x1", "2026-01-01T10:00:09Z", "Other");
        for (events, expected) in [
            (vec![], None),
            (vec![old.clone(), other.clone()], None),
            (vec![own.clone(), old], Some("FailedCreate: it is so")),
            (vec![pod, own, other], Some("FailedScheduling: it is so")),
        ] {
            assert_eq!(reason(&events, &key, since).as_deref(), expected);
        }
    }

    #[test]
    fn a_run_tells_when_it_began() {
        let result = |run: &str| HookResult {
            id: String::new(),
            phase: crate::crd::HookPhase::PreSync,
            desired: String::new(),
            status: HookStatus::Running,
            message: String::new(),
            run: run.to_owned(),
            uid: String::new(),
        };
        let began = result("abc.1500").began();
        assert_eq!(began.map(Timestamp::as_millisecond), Some(1500));
        assert_eq!(result("").began(), None);
    }
}
