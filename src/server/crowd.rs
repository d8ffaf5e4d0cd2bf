//! The connections of one listener, and which of them makes room when there are as many as there may
//! be: no crowd of slow peers keeps out a peer that has fewer connections than they.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::client::origin;

/// All connections of a listener.
pub(super) struct Crowd {
    most: usize,
    state: Mutex<State>,
    /// A connection ended.
    left: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    seats: BTreeMap<u64, Arc<Peer>>,
}

/// The other side of one connection.
pub(super) struct Peer {
    origin: IpAddr,
    /// It speaks for many: a proxy, or this machine.
    many: bool,
    /// It has said all of its request and waits for us; otherwise we wait for it.
    answered: AtomicBool,
    leaving: AtomicBool,
    leave: Notify,
}

/// One connection, counted as long as it is there.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    number: u64,
    address: IpAddr,
    peer: Arc<Peer>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Lets one more in, when there is room or as soon as somebody made room for it. None when its
    /// address has `own` connections already. A trusted proxy has those of many people, and so does
    /// this machine, where port-forwards end.
    pub(super) async fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        trusted: bool,
        own: usize,
    ) -> Option<Seat> {
        let many = trusted || address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
        let origin = origin(address);
        loop {
            let left = self.left.notified();
            {
                let mut state = self.lock();
                if !many && state.count(origin) >= own {
                    return None;
                }
                if state.seats.len() < self.most {
                    return Some(self.seat(&mut state, address, many));
                }
                state.make_room(origin);
            }
            left.await;
        }
    }

    fn seat(self: &Arc<Self>, state: &mut State, address: IpAddr, many: bool) -> Seat {
        let peer = Arc::new(Peer {
            origin: origin(address),
            many,
            answered: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
        });
        let number = state.next;
        state.next += 1;
        state.seats.insert(number, Arc::clone(&peer));
        Seat {
            crowd: Arc::clone(self),
            number,
            address,
            peer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&self, origin: IpAddr) -> usize {
        let seats = self.seats.values();
        seats.filter(|peer| peer.origin == origin).count()
    }

    /// Asks one connection to leave, unless one does so already.
    fn make_room(&self, newcomer: IpAddr) {
        let mut seats = self.seats.values();
        if seats.any(|peer| peer.leaving.load(Ordering::Relaxed)) {
            return;
        }
        // In the order of their arrival.
        let peers: Vec<&Arc<Peer>> = self.seats.values().collect();
        let shown: Vec<Shown> = peers
            .iter()
            .map(|peer| Shown {
                origin: peer.origin,
                many: peer.many,
                answered: peer.answered.load(Ordering::Relaxed),
            })
            .collect();
        if let Some(at) = yields(&shown, newcomer) {
            peers[at].leaving.store(true, Ordering::Relaxed);
            peers[at].leave.notify_one();
        }
    }
}

/// What counts of a connection when one must go.
#[derive(Clone, Copy)]
struct Shown {
    origin: IpAddr,
    many: bool,
    answered: bool,
}

/// Which of these, in the order of their arrival, makes room for one more. First one that we wait
/// for: of the address that has most of all, its oldest. Of those that wait for us only one whose
/// address would still have as many as the newcomer's. Who speaks for many goes after all others.
fn yields(all: &[Shown], newcomer: IpAddr) -> Option<usize> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for shown in all {
        *counts.entry(shown.origin).or_default() += 1;
    }
    let count = |origin| counts.get(&origin).copied().unwrap_or(0);
    let least = count(newcomer) + 1;
    let may = |shown: &Shown| !shown.answered || (!shown.many && count(shown.origin) > least);
    let candidates = all.iter().enumerate().filter(|(_, shown)| may(shown));
    let first = candidates.min_by_key(|(at, shown)| {
        let most = usize::MAX - count(shown.origin);
        (shown.answered, shown.many, most, *at)
    });
    first.map(|(at, _)| at)
}

impl Seat {
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Ends when it must make room.
    pub(super) async fn must_leave(&self) {
        self.peer.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.lock().seats.remove(&self.number);
        self.crowd.left.notify_waiters();
    }
}

impl Peer {
    /// All of its request is there.
    pub(super) fn has_asked(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// All of the answer is written.
    pub(super) fn has_answer(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` to `y` name addresses, a capital one that is answered; `z` speaks for many.
    fn shown(text: &str) -> Vec<Shown> {
        text.bytes()
            .map(|letter| Shown {
                origin: from(letter),
                many: letter.eq_ignore_ascii_case(&b'z'),
                answered: letter.is_ascii_uppercase(),
            })
            .collect()
    }

    fn from(letter: u8) -> IpAddr {
        [10, 0, 0, letter.to_ascii_lowercase()].into()
    }

    #[test]
    fn who_has_most_and_keeps_us_waiting_makes_room() {
        for (there, newcomer, expected) in [
            ("abbb", b'c', Some(1)),
            ("abab", b'c', Some(0)),
            // All have one: the oldest.
            ("abcd", b'e', Some(0)),
            // Its own, if nobody has more.
            ("abbb", b'b', Some(1)),
            // Those that are answered stay while we wait for somebody.
            ("aBBB", b'c', Some(0)),
            ("ABBB", b'c', Some(1)),
            // None has more than the newcomer would.
            ("AB", b'c', None),
            ("ABB", b'a', None),
            ("ABBB", b'a', Some(1)),
            // Who speaks for many goes last ...
            ("zzzza", b'c', Some(4)),
            ("zzzzA", b'c', Some(0)),
            // ... and is never cut off while it is answered.
            ("ZZZZ", b'c', None),
            ("ZZZZABB", b'c', Some(5)),
        ] {
            let found = yields(&shown(there), from(newcomer));
            let name = char::from(newcomer);
            assert_eq!(found, expected, "{there}, then {name}");
        }
    }

    #[tokio::test]
    async fn one_more_is_let_in_as_soon_as_one_left() {
        let crowd = Crowd::new(2);
        let slow = crowd.admit(from(b'a'), false, 2).await.unwrap();
        let _other = crowd.admit(from(b'a'), false, 2).await.unwrap();
        assert!(crowd.admit(from(b'a'), false, 2).await.is_none());
        let leaves = async {
            slow.must_leave().await;
            drop(slow);
        };
        let (admitted, ()) = tokio::join!(crowd.admit(from(b'b'), false, 2), leaves);
        assert!(admitted.is_some());
        assert_eq!(crowd.lock().seats.len(), 2);
    }
}
