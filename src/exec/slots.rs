//! How much work of one kind runs at once, with a share for each origin and a narrow lane for what
//! ran out of time before: neither a silent host nor an endless chart keeps others waiting.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) all: usize,
    /// Of one origin.
    pub(crate) each: usize,
    /// Of those that ran out of time the last time.
    pub(crate) slow: usize,
}

/// Places for one kind of work. A clone shares them.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Inner>);

struct Inner {
    each: usize,
    all: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    origins: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Work that ran out of time the last time, by name.
    late: Mutex<HashSet<String>>,
}

/// More names than this are not remembered: the lane is a help, not a judgement.
const MOST_LATE: usize = 10_000;

/// A place, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    name: String,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Slot {
    /// Gives the place back and notes whether the work ran out of time.
    pub(crate) fn end(self, late: bool) {
        let mut names = lock(&self.slots.0.late);
        if !late {
            names.remove(&self.name);
        } else if names.len() < MOST_LATE {
            names.insert(self.name.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    pub(crate) fn new(shares: Shares) -> Self {
        Self(Arc::new(Inner {
            each: shares.each,
            all: Arc::new(Semaphore::new(shares.all)),
            slow: Arc::new(Semaphore::new(shares.slow)),
            origins: Mutex::default(),
            late: Mutex::default(),
        }))
    }

    /// Waits for a place for the work of this name.
    ///
    /// The share of the origin comes first: who waits for that holds none of the places of all.
    pub(crate) async fn take(&self, origin: &str, name: &str) -> Slot {
        let slow = lock(&self.0.late).contains(name);
        let lanes = [
            Some(self.share(origin)),
            slow.then(|| Arc::clone(&self.0.slow)),
            Some(Arc::clone(&self.0.all)),
        ];
        let mut permits = Vec::new();
        for lane in lanes.into_iter().flatten() {
            // None of them is ever closed.
            permits.extend(lane.acquire_owned().await.ok());
        }
        Slot {
            slots: self.clone(),
            name: name.to_owned(),
            _permits: permits,
        }
    }

    /// The share of an origin. Origins without work are forgotten.
    fn share(&self, origin: &str) -> Arc<Semaphore> {
        let mut origins = lock(&self.0.origins);
        if let Some(share) = origins.get(origin) {
            return Arc::clone(share);
        }
        origins.retain(|_, share| Arc::strong_count(share) > 1);
        let share = Arc::new(Semaphore::new(self.0.each));
        origins.insert(origin.to_owned(), Arc::clone(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SHARES: Shares = Shares {
        all: 20,
        each: 3,
        slow: 4,
    };

    async fn is_free(slots: &Slots, origin: &str, name: &str) -> bool {
        let taken = tokio::time::timeout(Duration::from_millis(20), slots.take(origin, name));
        taken.await.is_ok()
    }

    #[tokio::test]
    async fn an_origin_has_its_share_only() {
        let slots = Slots::new(SHARES);
        let mut held = Vec::new();
        for n in 0..SHARES.each {
            held.push(slots.take("silent", &n.to_string()).await);
        }
        assert!(!is_free(&slots, "silent", "x").await);
        assert!(is_free(&slots, "other", "x").await);
        held.pop();
        assert!(is_free(&slots, "silent", "x").await);
    }

    #[tokio::test]
    async fn what_ran_out_of_time_leaves_places_to_the_others() {
        let slots = Slots::new(SHARES);
        let late: Vec<_> = (0..=SHARES.slow).map(|n| format!("late-{n}")).collect();
        for name in &late {
            slots.take(name, name).await.end(true);
        }
        let mut held = Vec::new();
        for name in &late[1..] {
            held.push(slots.take(name, name).await);
        }
        assert!(!is_free(&slots, &late[0], &late[0]).await);
        assert!(is_free(&slots, "good", "good").await);
        // One that comes to its end in time is as good as the others again.
        held.pop().unwrap().end(false);
        let back = slots.take(&late[0], &late[0]).await;
        assert!(is_free(&slots, &late[SHARES.slow], &late[SHARES.slow]).await);
        drop(back);
    }

    #[tokio::test]
    async fn origins_without_work_are_forgotten() {
        let slots = Slots::new(SHARES);
        for n in 0..100 {
            let name = n.to_string();
            slots.take(&name, &name).await.end(false);
        }
        assert!(lock(&slots.0.origins).len() <= 2);
    }
}
