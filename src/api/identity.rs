//! Who a request comes from: a token of the cluster, reviewed for the audience `trimtab`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ring::digest;

use super::Problem;
use crate::cluster::{Cluster, User};
use crate::server::Rates;

/// The audience that tokens must be made for; one for the API server itself is refused, so that
/// nobody hands us more than we need.
pub(crate) const AUDIENCE: &str = "trimtab";
/// How long an answer counts: a withdrawn token works so long.
const KNOWN: Duration = Duration::from_secs(60);
/// How long a refusal counts, so that guessing costs the API server little.
const REFUSED: Duration = Duration::from_secs(10);
/// Reviews of one second: a flood of guesses does not reach the API server.
const REVIEWS: u32 = 20;
/// Answers that are remembered.
const REMEMBERED: usize = 4096;
/// Bytes of a token.
const LONGEST: usize = 8 << 10;

/// Somebody, always with a name: there is no way to be nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity(User);

impl Identity {
    /// None for a user without a name, and for whoever the cluster calls anonymous.
    fn new(user: User) -> Option<Self> {
        let known = !user.name.trim().is_empty() && user.name != "system:anonymous";
        known.then_some(Self(user))
    }

    /// Somebody whom the provider named; as for people of the API server, everybody who is known
    /// is in the group for that.
    pub(super) fn named(name: String, mut groups: Vec<String>) -> Option<Self> {
        groups.push("system:authenticated".to_owned());
        Self::new(User {
            name,
            groups,
            ..User::default()
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn user(&self) -> &User {
        &self.0
    }
}

type Fingerprint = [u8; 32];

/// Finds out whose a token is, and remembers it for a while.
pub(super) struct Authenticator {
    cluster: Cluster,
    answers: Mutex<HashMap<Fingerprint, (Instant, Option<Identity>)>>,
    /// Tokens of nobody, by where they came from.
    guesses: Rates<IpAddr>,
    /// The second that is running and the reviews in it.
    rate: Mutex<(Instant, u32)>,
}

impl Authenticator {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            answers: Mutex::default(),
            // Fewer than REVIEWS, so that one who guesses leaves room for others.
            guesses: Rates::new(1, 10),
            rate: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whose token this is.
    pub(super) async fn identify(&self, token: &str, client: IpAddr) -> Result<Identity, Problem> {
        if token.is_empty() || token.len() > LONGEST {
            return Err(Problem::unauthenticated());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.remembered(&fingerprint) {
            return known.ok_or_else(Problem::unauthenticated);
        }
        // Whoever guessed too often is not asked about; who is logged in at the same address is
        // known and was let in above.
        let now = Instant::now();
        if !self.guesses.has(&client, now) {
            return Err(Problem::too_often());
        }
        if !self.permits(now) {
            return Err(Problem::busy("too many log-ins at once"));
        }
        let reviewed = self.cluster.review_token(token, AUDIENCE).await?;
        let identity = reviewed.and_then(Identity::new);
        if identity.is_none() {
            self.guesses.take(&client, now);
        }
        self.remember(fingerprint, identity.clone());
        identity.ok_or_else(Problem::unauthenticated)
    }

    fn remembered(&self, fingerprint: &Fingerprint) -> Option<Option<Identity>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, identity) = answers.get(fingerprint)?;
        (since.elapsed() < lifetime(identity.as_ref())).then(|| identity.clone())
    }

    fn remember(&self, fingerprint: Fingerprint, identity: Option<Identity>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.retain(|_, (since, identity)| since.elapsed() < lifetime(identity.as_ref()));
        }
        if answers.len() >= REMEMBERED {
            // Guesses go first: who is logged in stays.
            answers.retain(|_, (_, identity)| identity.is_some());
        }
        if answers.len() < REMEMBERED {
            answers.insert(fingerprint, (Instant::now(), identity));
        }
    }

    /// Whether one more review may be asked for in this second.
    fn permits(&self, now: Instant) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(rate.0) >= Duration::from_secs(1) {
            *rate = (now, 0);
        }
        rate.1 += 1;
        rate.1 <= REVIEWS
    }
}

fn lifetime(identity: Option<&Identity>) -> Duration {
    if identity.is_some() { KNOWN } else { REFUSED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_no_identity() {
        for name in ["", "  ", "system:anonymous"] {
            let user = User {
                name: name.into(),
                groups: vec!["system:masters".into()],
                ..User::default()
            };
            assert_eq!(Identity::new(user), None, "{name:?}");
        }
        let user = User {
            name: "ann".into(),
            ..User::default()
        };
        assert_eq!(Identity::new(user).unwrap().name(), "ann");
    }
}
