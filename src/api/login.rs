//! Logs people in by the OpenID Connect provider.

use axum::http::HeaderMap;
use jiff::Timestamp;

use super::{Api, Identity, Problem};
use crate::oidc::{Error, Provider};

impl Api {
    /// The provider that people may log in by.
    pub(crate) fn provider(&self) -> Option<&Provider> {
        self.provider.as_ref()
    }

    /// Begins a log-in: the provider's page, and the cookie of the browser.
    pub(crate) async fn begin_login(&self, next: &str) -> Result<(String, String), Problem> {
        let provider = self
            .provider()
            .ok_or_else(|| Problem::missing("such page"))?;
        let (attempt, browser) = self.logins.begin(next);
        let page = provider
            .begin(&attempt)
            .await
            .map_err(|error| refuse(&error))?;
        Ok((page, browser))
    }

    /// Ends a log-in with what the provider sent back: the session, and where it leads.
    pub(crate) async fn end_login(
        &self,
        headers: &HeaderMap,
        state: &str,
        code: &str,
    ) -> Result<(String, String), Problem> {
        let provider = self
            .provider()
            .ok_or_else(|| Problem::missing("such page"))?;
        let Some((attempt, next)) = self.logins.take(state, headers) else {
            return Err(Problem::wrong(
                "this log-in was not begun in this browser, or it took too long",
            ));
        };
        let now = Timestamp::now().as_second();
        let person = provider
            .end(&attempt, code, now)
            .await
            .map_err(|error| refuse(&error))?;
        let identity = Identity::named(person.name, person.groups)
            .ok_or_else(|| refuse(&Error::Nobody("it has no name".to_owned())))?;
        // Whatever session the browser came with ends: nobody keeps a name that somebody gave them.
        self.sessions.end(headers);
        tracing::info!(user = identity.name(), "logged in by the provider");
        let lifetime = provider.settings().session;
        let session = self.sessions.begin_person(identity, lifetime);
        let session = session.ok_or_else(|| Problem::busy("too many people are logged in"))?;
        Ok((session, next))
    }
}

/// What went wrong, for the one who tried; the log has it too.
fn refuse(error: &Error) -> Problem {
    tracing::warn!(%error, "a log-in by the provider was refused");
    match error {
        Error::Provider(_) => Problem::unavailable(&error.to_string()),
        Error::Token(_) | Error::Nobody(_) => Problem::refused(&error.to_string()),
    }
}
