//! How people log in by a provider of OpenID Connect.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use serde::Deserialize;

use super::{Error, parse_duration};

/// The longest that a log-in may last.
pub(crate) const LONGEST_SESSION: Duration = Duration::from_secs(8 * 3600);

/// A provider of identities, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oidc {
    /// What its button says.
    pub(crate) name: String,
    /// As the provider writes it itself: it must be the same to the letter.
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// A file that holds the secret; none for a public client.
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) scopes: Vec<String>,
    pub(crate) username_claim: String,
    pub(crate) groups_claim: String,
    /// Put before what the provider says, so that it can name nobody of the cluster's own.
    pub(crate) username_prefix: String,
    pub(crate) groups_prefix: String,
    /// Authorities for the provider's certificate (PEM); the system's when none.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where the provider sends people back to: `/login/callback` of the agent.
    pub(crate) redirect_url: String,
    /// How long a log-in lasts.
    pub(crate) session: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OidcFile {
    #[serde(default)]
    name: String,
    issuer: String,
    #[serde(rename = "clientID")]
    client_id: String,
    client_secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    username_claim: Option<String>,
    groups_claim: Option<String>,
    username_prefix: Option<String>,
    groups_prefix: Option<String>,
    ca_file: Option<PathBuf>,
    #[serde(rename = "redirectURL")]
    redirect_url: String,
    session: Option<String>,
}

/// The path that the provider sends people back to.
pub(crate) const CALLBACK: &str = "/login/callback";

impl OidcFile {
    pub(super) fn check(self) -> Result<Oidc, Error> {
        let wrong = |what: String| Error::Wrong(format!("oidc.{what}"));
        let issuer = is_safe(&self.issuer).map_err(|why| wrong(format!("issuer {why}")))?;
        let back =
            is_safe(&self.redirect_url).map_err(|why| wrong(format!("redirectURL {why}")))?;
        if back.path() != CALLBACK || back.query().is_some() {
            return Err(wrong(format!("redirectURL must end with {CALLBACK}")));
        }
        if self.client_id.trim().is_empty() {
            return Err(wrong("clientID is empty".to_owned()));
        }
        let scopes = self.scopes.unwrap_or_else(|| {
            let usual = ["openid", "profile", "email", "groups"];
            usual.map(str::to_owned).to_vec()
        });
        if !scopes.iter().any(|scope| scope == "openid") {
            return Err(wrong("scopes must have openid".to_owned()));
        }
        let session = match &self.session {
            None => LONGEST_SESSION,
            Some(text) => parse_duration("oidc.session", text)?,
        };
        if session > LONGEST_SESSION {
            return Err(wrong("session may be 8h at most".to_owned()));
        }
        let prefix = |given: Option<String>| given.unwrap_or_else(|| "oidc:".to_owned());
        let name = match self.name.as_str() {
            "" => issuer.host().unwrap_or_default().to_owned(),
            name => name.to_owned(),
        };
        Ok(Oidc {
            name,
            issuer: self.issuer,
            client_id: self.client_id,
            client_secret_file: self.client_secret_file,
            scopes,
            username_claim: self.username_claim.unwrap_or_else(|| "email".to_owned()),
            groups_claim: self.groups_claim.unwrap_or_else(|| "groups".to_owned()),
            username_prefix: prefix(self.username_prefix),
            groups_prefix: prefix(self.groups_prefix),
            ca_file: self.ca_file,
            redirect_url: self.redirect_url,
            session,
        })
    }
}

/// An https address without a login; http only of this very machine.
pub(crate) fn is_safe(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is no URL")?;
    let host = uri.host().ok_or("is no URL")?;
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err("must not hold a login");
    }
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if here => Ok(uri),
        _ => Err("must begin with https://"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    const LEAST: &str = "issuer: https://id.example.com, clientID: trimtab, \
                         redirectURL: 'https://t.example.com/login/callback'";

    fn read(more: &str) -> Result<super::Oidc, String> {
        let settings = Settings::parse(&format!("oidc: {{{LEAST}{more}}}"));
        let settings = settings.map_err(|error| error.to_string())?;
        settings.oidc.ok_or_else(|| "none".to_owned())
    }

    #[test]
    fn a_provider_needs_little() {
        let oidc = read("").unwrap();
        assert_eq!(oidc.name, "id.example.com");
        assert_eq!(oidc.username_claim, "email");
        assert_eq!(oidc.groups_prefix, "oidc:");
        assert_eq!(oidc.session, super::LONGEST_SESSION);
        let oidc = read(", name: Dex, usernamePrefix: '', session: 1h, scopes: [openid]").unwrap();
        assert_eq!(
            (oidc.name.as_str(), oidc.username_prefix.as_str()),
            ("Dex", "")
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (more, expected) in [
            (", session: 9h", "8h at most"),
            (", session: soon", "oidc.session"),
            (", scopes: [email]", "must have openid"),
            (", usernameclaim: x", "unknown field"),
        ] {
            let found = read(more).unwrap_err();
            assert!(found.contains(expected), "{more}: {found}");
        }
        let whole = |issuer: &str, client: &str, back: &str| {
            let text = format!(
                "oidc: {{issuer: '{issuer}', clientID: '{client}', redirectURL: '{back}'}}"
            );
            Settings::parse(&text).unwrap_err().to_string()
        };
        let (issuer, back) = (
            "https://id.example.com",
            "https://t.example.com/login/callback",
        );
        for (found, expected) in [
            (
                whole("http://id.example.com", "a", back),
                "oidc.issuer must begin",
            ),
            (whole("id.example.com", "a", back), "oidc.issuer"),
            (whole("https://a:b@id.example.com", "a", back), "login"),
            (whole(issuer, " ", back), "oidc.clientID"),
            (
                whole(issuer, "a", "https://t.example.com/"),
                "/login/callback",
            ),
            (
                whole(issuer, "a", "http://t.example.com/login/callback"),
                "oidc.redirectURL",
            ),
        ] {
            assert!(found.contains(expected), "{found}");
        }
    }
}
