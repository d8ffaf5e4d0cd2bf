//! What a tool says about a source, without the values in it: kustomize and helm quote patches,
//! literals and values, which can be a Secret's.
//!
//! A word is kept only when it is known to be none: it is one of the tools' own words, a path, a
//! key or a name of the source, or part of a template's code. All else is masked, whatever a tool
//! chooses to quote. Texts of several words that stand where secrets stand are masked as a whole.

use std::collections::HashSet;

use super::public::{Public, is_word, words};

/// What stands for a word that may be secret.
pub(super) const MASK: &str = "***";

/// The words of kustomize, helm and the libraries they are made of.
const WORDS: &str = include_str!("words.txt");
/// After these a number is a position.
const BEFORE_NUMBERS: [&str; 14] = [
    "line", "column", "code", "byte", "document", "offset", "index", "signal", "yaml", "yml",
    "json", "tpl", "txt", "than",
];

/// A tool's message with everything masked that is not known to be public.
pub(super) fn masked(message: &str, public: &Public) -> String {
    let mut text = without_blocks(message);
    for secret in &public.secrets {
        text = text.replace(secret.as_str(), MASK);
    }
    let known: HashSet<&str> = WORDS.split_whitespace().collect();
    let is_known = |word: &str| {
        known.contains(word.to_ascii_lowercase().as_str()) || public.words.contains(word)
    };
    let mut out = String::with_capacity(text.len());
    let mut before = Before::default();
    for piece in text.split_inclusive(char::is_whitespace) {
        out.push_str(&mask_piece(piece, &is_known, &mut before));
    }
    out
}

/// What was kept last, by which a number is known to be a position.
#[derive(Default)]
struct Before {
    word: String,
    /// Separators since then.
    between: String,
}

impl Before {
    /// Whether the next number is a line, a column or something else of the kind.
    fn announces_number(&self) -> bool {
        let is_number = self.word.bytes().all(|b| b.is_ascii_digit()) && !self.word.is_empty();
        match self.between.trim() {
            "" | ":" | "(" => {
                BEFORE_NUMBERS.contains(&self.word.as_str()) || (is_number && self.between == ":")
            }
            _ => false,
        }
    }
}

/// Masks what is unknown in a piece without spaces, from its first unknown word to its last: what
/// stands between them belongs to it.
fn mask_piece(piece: &str, is_known: &impl Fn(&str) -> bool, before: &mut Before) -> String {
    let mut unknown: Option<(usize, usize)> = None;
    for (at, word) in words(piece) {
        before.between.push_str(&piece[before_at(piece, at)..at]);
        let is_position = word.len() <= 6
            && word.bytes().all(|b| b.is_ascii_digit())
            && before.announces_number();
        if !is_position && !is_known(word) {
            let (from, _) = unknown.unwrap_or((at, 0));
            unknown = Some((from, at + word.len()));
        }
        word.clone_into(&mut before.word);
        before.between.clear();
    }
    let after = words(piece).last().map_or(0, |(at, word)| at + word.len());
    before.between.push_str(&piece[after..]);
    match unknown {
        Some((from, to)) => {
            let (from, to) = widened(piece, from, to);
            format!("{}{MASK}{}", &piece[..from], &piece[to..])
        }
        None => piece.to_owned(),
    }
}

/// With the signs that cling to what is masked; brackets, quotes and punctuation stay.
fn widened(piece: &str, from: usize, to: usize) -> (usize, usize) {
    let clings = |c: &char| !c.is_whitespace() && !"\"'`.,:;()[]{}<>/=…".contains(*c);
    let before: usize = piece[..from]
        .chars()
        .rev()
        .take_while(clings)
        .map(char::len_utf8)
        .sum();
    let is_after = |c: &char| clings(c) || *c == '=';
    let after: usize = piece[to..]
        .chars()
        .take_while(is_after)
        .map(char::len_utf8)
        .sum();
    (from - before, to + after)
}

/// Where the separators before a word begin.
fn before_at(piece: &str, at: usize) -> usize {
    let before = piece[..at].char_indices().rev();
    let separators = before.take_while(|(_, c)| !is_word(*c));
    separators.last().map_or(at, |(start, _)| start)
}

/// Whether a text has several lines, or had before it was quoted.
fn is_block(text: &str) -> bool {
    text.contains('\n') || text.contains("\\n")
}

/// Without quoted texts of several lines: kustomize prints whole configurations and patches.
fn without_blocks(message: &str) -> String {
    let mut text = message.to_owned();
    for (open, close) in [("`", "`"), ("from [", "]")] {
        let Some(start) = text.find(open).map(|at| at + open.len()) else {
            continue;
        };
        match text.rfind(close).filter(|end| *end >= start) {
            Some(end) if is_block(&text[start..end]) => text.replace_range(start..end, "…"),
            Some(_) => {}
            // Of a long message only the end is there.
            None if text[..start].contains('\n') => text.replace_range(..start - 1, "…"),
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> Public {
        Public {
            words: ["c", "templates", "a", "yaml", "password", "A", "kind", "v1"]
                .map(str::to_owned)
                .into(),
            secrets: vec!["correct horse".to_owned()],
            ..Public::default()
        }
    }

    #[test]
    fn values_are_masked_and_places_stay() {
        for (message, expected) in [
            (
                "YAML parse error on c/templates/a.yaml: error converting YAML to JSON: yaml: line 5: did not find expected key",
                "YAML parse error on c/templates/a.yaml: error converting YAML to JSON: yaml: line 5: did not find expected key",
            ),
            (
                "template: c/templates/a.yaml:3:11: executing \"c/templates/a.yaml\"",
                "template: c/templates/a.yaml:3:11: executing \"c/templates/a.yaml\"",
            ),
            (
                "json: cannot unmarshal string \"hunter2\" into Go value",
                "json: cannot unmarshal string \"***\" into Go value",
            ),
            (
                "password: hunter2!x/y+z= is invalid",
                "password: *** is invalid",
            ),
            ("password: 1234", "password: ***"),
            ("password:1234", "password:***"),
            ("failed (exit code 1): no", "failed (exit code 1): no"),
            ("the value is correct horse", "the value is ***"),
            (
                "with config: `\npatch: |\n  k: hunter2\n`: unable to parse from [k: hunter2\n kind]: failed",
                "with config: `…`: unable to parse from […]: failed",
            ),
            ("  k: hunter2\n`: unable to parse", "…`: unable to parse"),
            ("geheim:größe", "***"),
        ] {
            let masked = masked(message, &public());
            assert_eq!(masked, expected);
        }
    }
}
