//! The port for forges, the one that the internet reaches. A delivery is read within bounds,
//! verified over the bytes as they came, and handed on; nothing waits for what comes of it. While a
//! body is on its way it takes nothing but the memory of what has arrived.
//!
//! Never parses a body that is not verified, and never says more than a constant text.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::telemetry::{Delivery, Metrics};

use super::budget::{Budget, GivesWay, Share};
use super::seen::Seen;
use super::{Client, Rates};

/// Hashing a body larger than this would hold up the other requests of its thread.
const LARGE: usize = 256 << 10;

/// What the port needs from the rest of the agent.
pub(crate) trait Hooks: Send + Sync + 'static {
    /// What is handed on for a push.
    type Work: Send + 'static;

    /// Whether a receiver of this name is configured.
    fn knows(&self, receiver: &str) -> bool;

    /// Checks who sent this, over the raw bytes, and reads what it says. Takes constant time in
    /// all that is secret.
    fn verify(
        &self,
        receiver: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Verified<Self::Work>, Refused>;

    /// Takes the work without waiting. `received` is when the head of the request was there.
    fn hand_on(&self, receiver: &str, work: Self::Work, received: Instant) -> Result<(), Full>;
}

/// A delivery from who it should be from.
#[derive(Debug)]
pub(crate) enum Verified<W> {
    /// Something to do. Deliveries of one `id` are done once; an empty id is no id.
    Work {
        id: String,
        work: W,
    },
    Ping,
    /// An event that does not concern us.
    Ignored,
}

/// A delivery that is not taken, with the status to answer: 400, 401, 404 or 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) u16);

/// Nobody can take more work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What a delivery may cost.
#[derive(Clone, Debug)]
pub(crate) struct WebhookLimits {
    /// Bytes of one body.
    pub(crate) body: usize,
    /// From the first byte of a body to its last. Forges give up after 10 s themselves.
    pub(crate) body_timeout: Duration,
    /// Bytes of all bodies in memory at a time, at least those of one.
    pub(crate) bodies: usize,
    /// Whole bodies that are verified at a time.
    pub(crate) places: usize,
    /// How long a whole body waits for one of these places.
    pub(crate) place_timeout: Duration,
    /// Deliveries without proof that one address may send in a second, ten times as many at once;
    /// after that it is not listened to.
    pub(crate) refusals_per_second: u32,
    /// Deliveries with proof that one receiver takes in a second, ten times as many at once. Forges
    /// send fewer; a script that holds the secret may not.
    pub(crate) deliveries_per_second: u32,
    /// Deliveries that are remembered, to know a replay.
    pub(crate) remembered: usize,
    pub(crate) memory: Duration,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            body: 5 << 20,
            body_timeout: Duration::from_secs(10),
            bodies: 20 << 20,
            places: 8,
            place_timeout: Duration::from_secs(2),
            refusals_per_second: 10,
            deliveries_per_second: 100,
            remembered: 10_000,
            memory: Duration::from_secs(3600),
        }
    }
}

struct Port<H> {
    hooks: Arc<H>,
    metrics: Arc<Metrics>,
    limits: WebhookLimits,
    bodies: Arc<Budget>,
    places: Semaphore,
    /// Deliveries without proof, by where they come from.
    refusals: Rates<IpAddr>,
    /// Deliveries with proof, by receiver.
    deliveries: Rates<String>,
    seen: Mutex<Seen>,
}

/// `POST /hooks/{receiver}`, and nothing else.
pub(crate) fn webhooks<H: Hooks>(
    hooks: Arc<H>,
    metrics: Arc<Metrics>,
    limits: WebhookLimits,
) -> Router {
    let port = Port {
        hooks,
        metrics,
        bodies: Budget::new(limits.bodies.max(2 * limits.body)),
        places: Semaphore::new(limits.places),
        refusals: tenfold(limits.refusals_per_second),
        deliveries: tenfold(limits.deliveries_per_second),
        seen: Mutex::new(Seen::new(limits.remembered, limits.memory)),
        limits,
    };
    Router::new()
        .route("/hooks/{receiver}", post(receive::<H>))
        .fallback(async || response(Delivery::Unknown))
        .with_state(Arc::new(port))
}

/// So many a second, and ten times as many at once.
fn tenfold<K: Eq + Hash>(per_second: u32) -> Rates<K> {
    Rates::new(per_second, per_second.saturating_mul(10))
}

async fn receive<H: Hooks>(State(port): State<Arc<Port<H>>>, request: Request) -> Response {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    // As it was sent: names of receivers need no escapes, so one with escapes is unknown.
    let receiver = head.uri.path().rsplit('/').next().unwrap_or_default();
    // A test may have no client.
    let client = head.extensions.get::<Client>().map(|it| it.0);
    let listens = client.is_none_or(|it| port.refusals.has(&it, received));
    let mut noted = Noted {
        port: &port,
        receiver,
        client,
        received,
        // As long as nothing else is known: dropped half way, its peer is gone or made room.
        result: Delivery::CutOff,
    };
    noted.result = if !listens {
        Delivery::Overloaded
    } else if port.hooks.knows(receiver) {
        let delivery = port.deliver(receiver, head.headers, body, client, received);
        delivery.await.unwrap_or_else(|refused| refused)
    } else {
        Delivery::Unknown
    };
    response(noted.result)
}

/// Notes what a delivery came to when it ends, however it ends.
struct Noted<'a, H: Hooks> {
    port: &'a Port<H>,
    receiver: &'a str,
    client: Option<IpAddr>,
    received: Instant,
    result: Delivery,
}

impl<H: Hooks> Drop for Noted<'_, H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (receiver, result) = (self.receiver, self.result);
        if let Some(client) = self.client.filter(|_| is_refusal(result)) {
            self.port.refusals.take(client, self.received);
        }
        // A name from outside must not become a label.
        let known = result != Delivery::Unknown;
        self.port
            .metrics
            .delivery(if known { receiver } else { "" }, result);
        match result {
            Delivery::Unknown | Delivery::Accepted => {}
            // The others without proof are logged where their proof is judged.
            Delivery::CutOff | Delivery::TimedOut | Delivery::TooLarge | Delivery::Unsupported => {
                let result = result.as_str();
                tracing::warn!(receiver, result, "a delivery was refused");
            }
            _ => tracing::debug!(receiver, result = result.as_str(), "answered a delivery"),
        }
    }
}

/// Whether this came of a delivery without proof of who sent it.
fn is_refusal(result: Delivery) -> bool {
    matches!(
        result,
        Delivery::Unknown
            | Delivery::Unauthorized
            | Delivery::CutOff
            | Delivery::TimedOut
            | Delivery::TooLarge
            | Delivery::Unsupported
    )
}

impl<H: Hooks> Port<H> {
    async fn deliver(
        &self,
        receiver: &str,
        headers: HeaderMap,
        body: Body,
        client: Option<IpAddr>,
        received: Instant,
    ) -> Result<Delivery, Delivery> {
        check_type(&headers)?;
        if body.size_hint().lower() > self.limits.body as u64 {
            return Err(Delivery::TooLarge);
        }
        // Both are there until the body is out of memory.
        let share = self.bodies.share(client);
        let arriving = async {
            tokio::select! {
                body = read(body, self.limits.body, &share) => body,
                () = share.must_leave() => Err(Delivery::Overloaded),
            }
        };
        let body = timeout(self.limits.body_timeout, arriving)
            .await
            .map_err(|_| Delivery::TimedOut)??;
        share.is_whole();
        let _place = timeout(self.limits.place_timeout, self.places.acquire())
            .await
            .map_err(|_| Delivery::Overloaded)?;
        let verified = self.verify(receiver, headers, body).await;
        let (id, work) = match verified.map_err(refusal)? {
            Verified::Ping => return Ok(Delivery::Ping),
            Verified::Ignored => return Ok(Delivery::Ignored),
            Verified::Work { id, work } => (id, work),
        };
        if !self.deliveries.take(receiver.to_owned(), received) {
            return Err(Delivery::Overloaded);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let done = seen.once(receiver, &id, received, || {
            self.hooks.hand_on(receiver, work, received)
        });
        match done {
            None => Ok(Delivery::Replayed),
            Some(Ok(())) => Ok(Delivery::Accepted),
            Some(Err(Full)) => Err(Delivery::Overloaded),
        }
    }

    async fn verify(
        &self,
        receiver: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Verified<H::Work>, Refused> {
        if body.len() < LARGE {
            return self.hooks.verify(receiver, &headers, &body);
        }
        let (hooks, receiver) = (Arc::clone(&self.hooks), receiver.to_owned());
        match spawn_blocking(move || hooks.verify(&receiver, &headers, &body)).await {
            Ok(verified) => verified,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Refuses what no forge sends: compressed bodies, and types other than JSON and forms. A body
/// without a type is left to the verification.
fn check_type(headers: &HeaderMap) -> Result<(), Delivery> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Delivery::Unsupported);
    }
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = content_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let accepted = ["application/json", "application/x-www-form-urlencoded"];
    if accepted
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
    {
        Ok(())
    } else {
        Err(Delivery::Unsupported)
    }
}

/// What a body has at least once something of it is there.
const FIRST: usize = 4 << 10;

/// The whole body, if it is not larger than `cap`. Its memory grows with what arrives, and is taken
/// out of its share before.
async fn read(mut body: Body, cap: usize, share: &Share) -> Result<Bytes, Delivery> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Delivery::CutOff)?.into_data() else {
            continue;
        };
        if data.len() > cap - bytes.len() {
            return Err(Delivery::TooLarge);
        }
        let needed = bytes.len() + data.len();
        if needed > bytes.capacity() {
            let capacity = needed.max(2 * bytes.capacity()).max(FIRST).min(cap);
            let more = capacity - bytes.capacity();
            let grown = share.grow(more).await;
            grown.map_err(|GivesWay| Delivery::Overloaded)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

fn refusal(Refused(status): Refused) -> Delivery {
    match status {
        401 => Delivery::Unauthorized,
        404 => Delivery::Unknown,
        413 => Delivery::TooLarge,
        415 => Delivery::Unsupported,
        _ => Delivery::Malformed,
    }
}

/// The one table of answers. Never 410, which makes a forge remove the hook, and 202 for whatever
/// we chose not to act on, because a forge disables hooks that fail.
fn response(result: Delivery) -> Response {
    let (status, text) = match result {
        Delivery::Accepted => (StatusCode::ACCEPTED, "accepted\n"),
        Delivery::Ping => (StatusCode::ACCEPTED, "connected\n"),
        Delivery::Ignored => (StatusCode::ACCEPTED, "ignored\n"),
        Delivery::Replayed => (StatusCode::ACCEPTED, "seen before\n"),
        Delivery::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized\n"),
        Delivery::Malformed | Delivery::CutOff => (StatusCode::BAD_REQUEST, "malformed\n"),
        Delivery::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        Delivery::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported type\n"),
        Delivery::TimedOut => (StatusCode::REQUEST_TIMEOUT, "too slow\n"),
        Delivery::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "busy\n"),
        Delivery::Unknown => (StatusCode::NOT_FOUND, "not found\n"),
    };
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    match result {
        Delivery::Overloaded => headers.insert(RETRY_AFTER, HeaderValue::from_static("5")),
        // The rest of the body is not read.
        Delivery::TooLarge | Delivery::TimedOut | Delivery::CutOff => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"))
        }
        _ => None,
    };
    response
}
