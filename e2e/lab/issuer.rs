//! A provider of OpenID Connect that lies on request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// What it does wrong; nothing when default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lie {
    /// Put over the claims of its tokens; null takes one away.
    pub(crate) claims: Value,
    /// Put over the headers of its tokens.
    pub(crate) header: Value,
    pub(crate) signs: Signs,
    pub(crate) describes: Describes,
    pub(crate) shows: Shows,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Signs {
    #[default]
    Well,
    /// By a key that nobody knows.
    ByAnother,
    /// With its public key as a shared secret.
    ByPublicKey,
    Not,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Describes {
    #[default]
    Well,
    AnotherIssuer,
    PlainAddress,
    Elsewhere,
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Shows {
    #[default]
    Keys,
    /// Ten MiB of them.
    TooMany,
    /// Nothing, for a long time.
    Late,
}

/// A request for a token: how the client logged in, and its form.
pub(crate) type Exchange = (String, Vec<(String, String)>);

struct Shared {
    address: SocketAddr,
    key: EcdsaKeyPair,
    another: EcdsaKeyPair,
    lie: Mutex<Lie>,
    nonce: Mutex<String>,
    exchanges: Mutex<Vec<Exchange>>,
}

pub(crate) struct Issuer(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key() -> Result<EcdsaKeyPair> {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let wrong = |_| anyhow::anyhow!("no key");
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(wrong)?;
    let made = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
    made.map_err(|error| anyhow::anyhow!("no key: {error}"))
}

impl Issuer {
    pub(crate) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            key: key()?,
            another: key()?,
            lie: Mutex::default(),
            nonce: Mutex::default(),
            exchanges: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/elsewhere", get(async || Json(json!({}))))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self(shared))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(crate) fn lie(&self, lie: Lie) {
        *lock(&self.0.lie) = lie;
    }

    /// What its tokens name as the nonce.
    pub(crate) fn set_nonce(&self, nonce: &str) {
        nonce.clone_into(&mut lock(&self.0.nonce));
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.0.exchanges).clone()
    }
}

async fn describe(State(shared): State<Arc<Shared>>) -> Response {
    let url = format!("http://{}", shared.address);
    let mut document = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/auth"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/jwks"),
    });
    match lock(&shared.lie).describes {
        Describes::Well => {}
        Describes::AnotherIssuer => document["issuer"] = json!("https://accounts.example.com"),
        Describes::PlainAddress => document["token_endpoint"] = json!("http://id.example.com/t"),
        Describes::Elsewhere => return Redirect::to("/elsewhere").into_response(),
        Describes::Nothing => return "<html>please log in</html>".into_response(),
    }
    Json(document).into_response()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    let shows = lock(&shared.lie).shows;
    match shows {
        Shows::Keys => {}
        Shows::TooMany => return "{\"keys\": []}".repeat(1 << 20).into_response(),
        Shows::Late => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
    let point = shared.key.public_key().as_ref();
    Json(json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "known", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    }]}))
    .into_response()
}

async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Response {
    let login = headers.get("authorization").and_then(|it| it.to_str().ok());
    let code = form.iter().find(|(name, _)| name == "code");
    let code = code.map(|(_, code)| code.clone()).unwrap_or_default();
    let used = |(_, form): &Exchange| {
        form.iter()
            .any(|(name, value)| name == "code" && *value == code)
    };
    let again = lock(&shared.exchanges).iter().any(used);
    lock(&shared.exchanges).push((login.unwrap_or_default().to_owned(), form));
    if again {
        let error = json!({"error": "invalid_grant"});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    Json(json!({"access_token": "a", "token_type": "Bearer", "id_token": shared.sign()}))
        .into_response()
}

impl Shared {
    fn sign(&self) -> String {
        let lie = lock(&self.lie).clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let mut claims = json!({
            "iss": format!("http://{}", self.address), "aud": "trimtab", "sub": "ann",
            "iat": now, "exp": now + 300, "nonce": *lock(&self.nonce),
            "email": "ann@example.com", "email_verified": true, "groups": ["team"],
        });
        let mut header = json!({"alg": "ES256", "kid": "known"});
        for (over, value) in [(&lie.claims, &mut claims), (&lie.header, &mut header)] {
            for (name, wanted) in over.as_object().into_iter().flatten() {
                match wanted {
                    Value::Null => drop(value.as_object_mut().and_then(|it| it.remove(name))),
                    wanted => value[name] = wanted.clone(),
                }
            }
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let by = |key: &EcdsaKeyPair| {
            let signed = key.sign(&SystemRandom::new(), message.as_bytes());
            signed.map(|it| it.as_ref().to_vec()).unwrap_or_default()
        };
        let signature = match lie.signs {
            Signs::Well => by(&self.key),
            Signs::ByAnother => by(&self.another),
            Signs::ByPublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
                hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
            }
            Signs::Not => Vec::new(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Seconds from now as a claim.
pub(crate) fn in_seconds(seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or_default();
    json!(now + seconds)
}
