//! Places for work of which some is known to be quick and some is not. What is not known keeps a part
//! of the places; it may have the others while nobody else wants them, and is asked for them back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// How long known work waits before a place that is lent is asked for: most come back by themselves.
const GRACE: Duration = Duration::from_millis(30);

/// A number of places. A clone shares them.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<State>>);

struct State {
    /// Places that nobody has.
    free: usize,
    /// Places that unknown work may still keep until it is done.
    keepable: usize,
    /// Places that unknown work has to give back when it is asked, the longest held first.
    lent: VecDeque<Lent>,
    known: VecDeque<Waiter>,
    unknown: VecDeque<Waiter>,
    /// Counts those who asked and the places that were lent.
    next: u64,
}

struct Waiter {
    number: u64,
    ready: oneshot::Sender<Place>,
}

struct Lent {
    number: u64,
    /// None once it was asked for.
    recall: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Known,
    Unknown { number: u64 },
}

/// A place, until it is dropped.
pub(super) struct Place {
    places: Places,
    kind: Kind,
    recalled: Option<oneshot::Receiver<()>>,
}

impl Place {
    /// Comes to its end when the place is asked for, and never for a place that may be kept.
    pub(super) async fn recalled(&mut self) {
        let asked = match &mut self.recalled {
            Some(recalled) => recalled.await.is_ok(),
            None => false,
        };
        if !asked {
            // One that may be kept after all has nobody left who could ask for it.
            self.recalled = None;
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.kind);
    }
}

impl Places {
    /// `all` places, of which unknown work may keep `kept`.
    pub(super) fn new(all: usize, kept: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: all,
            keepable: kept.min(all),
            lent: VecDeque::new(),
            known: VecDeque::new(),
            unknown: VecDeque::new(),
            next: 0,
        })))
    }

    /// Waits for a place. Work that is known to be quick has one soon, whatever the rest does.
    pub(super) async fn take(&self, is_known: bool) -> Place {
        let (ready, mut granted) = oneshot::channel();
        {
            let mut state = self.lock();
            let number = state.count();
            let waiter = Waiter { number, ready };
            if is_known {
                state.known.push_back(waiter);
            } else {
                state.unknown.push_back(waiter);
            }
        }
        self.grant();
        loop {
            match tokio::time::timeout(GRACE, &mut granted).await {
                Ok(Ok(place)) => return place,
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) if is_known => self.lock().recall(),
                Err(_) => {
                    if let Ok(place) = (&mut granted).await {
                        return place;
                    }
                }
            }
        }
    }

    /// Hands out what is free. Those who gave up meanwhile are passed over.
    fn grant(&self) {
        loop {
            // Outside of the lock: a place that nobody takes any more comes back at once.
            let Some((waiter, kind, recalled)) = self.lock().next_one() else {
                return;
            };
            let place = Place {
                places: self.clone(),
                kind,
                recalled,
            };
            drop(waiter.ready.send(place));
        }
    }

    fn give_back(&self, kind: Kind) {
        {
            let mut state = self.lock();
            state.free += 1;
            if let Kind::Unknown { number } = kind {
                match state.lent.iter().position(|lent| lent.number == number) {
                    Some(at) => drop(state.lent.remove(at)),
                    None => state.keep_one(),
                }
            }
        }
        self.grant();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A place that may be kept is free: the one lent first is kept from now on.
    fn keep_one(&mut self) {
        match self.lent.iter().position(|lent| lent.recall.is_some()) {
            Some(at) => drop(self.lent.remove(at)),
            None => self.keepable += 1,
        }
    }

    /// Asks for the place that is lent longest.
    fn recall(&mut self) {
        let recall = self.lent.iter_mut().find_map(|lent| lent.recall.take());
        if let Some(recall) = recall {
            // One that is given back just now need not be asked for.
            recall.send(()).ok();
        }
    }

    /// Who has a free place next: in the order of asking, and the known first where the unknown
    /// would have to give it back.
    fn next_one(&mut self) -> Option<(Waiter, Kind, Option<oneshot::Receiver<()>>)> {
        if self.free == 0 {
            return None;
        }
        let number = |queue: &VecDeque<Waiter>| queue.front().map(|waiter| waiter.number);
        let (known, unknown) = (number(&self.known), number(&self.unknown));
        let takes_unknown = match (known, unknown) {
            (Some(known), Some(unknown)) => self.keepable > 0 && unknown < known,
            (known, _) => known.is_none(),
        };
        if !takes_unknown {
            let waiter = self.known.pop_front()?;
            self.free -= 1;
            return Some((waiter, Kind::Known, None));
        }
        let waiter = self.unknown.pop_front()?;
        self.free -= 1;
        let number = waiter.number;
        let mut recalled = None;
        if self.keepable > 0 {
            self.keepable -= 1;
        } else {
            let (recall, asked) = oneshot::channel();
            recalled = Some(asked);
            self.lent.push_back(Lent {
                number,
                recall: Some(recall),
            });
        }
        Some((waiter, Kind::Unknown { number }, recalled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn soon<T>(work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(200), work)
            .await
            .ok()
    }

    #[tokio::test]
    async fn what_is_lent_is_asked_for_and_what_is_kept_is_not() {
        let places = Places::new(2, 1);
        let mut kept = places.take(false).await;
        let mut lent = places.take(false).await;
        assert!(soon(lent.recalled()).await.is_none());
        let (known, ()) = tokio::join!(soon(places.take(true)), async {
            assert!(soon(lent.recalled()).await.is_some());
            assert!(soon(kept.recalled()).await.is_none());
        });
        assert!(known.is_none(), "it is not taken away by force");
        let (known, ()) = tokio::join!(soon(places.take(true)), async { drop(lent) });
        assert!(known.is_some());
    }

    #[tokio::test]
    async fn the_known_come_first_where_a_place_would_be_lent() {
        let places = Places::new(2, 1);
        let (kept, lent) = (places.take(false).await, places.take(false).await);
        let unknown = soon(places.take(false));
        let known = soon(places.take(true));
        let freed = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(lent);
        };
        let (unknown, known, ()) = tokio::join!(unknown, known, freed);
        assert!(unknown.is_none());
        assert!(known.is_some());
        drop(kept);
    }

    #[tokio::test]
    async fn the_unknown_have_their_part_while_many_known_wait() {
        let places = Places::new(2, 1);
        let first = places.take(true).await;
        let second = places.take(true).await;
        let unknown = soon(places.take(false));
        let known = soon(places.take(true));
        let freed = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(first);
        };
        let (unknown, known, ()) = tokio::join!(unknown, known, freed);
        assert!(unknown.is_some(), "it asked first, and may keep one");
        assert!(known.is_none());
        drop(second);
    }

    #[tokio::test]
    async fn what_was_lent_is_kept_once_the_other_is_done() {
        let places = Places::new(2, 1);
        let kept = places.take(false).await;
        let mut lent = places.take(false).await;
        drop(kept);
        let known = places.take(true).await;
        let (none, asked) = tokio::join!(soon(places.take(true)), soon(lent.recalled()));
        assert!(none.is_none());
        assert!(asked.is_none(), "it may be kept now");
        drop((known, lent));
    }

    #[tokio::test]
    async fn one_that_gives_up_leaves_its_place_to_the_next() {
        let places = Places::new(1, 1);
        let held = places.take(false).await;
        assert!(soon(places.take(false)).await.is_none());
        drop(held);
        for is_known in [false, true, false] {
            assert!(soon(places.take(is_known)).await.is_some());
        }
        let state = places.lock();
        assert_eq!((state.free, state.keepable), (1, 1));
        assert!(state.lent.is_empty());
    }
}
