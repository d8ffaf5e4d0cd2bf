//! How much work of one kind runs at once, with a share for each origin, a narrow lane for what used
//! up its time or memory before, and a place soon for what ended well the last time: neither a silent host nor
//! an endless chart nor one that fills its memory keeps others waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::places::{Place, Places};

/// How many may run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) all: usize,
    /// Of those that did not end well the last time, or never ran: they may have more while nobody
    /// else waits, and are asked for these places ([`Slot::recalled`]).
    pub(crate) unproven: usize,
    /// Of one origin.
    pub(crate) each: usize,
    /// Of those that used up their time or memory the last time.
    pub(crate) slow: usize,
}

/// Places for one kind of work. A clone shares them.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Inner>);

struct Inner {
    each: usize,
    places: Places,
    slow: Arc<Semaphore>,
    origins: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// How the work of a name ended the last time.
    endings: Mutex<HashMap<String, Ending>>,
}

/// More names than this are not remembered: the lanes are a help, not a judgement.
const MOST_ENDINGS: usize = 10_000;

/// How work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    Failed,
    /// It used up the time or the memory that it may have.
    Exhausted,
}

/// A place, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    name: String,
    is_proven: bool,
    place: Place,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Slot {
    /// Whether this work ended well the last time.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Comes to its end when others, who ended well the last time, wait for this place: the work is to
    /// be stopped then and done later. Never for most places.
    pub(crate) async fn recalled(&mut self) {
        self.place.recalled().await;
    }

    /// Gives the place back and notes how the work ended.
    pub(crate) fn end(self, ending: Ending) {
        self.slots.note(&self.name, ending);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    pub(crate) fn new(shares: Shares) -> Self {
        Self(Arc::new(Inner {
            each: shares.each,
            places: Places::new(shares.all, shares.unproven),
            slow: Arc::new(Semaphore::new(shares.slow)),
            origins: Mutex::default(),
            endings: Mutex::default(),
        }))
    }

    /// Waits for a place for the work of this name.
    ///
    /// The share of the origin comes first: who waits for that holds none of the places of all.
    pub(crate) async fn take(&self, origin: &str, name: &str) -> Slot {
        let before = lock(&self.0.endings).get(name).copied();
        let slow = before == Some(Ending::Exhausted);
        let lanes = [
            Some(self.share(origin)),
            slow.then(|| Arc::clone(&self.0.slow)),
        ];
        let mut permits = Vec::new();
        for lane in lanes.into_iter().flatten() {
            // None of them is ever closed.
            permits.extend(lane.acquire_owned().await.ok());
        }
        let is_proven = before == Some(Ending::Well);
        let place = self.0.places.take(is_proven).await;
        Slot {
            slots: self.clone(),
            name: name.to_owned(),
            is_proven,
            place,
            _permits: permits,
        }
    }

    /// Notes how work of a name ended.
    pub(crate) fn note(&self, name: &str, ending: Ending) {
        let mut endings = lock(&self.0.endings);
        if let Some(before) = endings.get_mut(name) {
            *before = ending;
        } else if endings.len() < MOST_ENDINGS {
            endings.insert(name.to_owned(), ending);
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
        unproven: 20,
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
            slots.take(name, name).await.end(Ending::Exhausted);
        }
        let mut held = Vec::new();
        for name in &late[1..] {
            held.push(slots.take(name, name).await);
        }
        assert!(!is_free(&slots, &late[0], &late[0]).await);
        assert!(is_free(&slots, "good", "good").await);
        // One that comes to its end in time is as good as the others again.
        held.pop().unwrap().end(Ending::Well);
        let back = slots.take(&late[0], &late[0]).await;
        assert!(is_free(&slots, &late[SHARES.slow], &late[SHARES.slow]).await);
        drop(back);
    }

    #[tokio::test]
    async fn what_ended_well_has_a_place_soon() {
        let slots = Slots::new(Shares {
            all: 2,
            unproven: 1,
            each: 1,
            slow: 1,
        });
        slots.take("good", "good").await.end(Ending::Well);
        slots.take("bad", "bad").await.end(Ending::Failed);
        let kept = slots.take("endless", "endless").await;
        let mut lent = slots.take("bad", "bad").await;
        assert!(!kept.is_proven() && !lent.is_proven());
        let stops = async {
            lent.recalled().await;
            lent.end(Ending::Failed);
        };
        let (good, ()) = tokio::join!(slots.take("good", "good"), stops);
        assert!(good.is_proven());
        drop(kept);
    }

    #[tokio::test]
    async fn origins_without_work_are_forgotten() {
        let slots = Slots::new(SHARES);
        for n in 0..100 {
            let name = n.to_string();
            slots.take(&name, &name).await.end(Ending::Well);
        }
        assert!(lock(&slots.0.origins).len() <= 2);
    }
}
