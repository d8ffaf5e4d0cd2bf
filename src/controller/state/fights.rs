//! How often objects were repaired, and which repairs were given up.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::object::ResourceKey;

/// More repairs of one object than this ...
pub(in crate::controller) const REPAIRS: usize = 20;
/// ... in this time are a fight.
pub(in crate::controller) const WINDOW: Duration = Duration::from_mins(5);

/// How often each object was repaired, and which fights are given up.
#[derive(Default)]
pub(in crate::controller) struct Fights {
    repairs: HashMap<ResourceKey, Vec<Instant>>,
    /// What is left alone until the next desired state or sync, and why.
    pub(in crate::controller) given_up: HashMap<ResourceKey, String>,
    pub(in crate::controller) desired: String,
}

impl Fights {
    /// What is left alone, and why.
    pub(in crate::controller) fn given_up(&self) -> impl Iterator<Item = (&ResourceKey, &str)> {
        self.given_up.iter().map(|(key, why)| (key, why.as_str()))
    }

    /// Forgets all: somebody asks for a sync.
    pub(in crate::controller) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Counts a repair that was made.
    pub(in crate::controller) fn repaired(&mut self, key: &ResourceKey, now: Instant) {
        let repairs = self.repairs.entry(key.clone()).or_default();
        repairs.retain(|at| now.duration_since(*at) < WINDOW);
        repairs.push(now);
    }

    /// Whether an object was repaired so often that another repair would be one too many.
    pub(in crate::controller) fn is_fought_over(&self, key: &ResourceKey, now: Instant) -> bool {
        let repairs = self.repairs.get(key).into_iter().flatten();
        let recent = repairs.filter(|at| now.duration_since(**at) < WINDOW);
        recent.count() >= REPAIRS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_repairs_in_a_short_time_are_a_fight() {
        let key = ResourceKey::parse("/ConfigMap:shop/a").unwrap();
        let start = Instant::now();
        let mut fights = Fights::default();
        for n in 0..REPAIRS {
            let now = start + Duration::from_secs(n as u64);
            assert!(!fights.is_fought_over(&key, now), "{n}");
            fights.repaired(&key, now);
        }
        assert!(fights.is_fought_over(&key, start + Duration::from_secs(60)));
        assert!(!fights.is_fought_over(&key, start + WINDOW + WINDOW));
        let mut fights = Fights::default();
        for n in 0..10 * REPAIRS {
            let now = start + Duration::from_secs(60 * n as u64);
            fights.repaired(&key, now);
            assert!(!fights.is_fought_over(&key, now), "seldom enough: {n}");
        }
    }
}
