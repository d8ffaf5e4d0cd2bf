//! The provider itself: where its pages are, its keys, and a code in exchange for a token. Every
//! answer has a cap and a deadline, and no redirect is followed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use ring::digest;
use serde::Deserialize;

use super::Error;
use super::claims::Person;
use super::keys::{self, Key};
use super::verify::{self, Expected};
use crate::config::{Oidc, is_safe};
use crate::connect::{self, Client};

/// Bytes of one answer.
const ANSWER: usize = 256 << 10;
/// The longest wait for one answer, its body included.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what the provider says of itself counts.
const KNOWN: Duration = Duration::from_secs(3600);
/// How long keys are not asked for again, whatever key a token names.
const KEYS_PAUSE: Duration = Duration::from_secs(10);

/// A provider that people log in by.
pub(crate) struct Provider {
    settings: Oidc,
    /// Sent in a header and nowhere else.
    secret: Option<String>,
    client: Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    endpoints: Option<(Instant, Arc<Endpoints>)>,
    keys: Option<(Instant, Arc<Vec<Key>>)>,
}

/// OpenID Connect Discovery 1.0, section 3.
#[derive(Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// One log-in that was begun. Its texts are random and used once.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// The secret that the code is bound to (RFC 7636).
    pub(crate) verifier: String,
}

impl Provider {
    /// `secret` and `ca_pem` are what the files of the settings hold.
    pub(crate) fn new(
        settings: Oidc,
        secret: Option<String>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, String> {
        Ok(Self {
            settings,
            secret,
            client: connect::client(ca_pem, false)?,
            known: Mutex::default(),
        })
    }

    pub(crate) fn settings(&self) -> &Oidc {
        &self.settings
    }

    /// The provider's page on which an attempt goes on.
    pub(crate) async fn begin(&self, attempt: &Attempt) -> Result<String, Error> {
        let endpoints = self.endpoints().await?;
        let challenge = digest::digest(&digest::SHA256, attempt.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let scopes = self.settings.scopes.join(" ");
        let query = serde_urlencoded::to_string([
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_url),
            ("scope", &scopes),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let query = query.map_err(|error| Error::Provider(error.to_string()))?;
        let page = &endpoints.authorization_endpoint;
        let joint = if page.contains('?') { '&' } else { '?' };
        Ok(format!("{page}{joint}{query}"))
    }

    /// Who logged in: changes the code for a token and believes it if all of it is as it should be.
    /// `now` is in seconds since 1970.
    pub(crate) async fn end(
        &self,
        attempt: &Attempt,
        code: &str,
        now: i64,
    ) -> Result<Person, Error> {
        let endpoints = self.endpoints().await?;
        let tokens = self.exchange(&endpoints, attempt, code).await?;
        let read = verify::read(&tokens.id_token)?;
        let mut keys = self.keys(&endpoints, false).await?;
        if read.candidates(&keys).is_empty() {
            // It may have new ones.
            keys = self.keys(&endpoints, true).await?;
        }
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &attempt.nonce,
            now,
        };
        Person::of(&read.verify(&keys, &expected)?, &self.settings)
    }

    async fn exchange(
        &self,
        endpoints: &Endpoints,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Tokens, Error> {
        let client_id = self.settings.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect_url),
            ("code_verifier", &attempt.verifier),
        ];
        let mut request = Request::post(&endpoints.token_endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &self.secret {
            // RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
            Some(secret) => {
                let login = format!("{}:{}", encoded(client_id), encoded(secret));
                let login = format!("Basic {}", STANDARD.encode(login));
                request = request.header(AUTHORIZATION, login);
            }
            None => form.push(("client_id", client_id)),
        }
        let form = serde_urlencoded::to_string(form);
        let form = form.map_err(|error| Error::Provider(error.to_string()))?;
        let answer = self.ask(request, form.into()).await?;
        let parsed = serde_json::from_slice(&answer);
        parsed.map_err(|_| Error::Provider("it answered without a token".to_owned()))
    }

    /// Where the provider's pages are, as it says itself.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, Error> {
        if let Some((since, endpoints)) = &self.known().endpoints
            && since.elapsed() < KNOWN
        {
            return Ok(Arc::clone(endpoints));
        }
        let issuer = self.settings.issuer.trim_end_matches('/');
        let address = format!("{issuer}/.well-known/openid-configuration");
        let answer = self.ask(Request::get(address), Bytes::new()).await?;
        let endpoints: Endpoints = serde_json::from_slice(&answer)
            .map_err(|_| Error::Provider("it does not describe itself".to_owned()))?;
        if endpoints.issuer != self.settings.issuer {
            return Err(Error::Provider(
                "it calls itself by another name than oidc.issuer".to_owned(),
            ));
        }
        for address in [
            &endpoints.authorization_endpoint,
            &endpoints.token_endpoint,
            &endpoints.jwks_uri,
        ] {
            is_safe(address)
                .map_err(|why| Error::Provider(format!("one of its addresses {why}")))?;
        }
        let endpoints = Arc::new(endpoints);
        self.known().endpoints = Some((Instant::now(), Arc::clone(&endpoints)));
        Ok(endpoints)
    }

    /// The provider's keys; `again` asks for them once more, but not too often.
    async fn keys(&self, endpoints: &Endpoints, again: bool) -> Result<Arc<Vec<Key>>, Error> {
        if let Some((since, keys)) = &mut self.known().keys {
            let enough = if again { KEYS_PAUSE } else { KNOWN };
            if since.elapsed() < enough {
                return Ok(Arc::clone(keys));
            }
            // One asks; who comes meanwhile takes those there are.
            *since = Instant::now();
        }
        let answer = self
            .ask(Request::get(&endpoints.jwks_uri), Bytes::new())
            .await?;
        let keys = keys::read(&answer).map_err(|why| Error::Provider(why.to_owned()))?;
        let keys = Arc::new(keys);
        self.known().keys = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }

    /// Never held while the provider is asked: one that is slow holds up nobody else.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request; answers with the body of a good answer.
    async fn ask(&self, request: http::request::Builder, body: Bytes) -> Result<Bytes, Error> {
        let provider = |why: String| Error::Provider(why);
        let request = request
            .header(ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|error| provider(error.to_string()))?;
        let asked = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| provider(cause(&error)))?;
            let status = answer.status();
            if status != http::StatusCode::OK {
                return Err(provider(format!("it answered with status {status}")));
            }
            let body = Limited::new(answer.into_body(), ANSWER).collect().await;
            let body =
                body.map_err(|_| provider("its answer is too long or broke off".to_owned()))?;
            Ok(body.to_bytes())
        };
        let late = || provider(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| late())?
    }
}

/// A text as in a form.
fn encoded(text: &str) -> String {
    let pair = serde_urlencoded::to_string([("a", text)]).unwrap_or_default();
    pair.trim_start_matches("a=").to_owned()
}

/// The innermost reason, which is the one that helps: such as a certificate that is not trusted.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
