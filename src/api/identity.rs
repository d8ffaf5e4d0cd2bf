//! Who a request comes from: a token of the cluster, reviewed for the audience `trimtab`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
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
/// Reviews of unknown tokens in a second, and as many at once: 20 at most in any second, so that
/// a flood of guesses does not reach the API server.
const REVIEWS: u32 = 10;
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
/// A question to the API server, for all who sent the same token meanwhile.
type Review = BoxFuture<'static, Result<Option<Identity>, Problem>>;

/// Finds out whose a token is, and remembers it for a while.
pub(super) struct Authenticator {
    cluster: Cluster,
    answers: Mutex<HashMap<Fingerprint, (Instant, Option<Identity>)>>,
    /// Questions that are not answered yet, as long as somebody waits for them.
    reviews: Mutex<HashMap<Fingerprint, WeakShared<Review>>>,
    /// Tokens of nobody, by where they came from.
    guesses: Rates<IpAddr>,
    /// Questions about tokens that were not known, of all.
    questions: Rates<()>,
}

impl Authenticator {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            answers: Mutex::default(),
            reviews: Mutex::default(),
            // Fewer than all may ask, so that one who guesses leaves room for others.
            guesses: Rates::new(1, REVIEWS - 2),
            questions: Rates::new(REVIEWS, REVIEWS),
        }
    }

    /// Whose token this is.
    pub(super) async fn identify(&self, token: &str, client: IpAddr) -> Result<Identity, Problem> {
        if token.is_empty() || token.len() > LONGEST {
            return Err(Problem::unauthenticated());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let known = lock(&self.answers).get(&fingerprint).cloned();
        let trusted = match known {
            Some((since, identity)) if since.elapsed() < lifetime(identity.as_ref()) => {
                return identity.ok_or_else(Problem::unauthenticated);
            }
            // Once good, most likely still good: not a guess, and asked about once a minute.
            Some((_, identity)) => identity.is_some(),
            None => false,
        };
        let review = match self.under_way(&fingerprint) {
            Some(review) => review,
            None if trusted => self.begin(fingerprint, token),
            None => return self.guess(fingerprint, token, client).await,
        };
        self.finish(fingerprint, review).await
    }

    /// Asks about a token that may be nobody's. Paid before the question, so that many at once are
    /// not free; who is somebody gets it back.
    async fn guess(
        &self,
        fingerprint: Fingerprint,
        token: &str,
        client: IpAddr,
    ) -> Result<Identity, Problem> {
        let now = Instant::now();
        if !self.guesses.take(client, now) {
            return Err(Problem::too_often());
        }
        if !self.questions.take((), now) {
            self.guesses.give_back(&client);
            return Err(Problem::busy("too many log-ins at once"));
        }
        let review = self.begin(fingerprint, token);
        let found = self.finish(fingerprint, review).await;
        if !matches!(&found, Err(problem) if problem.status() == StatusCode::UNAUTHORIZED) {
            self.guesses.give_back(&client);
        }
        found
    }

    fn under_way(&self, fingerprint: &Fingerprint) -> Option<Shared<Review>> {
        lock(&self.reviews).get(fingerprint)?.upgrade()
    }

    fn begin(&self, fingerprint: Fingerprint, token: &str) -> Shared<Review> {
        let (cluster, token) = (self.cluster.clone(), token.to_owned());
        let review = async move {
            let user = cluster.review_token(&token, AUDIENCE).await?;
            Ok(user.and_then(Identity::new))
        };
        let review = review.boxed().shared();
        let mut reviews = lock(&self.reviews);
        reviews.retain(|_, review| review.upgrade().is_some());
        if let Some(asked) = review.downgrade() {
            reviews.insert(fingerprint, asked);
        }
        review
    }

    async fn finish(
        &self,
        fingerprint: Fingerprint,
        review: Shared<Review>,
    ) -> Result<Identity, Problem> {
        let identity = review.await?;
        self.remember(fingerprint, identity.clone());
        identity.ok_or_else(Problem::unauthenticated)
    }

    fn remember(&self, fingerprint: Fingerprint, identity: Option<Identity>) {
        let mut answers = lock(&self.answers);
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
