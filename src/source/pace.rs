//! How often a forge is asked, whatever deliveries say: questions that bring something new are free,
//! questions that bring nothing are few.

use std::time::{Duration, Instant};

/// Questions that may bring nothing at once, ...
const BURST: f64 = 5.0;
/// ... and how often one more may after that.
const EACH: Duration = Duration::from_secs(1);
/// How long after a push that was not there yet it is asked for again, time by time: a forge may
/// tell of a commit before its servers show it.
const AGAIN: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// The questions to one repository.
#[derive(Debug)]
pub(super) struct Pace {
    /// Questions that are left.
    left: f64,
    at: Instant,
    /// How often it was asked for what a push promised.
    again: usize,
    /// The forge asked to be left alone until then.
    closed_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
            again: AGAIN.len(),
            closed_until: None,
        }
    }

    /// How long the next question has to wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        self.left = (self.left + passed.as_secs_f64() / EACH.as_secs_f64()).min(BURST);
        self.at = now;
        let missing = (1.0 - self.left).max(0.0);
        let closed = self
            .closed_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        EACH.mul_f64(missing).max(closed)
    }

    /// Notes a question, whether it brought anything new, and whether a push asked for it.
    pub(super) fn asked(&mut self, news: bool, push: bool) {
        if news {
            self.again = AGAIN.len();
            return;
        }
        self.left -= 1.0;
        if push {
            self.again = 0;
        }
    }

    /// The forge said how long it wants to be left alone.
    pub(super) fn close(&mut self, now: Instant, pause: Duration) {
        self.closed_until = Some(now + pause.min(LONGEST));
    }

    /// When to ask again for what a push promised and was not there; none when nothing is missing.
    pub(super) fn again(&mut self) -> Option<Duration> {
        let seconds = AGAIN.get(self.again)?;
        self.again += 1;
        Some(Duration::from_secs(*seconds))
    }
}

/// However long a forge says.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_without_news_is_one_question_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        let mut asked = 0;
        while now < start + Duration::from_secs(60) {
            now += pace.wait(now).max(Duration::from_millis(1));
            pace.asked(false, true);
            asked += 1;
        }
        assert!((60..=67).contains(&asked), "{asked} questions in a minute");
    }

    #[test]
    fn pushes_that_bring_something_never_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..1000 {
            assert_eq!(pace.wait(start), Duration::ZERO);
            pace.asked(true, true);
        }
    }

    #[test]
    fn what_a_push_promised_is_asked_for_during_a_minute() {
        let mut pace = Pace::new(Instant::now());
        assert_eq!(pace.again(), None);
        pace.asked(false, true);
        let mut all = Vec::new();
        while let Some(pause) = pace.again() {
            all.push(pause.as_secs());
            pace.asked(false, false);
        }
        assert_eq!(all, AGAIN);
        pace.asked(false, true);
        assert!(pace.again().is_some());
        pace.asked(true, false);
        assert_eq!(pace.again(), None);
    }

    #[test]
    fn a_forge_that_asks_for_a_pause_has_it() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.close(start, Duration::from_secs(30));
        assert_eq!(pace.wait(start), Duration::from_secs(30));
        assert_eq!(pace.wait(start + Duration::from_secs(30)), Duration::ZERO);
        pace.close(start, Duration::from_secs(1 << 40));
        assert_eq!(pace.wait(start), LONGEST);
    }
}
