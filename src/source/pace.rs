//! How often a repository is asked, whatever deliveries say: questions that bring something new are
//! free, questions that bring nothing are few, for a repository and for its host.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::forge::{Budget, Forge};

/// Questions to one repository that may bring nothing at once, and how often one more may after that.
const OWN: (u32, Duration) = (5, Duration::from_secs(1));
/// The same for deliveries that named a commit which is not there: they wait for nobody, so that a
/// push is not kept waiting by deliveries about other repositories, and few may do so in vain.
const PROMISES: (u32, Duration) = (3, Duration::from_secs(20));
/// How long after a push that was not there yet it is asked for again, time by time: a forge may
/// tell of a commit before its servers show it.
const AGAIN: [u64; 6] = [1, 2, 4, 8, 15, 30];
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(180);

/// Why the next question is asked. With neither, deliveries alone lead to it, and none of them names
/// a commit that is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reasons {
    /// It would be asked without any delivery: the interval passed, or a person or an application asks.
    pub(super) regular: bool,
    /// A delivery names a commit that is not here.
    pub(super) promise: bool,
}

/// The questions to one repository.
#[derive(Debug)]
pub(super) struct Pace {
    forge: Arc<Forge>,
    own: Budget,
    promises: Budget,
    /// When the host has room for the question that waits.
    slot: Option<Instant>,
    /// How often it was asked for what a push promised.
    again: usize,
}

impl Pace {
    pub(super) fn new(now: Instant, forge: Arc<Forge>) -> Self {
        Self {
            forge,
            own: Budget::new(now, OWN.0, OWN.1),
            promises: Budget::new(now, PROMISES.0, PROMISES.1),
            slot: None,
            again: AGAIN.len(),
        }
    }

    /// How long the next question has to wait.
    pub(super) fn wait(&mut self, now: Instant, reasons: Reasons) -> Duration {
        let wait = if reasons.promise && self.promises.wait(now).is_zero() {
            Duration::ZERO
        } else if reasons.regular {
            self.own.wait(now)
        } else {
            let slot = *self.slot.get_or_insert_with(|| self.forge.reserve(now));
            let slot = slot.saturating_duration_since(now);
            self.own.wait(now).max(slot)
        };
        wait.max(self.forge.closed(now))
    }

    /// Notes a question, and whether it brought anything new.
    pub(super) fn asked(&mut self, now: Instant, reasons: Reasons, news: bool) {
        let slot = self.slot.take();
        if news {
            if slot.is_some() {
                self.forge.give_back();
            }
            self.again = AGAIN.len();
            return;
        }
        self.own.spend(now);
        if reasons.promise && self.promises.wait(now).is_zero() {
            self.promises.spend(now);
        }
        if !reasons.regular && slot.is_none() {
            // Others wait for it.
            self.forge.reserve(now);
        }
    }

    /// Something that a push promised was not there.
    pub(super) fn is_missing(&mut self) {
        self.again = 0;
    }

    /// When to ask again for what a push promised and was not there; none when nothing is missing.
    pub(super) fn again(&mut self) -> Option<Duration> {
        let seconds = AGAIN.get(self.again)?;
        self.again += 1;
        Some(Duration::from_secs(*seconds))
    }
}

/// 5 s, 10 s, ... up to [`LONGEST_PAUSE`].
pub(super) fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(5)
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap() {
        let pauses: Vec<_> = (1..=8).map(|n| pause_after(n).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 180, 180]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    const DELIVERED: Reasons = Reasons {
        regular: false,
        promise: false,
    };
    const PROMISED: Reasons = Reasons {
        regular: false,
        promise: true,
    };
    const REGULAR: Reasons = Reasons {
        regular: true,
        promise: false,
    };

    fn paces(now: Instant, count: usize) -> Vec<Pace> {
        let forge = Arc::new(Forge::new(now));
        let pace = || Pace::new(now, Arc::clone(&forge));
        std::iter::repeat_with(pace).take(count).collect()
    }

    /// How many questions so many repositories of one host are asked in a minute, in which deliveries
    /// without news never end.
    fn storm(repositories: usize, reasons: Reasons) -> usize {
        let start = Instant::now();
        let mut paces = paces(start, repositories);
        let mut asked = 0;
        for tenth in 0..600 {
            let now = start + Duration::from_millis(100) * tenth;
            for pace in &mut paces {
                if pace.wait(now, reasons).is_zero() {
                    pace.asked(now, reasons, false);
                    asked += 1;
                }
            }
        }
        asked
    }

    #[test]
    fn a_storm_without_news_is_one_question_a_second_to_a_host() {
        for (repositories, reasons, least, most) in [
            (1, DELIVERED, 60, 66),
            (20, DELIVERED, 60, 66),
            // Without deliveries each has its own share, and nobody else's.
            (1, REGULAR, 60, 66),
            (20, REGULAR, 20 * 60, 20 * 66),
            // A forge whose deliveries name what is never there is trusted a little.
            (20, PROMISED, 20 * 5, 20 * 7 + 66),
        ] {
            let asked = storm(repositories, reasons);
            assert!(
                (least..=most).contains(&asked),
                "{repositories} repositories, {reasons:?}: {asked} questions in a minute"
            );
        }
    }

    #[test]
    fn a_storm_over_others_keeps_no_push_waiting() {
        let start = Instant::now();
        let mut paces = paces(start, 20);
        for pace in &mut paces[1..] {
            if pace.wait(start, DELIVERED).is_zero() {
                pace.asked(start, DELIVERED, false);
            }
        }
        let pushed = &mut paces[0];
        // What names no commit that is new waits with the others, until its interval is over ...
        assert_eq!(pushed.wait(start, DELIVERED), Duration::from_secs(15));
        assert_eq!(pushed.wait(start, REGULAR), Duration::ZERO);
        // ... and what names one does not.
        for _ in 0..1000 {
            assert_eq!(pushed.wait(start, PROMISED), Duration::ZERO);
            pushed.asked(start, PROMISED, true);
        }
    }

    #[test]
    fn what_brought_something_costs_others_nothing() {
        let start = Instant::now();
        let mut paces = paces(start, 2);
        for _ in 0..100 {
            assert_eq!(paces[0].wait(start, DELIVERED), Duration::ZERO);
            paces[0].asked(start, DELIVERED, true);
        }
        assert_eq!(paces[1].wait(start, DELIVERED), Duration::ZERO);
    }

    #[test]
    fn what_a_push_promised_is_asked_for_during_a_minute() {
        let start = Instant::now();
        let mut pace = paces(start, 1).remove(0);
        assert_eq!(pace.again(), None);
        pace.is_missing();
        let mut all = Vec::new();
        while let Some(pause) = pace.again() {
            all.push(pause.as_secs());
            pace.asked(start, DELIVERED, false);
        }
        assert_eq!(all, AGAIN);
        pace.is_missing();
        assert!(pace.again().is_some());
        pace.asked(start, DELIVERED, true);
        assert_eq!(pace.again(), None);
    }

    #[test]
    fn a_pause_of_the_host_holds_for_all_its_repositories_and_reasons() {
        let start = Instant::now();
        let mut paces = paces(start, 2);
        let pause = Duration::from_secs(30);
        paces[0].forge.close(start, pause);
        for reasons in [REGULAR, PROMISED, DELIVERED] {
            assert_eq!(paces[1].wait(start, reasons), pause, "{reasons:?}");
            assert_eq!(paces[1].wait(start + pause, reasons), Duration::ZERO);
        }
    }
}
