//! What a repository's Secret says about reaching it. Nothing here is ever printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// A text that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("hidden")
    }
}

/// User and password, and how to judge the server's certificate. Bound to the host of the URL it
/// is used with: it is sent nowhere else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credential {
    account: Option<(Hidden, Hidden)>,
    /// Trusted instead of the system's authorities.
    pub(super) ca_pem: Option<Vec<u8>>,
    /// Any certificate will do.
    pub(super) insecure: bool,
}

impl Credential {
    /// A user name and a password or token. A token alone goes as password; forges take any user
    /// name with it.
    pub(crate) fn new(username: &str, password: &str) -> Self {
        Self {
            account: Some((Hidden(username.to_owned()), Hidden(password.to_owned()))),
            ..Self::default()
        }
    }

    /// No account, for a server that needs only its own certificate authority.
    pub(crate) fn anonymous() -> Self {
        Self::default()
    }

    pub(crate) fn with_ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    pub(crate) fn with_insecure_tls(mut self) -> Self {
        self.insecure = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn password(&self) -> &str {
        self.account
            .as_ref()
            .map_or("", |(_, password)| &password.0)
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let (username, password) = self.account.as_ref()?;
        let token = STANDARD.encode(format!("{}:{}", username.0, password.0));
        let mut value = HeaderValue::try_from(format!("Basic {token}"))
            .expect("base64 is always a valid header value");
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes the secret out of a text that a server sent.
    pub(super) fn scrub(&self, text: &str) -> String {
        let Some((username, password)) = &self.account else {
            return text.to_owned();
        };
        let token = STANDARD.encode(format!("{}:{}", username.0, password.0));
        let text = text.replace(&token, "++++");
        if password.0.is_empty() {
            text
        } else {
            text.replace(&password.0, "++++")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_account_is_printed() {
        let credential = Credential::new("robot", "hunter2");
        let printed = format!("{credential:?} {:?}", credential.authorization());
        assert!(!printed.contains("hunter2") && !printed.contains("robot"));
        assert_eq!(credential.scrub("no: hunter2"), "no: ++++");
    }
}
