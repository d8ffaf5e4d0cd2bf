//! What all repositories of one host share: the questions that deliveries led to and that brought
//! nothing, and the pause that the host asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::object::rfc3339_after;

/// Questions that may bring nothing at once, ...
const BURST: u32 = 5;
/// ... and how often one more may after that.
const EACH: Duration = Duration::from_secs(1);
/// The longest that a host is left alone, whatever it says.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// So many at once, and one more each so often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    burst: u32,
    each: Duration,
    /// When all of it is there again.
    full: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant, burst: u32, each: Duration) -> Self {
        Self {
            burst,
            each,
            full: now,
        }
    }

    /// How long until there is one.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let rest = self.each * self.burst.saturating_sub(1);
        self.full
            .saturating_duration_since(now)
            .saturating_sub(rest)
    }

    /// Takes one, be it one that is only there after [`Budget::wait`].
    pub(super) fn spend(&mut self, now: Instant) {
        self.full = self.full.max(now) + self.each;
    }

    fn give_back(&mut self) {
        self.full = self.full.checked_sub(self.each).unwrap_or(self.full);
    }
}

/// One host, by name and port.
#[derive(Debug)]
pub(super) struct Forge(Mutex<State>);

#[derive(Debug)]
struct State {
    budget: Budget,
    closed_until: Option<Instant>,
}

impl Forge {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            budget: Budget::new(now, BURST, EACH),
            closed_until: None,
        }))
    }

    /// Takes a question that may bring nothing; says from when on it may be asked. Who comes later
    /// gets a later time, so that nobody is passed over.
    pub(super) fn reserve(&self, now: Instant) -> Instant {
        let budget = &mut self.state().budget;
        let at = now + budget.wait(now);
        budget.spend(now);
        at
    }

    /// A question that was taken brought something.
    pub(super) fn give_back(&self) {
        self.state().budget.give_back();
    }

    /// The host said how long it wants to be left alone.
    pub(super) fn close(&self, now: Instant, pause: Duration) {
        let until = now + pause.min(LONGEST);
        let closed = &mut self.state().closed_until;
        *closed = (*closed).max(Some(until));
    }

    /// How much longer the host wants to be left alone.
    pub(super) fn closed(&self, now: Instant) -> Duration {
        let until = self.state().closed_until;
        until.map_or(Duration::ZERO, |it| it.saturating_duration_since(now))
    }

    /// Why a host is not asked for so long.
    pub(super) fn says_why(closed: Duration) -> String {
        let until = rfc3339_after(Timestamp::now(), closed).unwrap_or_default();
        format!("the server asked to be left alone (Retry-After): it is asked again at {until}")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hosts whose repositories are followed.
#[derive(Debug, Default)]
pub(super) struct Forges(HashMap<String, Weak<Forge>>);

impl Forges {
    /// The host of this name and port.
    pub(super) fn at(&mut self, authority: &str) -> Arc<Forge> {
        if let Some(known) = self.0.get(authority).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, forge| forge.strong_count() > 0);
        let forge = Arc::new(Forge::new(Instant::now()));
        self.0.insert(authority.to_owned(), Arc::downgrade(&forge));
        forge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_has_a_time_of_its_own() {
        let start = Instant::now();
        let forge = Forge::new(start);
        let times = (0..8).map(|_| forge.reserve(start) - start);
        let times: Vec<_> = times.map(|it| it.as_secs()).collect();
        assert_eq!(times, [0, 0, 0, 0, 0, 1, 2, 3]);
        forge.give_back();
        assert_eq!(forge.reserve(start) - start, Duration::from_secs(3));
        // After a while of silence there is no more than the burst again.
        let later = start + Duration::from_secs(600);
        let free = (0..8).filter(|_| forge.reserve(later) == later);
        assert_eq!(free.count(), 5);
    }

    #[test]
    fn a_host_that_asks_for_a_pause_has_it() {
        let start = Instant::now();
        let forge = Forge::new(start);
        assert_eq!(forge.closed(start), Duration::ZERO);
        forge.close(start, Duration::from_secs(30));
        // A shorter one does not end it.
        forge.close(start, Duration::from_secs(1));
        assert_eq!(forge.closed(start), Duration::from_secs(30));
        let end = start + Duration::from_secs(30);
        assert_eq!(forge.closed(end), Duration::ZERO);
        forge.close(start, Duration::from_secs(1 << 40));
        assert_eq!(forge.closed(start), LONGEST);
    }

    #[test]
    fn one_host_is_one_forge_while_somebody_follows_it() {
        let mut forges = Forges::default();
        let first = forges.at("a:1");
        assert!(Arc::ptr_eq(&first, &forges.at("a:1")));
        drop(forges.at("a:2"));
        let _other = forges.at("b:1");
        assert_eq!(forges.0.len(), 2, "what nobody follows is forgotten");
    }
}
