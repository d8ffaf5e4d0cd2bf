//! Whether a person agreed to deletions by a time, as Argo CD's `deletion-approved` does it.

use std::time::Duration;

use jiff::Timestamp;

/// How far the clock of a person may be ahead of ours. A time that lies further ahead would
/// approve whatever comes until then.
const AHEAD: Duration = Duration::from_mins(5);

/// What a time is taken as the answer to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question {
    /// When it was said that exactly these deletions are held up.
    pub(crate) said: Option<Timestamp>,
    /// When the sync began that a person asked for and that waits for them.
    pub(crate) began: Option<Timestamp>,
}

/// Whether the time in an annotation answers the question: it lies after it, and not in the
/// future.
pub(crate) fn is_confirmed(approved: &str, question: Question, now: Timestamp) -> bool {
    let Ok(approved) = approved.trim().parse::<Timestamp>() else {
        return false;
    };
    let asked = question.said.into_iter().chain(question.began).min();
    asked.is_some_and(|asked| approved >= asked) && approved <= now + AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_answers_what_was_asked_before_it() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        let said = Question {
            said: at("2026-03-10T11:00:00Z"),
            began: None,
        };
        let began = Question {
            said: at("2026-03-10T11:00:00Z"),
            began: at("2026-03-10T10:59:58Z"),
        };
        let nothing = Question::default();
        for (approved, question, expected) in [
            ("2026-03-10T11:00:00Z", said, true),
            (" 2026-03-10T11:30:00.5+00:00\n", said, true),
            ("2026-03-10T10:59:59Z", said, false),
            ("2026-03-10T10:59:59Z", began, true),
            ("2026-03-10T10:59:57Z", began, false),
            ("2026-03-10T11:30:00Z", nothing, false),
            // A clock that is a little ahead is one thing, an approval of all that comes another.
            ("2026-03-10T12:04:00Z", said, true),
            ("2099-01-01T00:00:00Z", said, false),
            ("yes", said, false),
            ("", said, false),
        ] {
            let seen = is_confirmed(approved, question, now);
            assert_eq!(seen, expected, "{approved} {question:?}");
        }
    }
}
