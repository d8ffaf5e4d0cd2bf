//! The memory for bodies on their way. What really arrived is counted, not what is announced, and
//! when it is used up the body of the address that has most gives way: half bodies of a crowd never
//! keep out a delivery of ordinary size.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Bytes that all bodies together may have.
pub(super) struct Budget {
    most: usize,
    state: Mutex<State>,
    /// Memory was given back.
    freed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    bodies: BTreeMap<u64, Body>,
}

/// What is known of one body.
struct Body {
    /// Whose it is; none in a test that has no clients.
    client: Option<IpAddr>,
    bytes: usize,
    stage: Stage,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It grows, as its sender likes.
    Arriving,
    /// It is there, and out of memory in a moment.
    Whole,
    /// It was asked to give way.
    Leaving,
}

/// The share of one body, given back when it is dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    number: u64,
    leave: Arc<Notify>,
}

/// This body must give way to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivesWay;

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A body of which nothing is there yet.
    pub(super) fn share(self: &Arc<Self>, client: Option<IpAddr>) -> Share {
        let leave = Arc::new(Notify::new());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let body = Body {
            client,
            bytes: 0,
            stage: Stage::Arriving,
            leave: Arc::clone(&leave),
        };
        state.bodies.insert(number, body);
        Share {
            budget: Arc::clone(self),
            number,
            leave,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes so many bytes more, if need be when another body has given way.
    pub(super) async fn grow(&self, more: usize) -> Result<(), GivesWay> {
        loop {
            let freed = self.budget.freed.notified();
            {
                let mut state = self.budget.lock();
                match step(&state.bodies, self.number, more, self.budget.most) {
                    Step::Grow => {
                        if let Some(body) = state.bodies.get_mut(&self.number) {
                            body.bytes += more;
                        }
                        return Ok(());
                    }
                    Step::GiveWay => return Err(GivesWay),
                    Step::Wait => {}
                    Step::Cut(other) => {
                        if let Some(body) = state.bodies.get_mut(&other) {
                            body.stage = Stage::Leaving;
                            body.leave.notify_one();
                        }
                    }
                }
            }
            freed.await;
        }
    }

    /// Nothing more comes: it stays until it is dropped.
    pub(super) fn is_whole(&self) {
        if let Some(body) = self.budget.lock().bodies.get_mut(&self.number) {
            body.stage = Stage::Whole;
        }
    }

    /// Ends when it must give way.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().bodies.remove(&self.number);
        self.budget.freed.notify_waiters();
    }
}

/// What a body does that wants to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Grow,
    /// Others leave, or will in a moment.
    Wait,
    /// This other one must leave.
    Cut(u64),
    GiveWay,
}

/// Of the bodies that arrive the largest of the client that has most gives way, the oldest of
/// several.
fn step(bodies: &BTreeMap<u64, Body>, own: u64, more: usize, most: usize) -> Step {
    let sum = |wanted: fn(Stage) -> bool| -> usize {
        let bodies = bodies.values().filter(|body| wanted(body.stage));
        bodies.map(|body| body.bytes).sum()
    };
    if sum(|_| true) + more <= most {
        return Step::Grow;
    }
    if sum(|stage| stage == Stage::Arriving) + more <= most {
        return Step::Wait;
    }
    // As if it had grown already: it shall not push out those that have less than it would.
    let bytes = |(number, body): (&u64, &Body)| body.bytes + if *number == own { more } else { 0 };
    let arriving = || {
        let bodies = bodies.iter();
        bodies.filter(|(_, body)| body.stage == Stage::Arriving)
    };
    let mut shares: HashMap<Option<IpAddr>, usize> = HashMap::new();
    for (number, body) in arriving() {
        *shares.entry(body.client).or_default() += bytes((number, body));
    }
    let largest = arriving().max_by_key(|(number, body)| {
        let share = shares.get(&body.client).copied().unwrap_or(0);
        (share, bytes((number, body)), u64::MAX - *number)
    });
    match largest {
        Some((number, _)) if *number != own => Step::Cut(*number),
        _ => Step::GiveWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(client: u8, bytes: usize, stage: Stage) -> Body {
        Body {
            client: Some([10, 0, 0, client].into()),
            bytes,
            stage,
            leave: Arc::default(),
        }
    }

    #[test]
    fn the_largest_of_who_has_most_gives_way() {
        use Stage::{Arriving, Leaving, Whole};
        use Step::{Cut, GiveWay, Grow, Wait};
        // The first wants 10 more of 100.
        for (bodies, expected) in [
            (vec![(1, 0, Arriving), (2, 90, Arriving)], Grow),
            (vec![(1, 0, Arriving), (2, 91, Arriving)], Cut(1)),
            (vec![(1, 91, Arriving)], GiveWay),
            (
                vec![
                    (1, 40, Arriving),
                    (2, 30, Arriving),
                    (3, 5, Arriving),
                    (3, 20, Arriving),
                ],
                GiveWay,
            ),
            // Two of one client are more than one of another; of equals the older goes.
            (
                vec![
                    (1, 20, Arriving),
                    (2, 32, Arriving),
                    (3, 20, Arriving),
                    (3, 20, Arriving),
                ],
                Cut(2),
            ),
            // One that leaves or is whole makes room in a moment, and is not asked.
            (
                vec![(1, 40, Arriving), (2, 30, Leaving), (3, 30, Arriving)],
                Wait,
            ),
            (vec![(1, 40, Arriving), (2, 60, Whole)], Wait),
            (
                vec![(1, 4, Arriving), (2, 10, Whole), (3, 87, Arriving)],
                Cut(2),
            ),
        ] {
            let shown: Vec<_> = bodies.clone();
            let bodies = bodies
                .into_iter()
                .map(|(client, bytes, stage)| body(client, bytes, stage));
            let bodies = (0..).zip(bodies).collect();
            assert_eq!(step(&bodies, 0, 10, 100), expected, "{shown:?}");
        }
    }

    #[tokio::test]
    async fn who_gives_way_makes_room() {
        let budget = Budget::new(100);
        let slow = budget.share(Some([10, 0, 0, 1].into()));
        slow.grow(90).await.unwrap();
        let small = budget.share(Some([10, 0, 0, 2].into()));
        let leaves = async {
            slow.must_leave().await;
            drop(slow);
        };
        let (grown, ()) = tokio::join!(small.grow(20), leaves);
        assert_eq!(grown, Ok(()));
        assert_eq!(small.grow(81).await, Err(GivesWay));
        small.is_whole();
        let other = budget.share(Some([10, 0, 0, 3].into()));
        let done = async { drop(small) };
        let (grown, ()) = tokio::join!(other.grow(90), done);
        assert_eq!(grown, Ok(()));
    }
}
