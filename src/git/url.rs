//! The address of a repository, checked before anything connects to it.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Error;
use crate::object::{RepositoryKey, redact_url};

/// An `http` or `https` address without user, password, query or fragment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RepositoryUrl {
    text: String,
    key: RepositoryKey,
}

impl RepositoryUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |problem| Error::Url {
            url: super::one_line(&redact_url(text)),
            problem,
        };
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("has control characters or spaces"));
        }
        if text.starts_with('-') {
            return Err(refuse("starts with a dash"));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(refuse("is neither http:// nor https://"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(refuse(
                "has a user or password in it; they belong in a credential",
            ));
        }
        if text.contains(['?', '#', '\\']) {
            return Err(refuse("has a query, a fragment or a backslash"));
        }
        if path.split('/').any(|segment| segment.starts_with('-')) || authority.starts_with('-') {
            return Err(refuse("has a part that starts with a dash"));
        }
        let key = RepositoryKey::parse(text).ok_or(refuse("names no repository on a host"))?;
        let path = path.trim_end_matches('/');
        let text = format!(
            "{}://{}/{path}",
            scheme.to_ascii_lowercase(),
            authority.to_ascii_lowercase()
        );
        if text.parse::<http::Uri>().is_err() {
            return Err(refuse("is no valid address"));
        }
        Ok(Self { text, key })
    }

    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Which repository this is, for every way to write it: what webhooks are matched by.
    #[cfg(test)]
    pub(crate) fn identity(&self) -> &RepositoryKey {
        &self.key
    }

    /// The name of the mirror's directory. Unlike [`RepositoryUrl::identity`] it keeps scheme,
    /// port and case: matching too much there costs a refresh, here it would show one
    /// repository's objects to another.
    pub(super) fn directory(&self) -> String {
        hex::encode(&Sha256::digest(&self.text)[..16])
    }

    /// Host and port, without the port that is meant when none is written.
    pub(crate) fn authority(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let written = rest.split('/').next().unwrap_or_default();
        let usual = if self.is_https() { ":443" } else { ":80" };
        written.strip_suffix(usual).unwrap_or(written)
    }

    pub(super) fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }
}

/// Without user and password by construction.
impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_host_are_lower_case_and_the_path_stays() {
        let url = RepositoryUrl::parse("HTTPS://GitHub.com/Org/Repo.git/").unwrap();
        assert_eq!(url.as_str(), "https://github.com/Org/Repo.git");
        let other = RepositoryUrl::parse("https://github.com:8443/org/repo").unwrap();
        assert_eq!(url.identity(), other.identity());
        assert_ne!(url.directory(), other.directory());
    }

    #[test]
    fn a_host_has_one_name_whether_its_usual_port_is_written_or_not() {
        for (text, authority) in [
            ("https://Host/a", "host"),
            ("https://host:443/a", "host"),
            ("http://host:80/a", "host"),
            ("https://host:80/a", "host:80"),
            ("https://host:8443/a/b", "host:8443"),
        ] {
            assert_eq!(RepositoryUrl::parse(text).unwrap().authority(), authority);
        }
    }

    #[test]
    fn anything_that_is_no_plain_web_address_is_refused() {
        for text in [
            "",
            "-https://host/a",
            "ssh://git@host/a",
            "git@host:a/b",
            "file:///etc",
            "ext::sh -c id",
            "https://",
            "https:///a",
            "https://host",
            "https://host/",
            "https://host/a b",
            "https://host/a\nb",
            "https://host/-a",
            "https://-host/a",
            "https://host/a?x=y",
            "https://host/a#b",
            "https://host/a/../b",
            "https://host/a\\b",
            "https://host:port/a",
        ] {
            assert!(RepositoryUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refused_password_is_not_repeated() {
        let error = RepositoryUrl::parse("https://user:hunter2@host/a").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("credential"), "{error}");
    }
}
