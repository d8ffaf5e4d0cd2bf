//! What asks for the next look at a repository: whatever comes before it is served by it.

use std::{collections::BTreeSet, time::Instant};

use crate::trigger::Cause;

/// Deliveries that wait for one look, besides the one that asked for it.
const JOINED: usize = 32;

/// What asks for a look.
#[derive(Default)]
pub(super) struct NextLook {
    /// The first one that is not served yet, and when.
    pub(super) asked: Option<(Cause, Instant)>,
    /// Somebody else than a forge asks.
    pub(super) regular: bool,
    /// Deliveries that are served by the same look.
    pub(super) joined: Vec<String>,
    /// The commits that they name, ...
    pub(super) promised: BTreeSet<String>,
    /// ... and whether one of them names none.
    pub(super) unnamed: bool,
}

impl NextLook {
    pub(super) fn ask(&mut self, cause: Cause, received: Instant) {
        self.regular = true;
        self.asked.get_or_insert((cause, received));
    }

    /// The same for a delivery of a forge, with the commit that it names.
    pub(super) fn deliver(&mut self, delivery: &str, commit_id: Option<&str>, received: Instant) {
        if self.joined.len() < JOINED {
            self.joined.push(delivery.to_owned());
        }
        match commit_id {
            None => self.unnamed = true,
            Some(id) if self.promised.len() < JOINED => {
                self.promised.insert(id.to_owned());
            }
            Some(_) => {}
        }
        let cause = || (Cause::Push(delivery.to_owned()), received);
        self.asked.get_or_insert_with(cause);
    }

    /// Whether more of its kind may come in a moment.
    pub(super) fn may_be_joined(&self) -> bool {
        let asked = self.asked.as_ref();
        asked.is_some_and(|(cause, _)| matches!(cause, Cause::Manual | Cause::Application))
    }

    /// Serves another one as well.
    pub(super) fn join(&mut self, other: Self) {
        self.joined.extend(other.joined);
        self.promised.extend(other.promised);
        self.unnamed |= other.unnamed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_counts_and_everything_that_came_is_served() {
        let now = Instant::now();
        let mut next = NextLook::default();
        next.ask(Cause::Application, now);
        assert!(next.may_be_joined());
        let mut other = NextLook::default();
        other.ask(Cause::Manual, now);
        other.deliver("1", Some("abc"), now);
        other.deliver("2", None, now);
        next.join(other);
        assert_eq!(next.asked, Some((Cause::Application, now)));
        assert_eq!(next.joined, ["1", "2"]);
        assert!(next.promised.contains("abc") && next.unnamed);

        let mut pushed = NextLook::default();
        pushed.deliver("1", Some("abc"), now);
        pushed.deliver("2", Some("abc"), now);
        assert!(!pushed.regular && !pushed.may_be_joined() && !pushed.unnamed);
        assert_eq!(pushed.asked, Some((Cause::Push("1".to_owned()), now)));
        for number in 0..1000 {
            pushed.deliver("3", Some(&number.to_string()), now);
        }
        assert_eq!(
            (pushed.joined.len(), pushed.promised.len()),
            (JOINED, JOINED)
        );
    }
}
