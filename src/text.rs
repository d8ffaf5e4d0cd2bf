//! Characters that are not seen and change how others are, and texts that stand for something else.

/// Whether a character of a text from outside turns what follows it round (Unicode UAX 9), is
/// invisible, ends a line without being a line feed, or is a control character. Joiners (U+200C,
/// U+200D) are left: several scripts and emoji need them.
pub(crate) fn is_unseen(c: char) -> bool {
    let turns = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let hides = matches!(c,
        '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    turns || hides || c.is_control()
}

/// Whether this is what Git keeps in the place of a file that is stored in Git LFS.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() < 1024 && bytes.starts_with(b"version https://git-lfs.github.com/spec/v")
}

/// JSON that says the same and shows all of it: by itself it escapes only those characters that it
/// may not hold. Line ends between its tokens stay.
pub(crate) fn escaped_in_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_unseen(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

/// The start of a text that may be anything, on one line.
pub(crate) fn short(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    start.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays() {
        for c in "aé日ن\u{200d}👩 \u{a0}".chars() {
            assert!(!is_unseen(c), "{c:?}");
        }
        for c in "\u{61c}\u{200b}\u{202e}\u{2028}\u{2060}\u{feff}\u{e0041}\u{1b}\n".chars() {
            assert!(is_unseen(c), "{c:?}");
        }
    }

    #[test]
    fn escaped_json_says_the_same() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}\x1b[1m\u{7f}\nété"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escaped_in_json(&text);
        assert!(!escaped.chars().any(|c| c != '\n' && is_unseen(c)));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }
}
