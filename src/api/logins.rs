//! Log-ins by the provider that were begun and did not come back yet.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::problem::random_hex;
use super::sessions::cookie;
use crate::oidc::Attempt;

/// The cookie that binds a log-in to the browser that began it.
pub(crate) const LOGIN_COOKIE: &str = "__Host-trimtab-login";
/// How long somebody may take at the provider.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Log-ins at a time; the oldest makes room.
const MOST: usize = 1000;

/// Begun log-ins by their state.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Pending>>);

struct Pending {
    attempt: Attempt,
    /// What the browser's cookie must say.
    browser: String,
    /// Where it leads afterwards.
    next: String,
    since: Instant,
}

impl Logins {
    /// Begins one: its texts, and the cookie of the browser.
    pub(super) fn begin(&self, next: &str) -> (Attempt, String) {
        let attempt = Attempt {
            state: random_hex::<32>(),
            nonce: random_hex::<32>(),
            verifier: random_hex::<32>(),
        };
        let browser = random_hex::<32>();
        let pending = Pending {
            attempt: attempt.clone(),
            browser: browser.clone(),
            next: next.to_owned(),
            since: Instant::now(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, pending| pending.since.elapsed() < PATIENCE);
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, pending)| pending.since);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                all.remove(&oldest);
            }
        }
        all.insert(attempt.state.clone(), pending);
        (attempt, browser)
    }

    /// Takes the one with this state, once, for the browser that began it.
    pub(super) fn take(&self, state: &str, headers: &HeaderMap) -> Option<(Attempt, String)> {
        let browser = cookie(headers, LOGIN_COOKIE)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = all.get(state)?;
        // By digest, so that no time tells how much of it was right.
        let digest = |text: &str| Sha256::digest(text);
        if digest(&pending.browser) != digest(browser) {
            return None;
        }
        let pending = all.remove(state)?;
        (pending.since.elapsed() < PATIENCE).then_some((pending.attempt, pending.next))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::COOKIE;

    use super::*;

    fn with(browser: &str) -> HeaderMap {
        let cookie = format!("{LOGIN_COOKIE}={browser}");
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_log_in_comes_back_once_and_to_its_own_browser() {
        let logins = Logins::default();
        let (attempt, browser) = logins.begin("/a");
        let (other, other_browser) = logins.begin("/b");
        assert_ne!(attempt.state, other.state);
        assert_ne!(attempt.nonce, other.nonce);
        assert!(attempt.verifier.len() >= 43, "RFC 7636, 4.1");
        assert!(logins.take(&attempt.state, &with(&other_browser)).is_none());
        assert!(logins.take(&attempt.state, &HeaderMap::new()).is_none());
        assert!(logins.take("", &with(&browser)).is_none());
        let (found, next) = logins.take(&attempt.state, &with(&browser)).unwrap();
        assert_eq!((found.nonce, next.as_str()), (attempt.nonce, "/a"));
        assert!(logins.take(&attempt.state, &with(&browser)).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let logins = Logins::default();
        let (first, browser) = logins.begin("/");
        for _ in 0..MOST {
            logins.begin("/");
        }
        assert_eq!(logins.0.lock().unwrap().len(), MOST);
        assert!(logins.take(&first.state, &with(&browser)).is_none());
    }
}
