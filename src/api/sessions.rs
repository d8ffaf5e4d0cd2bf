//! Log-ins of browsers: an opaque cookie stands for a token, or for a person, that stays here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header::COOKIE};

use super::Identity;
use super::problem::random_hex;

/// The cookie; browsers take it over https and from loopback only, and for no other host.
pub(crate) const COOKIE_NAME: &str = "__Host-trimtab";
/// How long a log-in lasts at most. The token behind it may end sooner.
pub(crate) const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Log-ins at a time.
const MOST: usize = 1000;

/// Whom a session stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Whoever this token of the cluster belongs to; it is asked again and again.
    Token(String),
    /// Somebody whom the provider named when they logged in.
    Person(Identity),
}

struct Session {
    since: Instant,
    lifetime: Duration,
    holder: Holder,
}

impl Session {
    fn lasts(&self) -> bool {
        self.since.elapsed() < self.lifetime.min(LIFETIME)
    }
}

/// Who is logged in.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    /// Begins a session of a token of the cluster. None when too many are logged in.
    pub(crate) fn begin(&self, token: &str) -> Option<String> {
        self.insert(Holder::Token(token.to_owned()), LIFETIME)
    }

    /// Begins a session of somebody whom the provider named.
    pub(super) fn begin_person(&self, identity: Identity, lifetime: Duration) -> Option<String> {
        self.insert(Holder::Person(identity), lifetime)
    }

    /// With a new name, whatever name the browser came with.
    fn insert(&self, holder: Holder, lifetime: Duration) -> Option<String> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.lasts());
        if sessions.len() >= MOST {
            return None;
        }
        let id = random_hex::<32>();
        let session = Session {
            since: Instant::now(),
            lifetime,
            holder,
        };
        sessions.insert(id.clone(), session);
        Some(id)
    }

    /// Ends a session; its cookie is worth nothing afterwards.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(id) = cookie(headers, COOKIE_NAME) {
            let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(id);
        }
    }

    /// Whom the session stands for that the request belongs to.
    pub(super) fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(cookie(headers, COOKIE_NAME)?)?;
        session.lasts().then(|| session.holder.clone())
    }
}

/// The value of one of our cookies.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).iter();
    let mut pairs = all
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == wanted).then_some(value))
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
        let token = Some(Holder::Token("secret".to_owned()));
        assert_eq!(sessions.holder(&headers), token);
        for other in [format!("x{COOKIE_NAME}={id}"), format!("{COOKIE_NAME}=")] {
            assert_eq!(sessions.holder(&with(&other)), None, "{other}");
        }
        sessions.end(&headers);
        assert_eq!(sessions.holder(&headers), None);
    }

    #[test]
    fn a_person_is_logged_in_as_long_as_the_settings_say() {
        let sessions = Sessions::default();
        let ann = Identity::named("oidc:ann".to_owned(), Vec::new()).unwrap();
        for (lifetime, lasts) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
            let id = sessions.begin_person(ann.clone(), lifetime).unwrap();
            let holder = sessions.holder(&with(&format!("{COOKIE_NAME}={id}")));
            assert_eq!(holder, lasts.then(|| Holder::Person(ann.clone())));
        }
    }
}
