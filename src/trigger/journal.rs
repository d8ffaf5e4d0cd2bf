//! What happened lately, in memory: authentic deliveries with what became of them for each
//! application, and how long the last changes took. Bounded, and gone with the agent; only what a
//! secret vouches for gets in, so that nobody can push the true ones out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use schemars::JsonSchema;
use serde::Serialize;

use crate::crd::{ApplicationKey, Timing};

/// Deliveries of one receiver that are remembered.
const DELIVERIES: usize = 50;
/// Verdicts of one delivery that are named; the rest are counted.
const VERDICTS: usize = 100;
/// Changes of one application that are remembered.
const TIMINGS: usize = 10;
/// Characters of any text that a forge chose.
const TEXT: usize = 200;

/// What a delivery came to for one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// The repository is being asked.
    Waiting,
    /// What it reads changed.
    Changed,
    /// The commit left what it reads as it was.
    Unchanged,
    /// It follows another branch or tag.
    OtherRevision,
    /// The repository could not be read.
    Failed,
}

/// An authentic delivery.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) receiver: String,
    /// What the forge calls it; may be empty.
    pub(crate) id: String,
    /// `push`, `ping`, or the forge's name of an event that does not matter here.
    pub(crate) event: String,
    /// When it was received (RFC 3339).
    pub(crate) at: String,
    /// An address of the repository, and the ref, as the forge says.
    pub(crate) repository: String,
    pub(crate) reference: String,
    /// Applications whose source it is about.
    pub(crate) verdicts: Vec<(ApplicationKey, Verdict)>,
    /// How many more there were.
    pub(crate) more: usize,
}

/// A receiver of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverName {
    pub(crate) name: String,
    pub(crate) provider: &'static str,
}

/// A change of one application with the delivery that caused it, if one did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timed {
    pub(crate) delivery: String,
    pub(crate) timing: Timing,
}

/// All that is remembered.
#[derive(Default)]
pub(crate) struct Journal(Mutex<State>);

#[derive(Default)]
struct State {
    receivers: Vec<ReceiverName>,
    deliveries: HashMap<String, VecDeque<Delivery>>,
    timings: HashMap<ApplicationKey, VecDeque<Timed>>,
}

impl Journal {
    /// The receivers there are now; what is remembered of others goes.
    pub(crate) fn set_receivers(&self, receivers: Vec<ReceiverName>) {
        let mut state = self.lock();
        state
            .deliveries
            .retain(|name, _| receivers.iter().any(|it| it.name == *name));
        state.receivers = receivers;
    }

    pub(crate) fn receivers(&self) -> Vec<ReceiverName> {
        self.lock().receivers.clone()
    }

    /// Remembers a delivery.
    pub(crate) fn delivered(&self, mut delivery: Delivery) {
        for text in [
            &mut delivery.id,
            &mut delivery.event,
            &mut delivery.repository,
            &mut delivery.reference,
        ] {
            cut(text);
        }
        delivery.more += delivery.verdicts.len().saturating_sub(VERDICTS);
        delivery.verdicts.truncate(VERDICTS);
        let mut state = self.lock();
        let known = state
            .deliveries
            .entry(delivery.receiver.clone())
            .or_default();
        if known.len() >= DELIVERIES {
            known.pop_front();
        }
        known.push_back(delivery);
    }

    /// Says what a delivery came to for an application.
    pub(crate) fn judged(&self, delivery: &str, application: &ApplicationKey, verdict: Verdict) {
        let mut state = self.lock();
        let all = state.deliveries.values_mut().flatten();
        for known in all.filter(|known| known.id == delivery) {
            for (other, before) in &mut known.verdicts {
                if other == application && *before == Verdict::Waiting {
                    *before = verdict;
                }
            }
        }
    }

    /// The deliveries of one receiver, the newest first.
    pub(crate) fn deliveries(&self, receiver: &str) -> Vec<Delivery> {
        let state = self.lock();
        let known = state.deliveries.get(receiver).into_iter().flatten();
        known.rev().cloned().collect()
    }

    /// Remembers how far a change of an application came.
    pub(crate) fn timed(&self, application: &ApplicationKey, delivery: &str, timing: &Timing) {
        let mut delivery = delivery.to_owned();
        cut(&mut delivery);
        let timed = Timed {
            delivery,
            timing: timing.clone(),
        };
        let mut state = self.lock();
        let known = state.timings.entry(application.clone()).or_default();
        let same = |it: &&mut Timed| {
            it.timing.revision == timing.revision && it.timing.received_at == timing.received_at
        };
        if let Some(before) = known.iter_mut().find(same) {
            *before = timed;
            return;
        }
        if known.len() >= TIMINGS {
            known.pop_front();
        }
        known.push_back(timed);
    }

    /// The last changes of an application, the newest first.
    pub(crate) fn timings(&self, application: &ApplicationKey) -> Vec<Timed> {
        let state = self.lock();
        let known = state.timings.get(application).into_iter().flatten();
        known.rev().cloned().collect()
    }

    /// Forgets an application that is gone.
    pub(crate) fn forget(&self, application: &ApplicationKey) {
        self.lock().timings.remove(application);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No longer than it may be, and nothing that is not text.
fn cut(text: &mut String) {
    if text.chars().count() > TEXT || text.chars().any(char::is_control) {
        *text = text
            .chars()
            .filter(|c| !c.is_control())
            .take(TEXT)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey {
            namespace: "trimtab".into(),
            name: name.into(),
        }
    }

    fn delivery(id: &str) -> Delivery {
        Delivery {
            receiver: "github".into(),
            id: id.into(),
            verdicts: vec![
                (key("a"), Verdict::Waiting),
                (key("b"), Verdict::OtherRevision),
            ],
            ..Delivery::default()
        }
    }

    #[test]
    fn a_verdict_is_given_once_and_to_its_delivery() {
        let journal = Journal::default();
        journal.delivered(delivery("1"));
        journal.delivered(delivery("2"));
        journal.judged("1", &key("a"), Verdict::Changed);
        journal.judged("1", &key("a"), Verdict::Unchanged);
        journal.judged("2", &key("b"), Verdict::Changed);
        let seen = journal.deliveries("github");
        let verdicts = |at: usize| [seen[at].verdicts[0].1, seen[at].verdicts[1].1];
        assert_eq!(verdicts(0), [Verdict::Waiting, Verdict::OtherRevision]);
        assert_eq!(verdicts(1), [Verdict::Changed, Verdict::OtherRevision]);
    }

    #[test]
    fn everything_is_bounded_and_plain() {
        let journal = Journal::default();
        for number in 0..DELIVERIES + 5 {
            journal.delivered(Delivery {
                verdicts: vec![(key("a"), Verdict::Waiting); VERDICTS + 3],
                reference: "r\u{1b}[31m".repeat(500),
                ..delivery(&number.to_string())
            });
        }
        let seen = journal.deliveries("github");
        assert_eq!(seen.len(), DELIVERIES);
        assert_eq!(seen[0].id, (DELIVERIES + 4).to_string());
        assert_eq!((seen[0].verdicts.len(), seen[0].more), (VERDICTS, 3));
        assert_eq!(seen[0].reference.chars().count(), TEXT);
        assert!(!seen[0].reference.contains('\u{1b}'));
        for number in 0..TIMINGS + 5 {
            let timing = Timing {
                revision: number.to_string(),
                ..Timing::default()
            };
            journal.timed(&key("a"), "d", &timing);
        }
        assert_eq!(journal.timings(&key("a")).len(), TIMINGS);
        journal.forget(&key("a"));
        assert!(journal.timings(&key("a")).is_empty());
        journal.set_receivers(Vec::new());
        assert!(journal.deliveries("github").is_empty());
    }

    #[test]
    fn the_stages_of_one_change_are_one_row() {
        let journal = Journal::default();
        let mut timing = Timing {
            revision: "1".into(),
            received_at: "t".into(),
            ..Timing::default()
        };
        journal.timed(&key("a"), "d", &timing);
        timing.healthy_ms = Some(9);
        journal.timed(&key("a"), "d", &timing);
        let seen = journal.timings(&key("a"));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].timing.healthy_ms, Some(9));
    }
}
