//! Words for a terminal: texts made harmless, lengths, ages and colours. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::text::is_unseen;

/// How a text is meant, so that a terminal can show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Strong,
    Good,
    Busy,
    Bad,
}

impl Tone {
    /// The text in its colour.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Strong => "1",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One line that a terminal shows and never obeys: white space becomes one space, what could
/// control the terminal becomes `?`.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars()
        .map(|c| if is_unseen(c) { '?' } else { c })
        .collect()
}

/// The same for a text whose lines are kept.
pub(super) fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let shown = line.trim_end().chars();
        shown
            .map(|c| match c {
                '\t' => ' ',
                c if is_unseen(c) => '?',
                c => c,
            })
            .collect()
    });
    lines.collect()
}

/// At most `width` characters, the last one `…` where something was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The first 12 characters of a commit id.
pub(super) fn short_revision(revision: &str) -> String {
    one_line(revision).chars().take(12).collect()
}

/// How long ago a time was, in the largest unit that tells something: `42s`, `5m`, `3h`, `12d`.
pub(super) fn age(now: Timestamp, time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return one_line(time);
    };
    span(Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

/// A duration in the largest unit that tells something.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How many single-character edits make one text the other.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, from) in (1..).zip(a.chars()) {
        let mut diagonal = row[0];
        row[0] = line;
        for (column, to) in (1..).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column];
            row[column] = replaced.min(row[column] + 1).min(row[column - 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("two\n  lines\tand a tab", "two lines and a tab"),
            ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
            ("\x1b]0;title\x07", "?]0;title?"),
            ("\u{9b}2J", "?2J"),
            ("a\u{202e}b\u{2066}c", "a?b?c"),
            ("over\rwritten", "over written"),
            ("été, naïve, 日本", "été, naïve, 日本"),
        ] {
            assert_eq!(one_line(text), expected);
        }
        assert_eq!(lines("a\n\x1bb\tc\n"), ["a", "?b c"]);
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("été été", 4), "été…");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn ages_are_in_the_largest_unit_that_tells_something() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-03-10T11:59:18Z", "42s"),
            ("2026-03-10T11:58:01Z", "119s"),
            ("2026-03-10T11:55:00Z", "5m"),
            ("2026-03-10T09:00:00Z", "3h"),
            ("2026-03-01T12:00:00Z", "9d"),
            ("2026-03-10T12:00:09Z", "0s"),
            ("some day", "some day"),
        ] {
            assert_eq!(age(now, time), expected);
        }
    }

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in [("shop", "shop", 0), ("shop", "shpo", 2), ("", "abc", 3)] {
            assert_eq!(distance(a, b), expected);
        }
    }
}
