//! How often somebody may do something: a bucket for each, filled at a steady rate. The table is
//! bounded; whoever has not been seen for a while has a full bucket and needs no place in it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Buckets at a time.
const MOST: usize = 10_000;

/// A bucket for each of many.
pub(crate) struct Rates<K> {
    /// What flows into a bucket in a second.
    per_second: f64,
    /// What a bucket holds.
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl<K: Eq + Hash> Rates<K> {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.into(),
            burst: burst.into(),
            buckets: Mutex::default(),
        }
    }

    /// Takes one out of a bucket; false when it is empty.
    pub(crate) fn take(&self, key: K, now: Instant) -> bool {
        let mut buckets = self.lock();
        let level = self.level(buckets.get(&key), now);
        if level < 1.0 {
            return false;
        }
        if buckets.len() >= MOST && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.level(Some(bucket), now) < self.burst);
        }
        // A table full of those who take too much: whoever is new is let in and not counted.
        if buckets.len() < MOST || buckets.contains_key(&key) {
            // Those who ask side by side come in any order; no moment fills a bucket twice.
            let at = buckets.get(&key).map_or(now, |bucket| bucket.at.max(now));
            let level = level - 1.0;
            buckets.insert(key, Bucket { level, at });
        }
        true
    }

    /// Puts back what was taken for something that turned out to be no reason to.
    pub(crate) fn give_back(&self, key: &K) {
        if let Some(bucket) = self.lock().get_mut(key) {
            bucket.level = (bucket.level + 1.0).min(self.burst);
        }
    }

    /// Whether there is something in a bucket.
    pub(crate) fn has(&self, key: &K, now: Instant) -> bool {
        self.level(self.lock().get(key), now) >= 1.0
    }

    fn level(&self, bucket: Option<&Bucket>, now: Instant) -> f64 {
        bucket.map_or(self.burst, |bucket| {
            let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
            (bucket.level + filled).min(self.burst)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_for_each_alone() {
        let rates = Rates::new(10, 3);
        let now = Instant::now();
        let taken = (0..5).filter(|_| rates.take("a", now)).count();
        assert_eq!(taken, 3);
        assert!(!rates.has(&"a", now) && rates.has(&"b", now));
        assert!(rates.take("b", now));
        rates.give_back(&"a");
        assert!(rates.take("a", now) && !rates.take("a", now));
        let later = now + Duration::from_millis(100);
        assert!(rates.take("a", later) && !rates.take("a", later));
        let late = (0..5)
            .filter(|_| rates.take("a", now) || rates.take("a", later))
            .count();
        assert_eq!(late, 0, "no moment fills it twice");
        let much_later = now + Duration::from_secs(60);
        let taken = (0..5).filter(|_| rates.take("a", much_later)).count();
        assert_eq!(taken, 3, "no more than a bucket holds");
    }

    #[test]
    fn the_table_is_bounded() {
        let rates = Rates::new(1, 2);
        let now = Instant::now();
        for number in 0..MOST + 10 {
            assert!(rates.take(number, now), "whoever is new is let in");
        }
        assert_eq!(rates.lock().len(), MOST);
        let later = now + Duration::from_secs(2);
        assert!(rates.take(usize::MAX, later));
        assert_eq!(rates.lock().len(), 1, "full buckets go");
    }
}
