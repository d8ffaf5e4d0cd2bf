//! Globs of the settings: `*`, `?`, `[a-z]` and `{a,b}`, compiled once.

use globset::{GlobBuilder, GlobMatcher};

/// Bytes of one glob: more than any address or name needs, and quickly compiled.
const LONGEST: usize = 256;

/// One glob. Equal when written alike.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    text: String,
    form: Form,
}

/// Most globs are a name or `*`, and need no compiled matcher.
#[derive(Clone, Debug)]
enum Form {
    Anything,
    Exactly,
    Pattern(Box<GlobMatcher>),
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Glob {
    /// A glob on a name, in which `*` stands for any text.
    pub(super) fn of_name(text: &str) -> Result<Self, String> {
        Self::new(text, false)
    }

    /// A glob on a name where nothing can be forbidden.
    pub(super) fn positive(text: &str) -> Result<Self, String> {
        if text.starts_with('!') && text.len() <= LONGEST {
            return Err(format!("\"{}\" cannot be negated", text.escape_debug()));
        }
        Self::of_name(text)
    }

    /// `*`: every text.
    pub(super) fn any() -> Self {
        Self {
            text: "*".to_owned(),
            form: Form::Anything,
        }
    }

    /// A glob on an address, in which `*` does not cross a `/` and `**` does.
    pub(super) fn of_address(text: &str) -> Result<Self, String> {
        Self::new(text, true)
    }

    fn new(text: &str, literal_separator: bool) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a glob of more than {LONGEST} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("a glob with control characters".to_owned());
        }
        let form = if text == "*" {
            Form::Anything
        } else if !text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            Form::Exactly
        } else {
            let glob = GlobBuilder::new(text)
                .literal_separator(literal_separator)
                .build()
                .map_err(|error| format!("\"{text}\" is no glob: {}", error.kind()))?;
            Form::Pattern(Box::new(glob.compile_matcher()))
        };
        let text = text.to_owned();
        Ok(Self { text, form })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Anything => true,
            Form::Exactly => self.text == text,
            Form::Pattern(matcher) => matcher.is_match(text),
        }
    }
}

/// A list of globs of which some forbid with a leading `!`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    allow: Vec<Glob>,
    deny: Vec<Glob>,
}

impl Rules {
    /// Reads globs with `read`, the negated ones without their `!`. A list that only forbids
    /// permits nothing, which nobody means.
    pub(super) fn new<'a>(
        globs: impl IntoIterator<Item = &'a str>,
        read: impl Fn(&str) -> Result<Glob, String>,
    ) -> Result<Self, String> {
        let mut rules = Self::default();
        for text in globs {
            match text.strip_prefix('!') {
                Some(text) => rules.deny.push(read(text)?),
                None => rules.allow.push(read(text)?),
            }
        }
        if rules.allow.is_empty() && !rules.deny.is_empty() {
            return Err("only forbids and so permits nothing; add \"*\"".to_owned());
        }
        Ok(rules)
    }

    /// Everything is permitted.
    pub(super) fn any() -> Self {
        Self {
            allow: vec![Glob::any()],
            deny: Vec::new(),
        }
    }

    /// Something permits it and nothing forbids it.
    pub(super) fn permit(&self, text: &str) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(text));
        any(&self.allow) && !any(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_match_as_written() {
        for (glob, text, name, address) in [
            ("*", "", true, true),
            ("*", "a/b", true, true),
            ("", "", true, true),
            ("", "a", false, false),
            ("shop", "shop", true, true),
            ("shop", "shop-2", false, false),
            ("shop-*", "shop-2", true, true),
            ("shop-*", "my-shop-2", false, false),
            ("shop-?", "shop-", false, false),
            ("{a,b}-[0-9]", "b-7", true, true),
            ("https://h/*", "https://h/a/b", true, false),
            ("https://h/**", "https://h/a/b", true, true),
            ("https://*.h/**", "https://e.com/x.h/b", true, false),
        ] {
            assert_eq!(
                Glob::of_name(glob).unwrap().matches(text),
                name,
                "{glob} {text}"
            );
            let found = Glob::of_address(glob).unwrap().matches(text);
            assert_eq!(found, address, "{glob} {text}");
        }
    }

    #[test]
    fn nonsense_and_the_huge_are_refused() {
        for text in ["[a", "{a", "a\n", "[b-a]", &"*".repeat(257)] {
            assert!(Glob::of_name(text).is_err(), "{text:?}");
        }
        let stars = "*a".repeat(128);
        let glob = Glob::of_name(&stars).unwrap();
        assert!(!glob.matches(&"a".repeat(100)) && glob.matches(&"a".repeat(100_000)));
        assert!(Glob::of_name(&"{a,b}".repeat(51)).is_ok());
    }

    #[test]
    fn what_is_forbidden_wins() {
        let rules = |globs: &[&str]| Rules::new(globs.iter().copied(), Glob::of_name);
        let most = rules(&["!kube-*", "*", "!default"]).unwrap();
        assert!(most.permit("shop"));
        assert!(!most.permit("kube-system") && !most.permit("default"));
        assert!(!rules(&[]).unwrap().permit("shop"));
        assert!(rules(&["!a"]).unwrap_err().contains("permits nothing"));
    }
}
