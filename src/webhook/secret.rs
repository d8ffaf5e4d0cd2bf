//! Secrets that a receiver accepts. They are never printed.

use std::fmt;

/// Everything that a receiver accepts. Empty lists accept nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Shared secrets: GitHub signs with one, GitLab sends one. Any of them will do.
    pub(crate) tokens: Vec<Secret>,
    /// GitLab's signing tokens. When there is one, a signature is required and `tokens` is not
    /// looked at.
    pub(crate) signing_tokens: Vec<Secret>,
}

/// A secret, never empty.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// Takes the content of a mounted file, without the one line end that editors and shells
    /// leave there. None when nothing remains: an empty key would let anyone sign.
    pub(crate) fn new(mut content: Vec<u8>) -> Option<Self> {
        if content.ends_with(b"\n") {
            content.pop();
            if content.ends_with(b"\r") {
                content.pop();
            }
        }
        (!content.is_empty()).then_some(Self(content))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_a_secret() {
        let check = |content: &str, expected: Option<&str>| {
            let secret = Secret::new(content.into());
            assert_eq!(
                secret.as_ref().map(Secret::bytes),
                expected.map(str::as_bytes)
            );
        };
        check("a", Some("a"));
        check("a\n", Some("a"));
        check("a\r\n", Some("a"));
        check("a\n\n", Some("a\n"));
        check(" a ", Some(" a "));
        check("", None);
        check("\n", None);
        check("\r\n", None);
    }

    #[test]
    fn debug_shows_nothing() {
        let secrets = Secrets {
            tokens: vec![Secret::new(b"hunter2".to_vec()).unwrap()],
            signing_tokens: Vec::new(),
        };
        assert!(!format!("{secrets:?}").contains("hunter2"));
        assert!(!format!("{secrets:?}").contains("104"));
    }

    #[test]
    fn a_signing_token_is_prefix_and_key() {
        let check = |content: &str, expected| {
            let secret = Secret::new(content.into()).unwrap();
            assert_eq!(secret.is_signing_token(), expected, "{content}");
        };
        check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true);
        check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false);
        check("whsec_", false);
        check("whsec_***", false);
    }
}
