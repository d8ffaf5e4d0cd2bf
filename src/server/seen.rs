//! The deliveries that were seen lately, so that a replay costs nothing. Bounded in number and age.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

/// A digest and not the id itself: a sender may choose an id of many kilobytes.
type Key = [u8; 16];

pub(super) struct Seen {
    capacity: usize,
    memory: Duration,
    keys: HashSet<Key>,
    /// Oldest first.
    order: VecDeque<(Key, Instant)>,
}

impl Seen {
    pub(super) fn new(capacity: usize, memory: Duration) -> Self {
        Self {
            capacity,
            memory,
            keys: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Does `work` unless this delivery was done lately. One that fails may be tried again, and
    /// one without an id is always done. None for a replay.
    pub(super) fn once<E>(
        &mut self,
        receiver: &str,
        id: &str,
        now: Instant,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        if id.is_empty() {
            return Some(work());
        }
        self.forget(now);
        let key = key(receiver, id);
        if self.keys.contains(&key) {
            return None;
        }
        let done = work();
        if done.is_ok() {
            if self.order.len() >= self.capacity
                && let Some((oldest, _)) = self.order.pop_front()
            {
                self.keys.remove(&oldest);
            }
            self.keys.insert(key);
            self.order.push_back((key, now));
        }
        Some(done)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((key, since)) = self.order.front()
            && now.saturating_duration_since(*since) >= self.memory
        {
            self.keys.remove(key);
            self.order.pop_front();
        }
    }
}

fn key(receiver: &str, id: &str) -> Key {
    let mut hasher = Sha256::new();
    hasher.update(receiver);
    // Not part of any receiver's name.
    hasher.update([0]);
    hasher.update(id);
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Whether the work was done.
    fn once(seen: &mut Seen, receiver: &str, id: &str, now: Instant) -> bool {
        seen.once(receiver, id, now, || Ok::<_, ()>(())).is_some()
    }

    #[test]
    fn a_delivery_is_done_once_per_receiver() {
        let (mut seen, now) = (Seen::new(10, HOUR), Instant::now());
        assert!(once(&mut seen, "a", "1", now));
        assert!(!once(&mut seen, "a", "1", now));
        assert!(once(&mut seen, "b", "1", now));
        assert!(once(&mut seen, "a", "2", now));
    }

    #[test]
    fn without_an_id_every_delivery_is_done() {
        let (mut seen, now) = (Seen::new(10, HOUR), Instant::now());
        assert!(once(&mut seen, "a", "", now));
        assert!(once(&mut seen, "a", "", now));
    }

    #[test]
    fn a_delivery_that_failed_may_come_again() {
        let (mut seen, now) = (Seen::new(10, HOUR), Instant::now());
        assert_eq!(seen.once("a", "1", now, || Err("full")), Some(Err("full")));
        assert!(once(&mut seen, "a", "1", now));
    }

    #[test]
    fn number_and_age_are_bounded() {
        let (mut seen, now) = (Seen::new(2, HOUR), Instant::now());
        for id in ["1", "2", "3"] {
            assert!(once(&mut seen, "a", id, now));
        }
        assert_eq!((seen.keys.len(), seen.order.len()), (2, 2));
        assert!(once(&mut seen, "a", "1", now), "the oldest was forgotten");
        assert!(!once(&mut seen, "a", "3", now));
        assert!(once(&mut seen, "a", "3", now + HOUR), "it is too old");
        assert_eq!(seen.keys.len(), 1);
    }
}
