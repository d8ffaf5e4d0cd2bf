//! Log-ins of browsers: an opaque cookie stands for a token that stays here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header::COOKIE};

use super::problem::random_hex;

/// The cookie; browsers take it over https and from loopback only, and for no other host.
pub(crate) const COOKIE_NAME: &str = "__Host-trimtab";
/// How long a log-in lasts at most. The token behind it may end sooner.
pub(crate) const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Log-ins at a time.
const MOST: usize = 1000;

/// Who is logged in.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, (Instant, String)>>);

impl Sessions {
    /// Begins a session with a new name, whatever name the browser came with.
    pub(crate) fn begin(&self, token: &str) -> Option<String> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, (since, _)| since.elapsed() < LIFETIME);
        if sessions.len() >= MOST {
            return None;
        }
        let id = random_hex::<32>();
        sessions.insert(id.clone(), (Instant::now(), token.to_owned()));
        Some(id)
    }

    /// Ends a session; its cookie is worth nothing afterwards.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(id) = cookie(headers) {
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(id);
        }
    }

    /// The token of the session that the request belongs to.
    pub(crate) fn token(&self, headers: &HeaderMap) -> Option<String> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, token) = sessions.get(cookie(headers)?)?;
        (since.elapsed() < LIFETIME).then(|| token.clone())
    }
}

/// The value of our cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter();
    let mut pairs = all
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_session_ends_for_good() {
        let sessions = Sessions::default();
        let id = sessions.begin("secret").unwrap();
        assert_ne!(sessions.begin("secret").unwrap(), id);
        let headers = with(&format!("a=b; {COOKIE_NAME}={id}"));
        assert_eq!(sessions.token(&headers).as_deref(), Some("secret"));
        for other in [format!("x{COOKIE_NAME}={id}"), format!("{COOKIE_NAME}=")] {
            assert_eq!(sessions.token(&with(&other)), None, "{other}");
        }
        sessions.end(&headers);
        assert_eq!(sessions.token(&headers), None);
    }
}
