//! Deliveries of Git hosts: from headers and bytes to what was said, or to a refusal.
//!
//! Nothing is parsed before the sender has proved that it knows a secret. What it says is a hint
//! of what to look at, never a source of URLs or commits to act on.

mod github;
mod gitlab;
mod push;
mod secret;
mod signature;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

use crate::config::Provider;

pub(crate) use push::Push;
pub(crate) use secret::{Secret, Secrets};

/// Characters of a delivery id that are kept; those of the providers are at most 36.
const MAX_ID: usize = 128;
/// Characters of an event's name that are kept.
const MAX_EVENT: usize = 64;

/// An authentic delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// What the provider calls it: at most 128 characters, none of them a control character,
    /// empty when it was not given. Only GitLab's signing tokens cover it with the signature, so
    /// it may tell repeated deliveries apart but proves nothing.
    pub(crate) id: String,
    pub(crate) event: Event,
}

/// What a delivery says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The provider tries the connection.
    Ping,
    /// A branch or tag was created, moved or deleted.
    Push(Push),
    /// Authentic, but it does not say what changed: anything that this receiver serves may have.
    Refresh,
    /// Authentic and of no interest: the event's name.
    Ignored(String),
}

/// Why a delivery is refused. Never holds anything of its content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Rejection {
    #[error("not authenticated: {0}")]
    Unauthorized(&'static str),
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("neither plain JSON nor, from GitHub, a form")]
    UnsupportedMediaType,
}

impl Rejection {
    /// The HTTP status to answer with. Never 410, at which some providers stop for good.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Unauthorized(_) => 401,
            Self::Malformed(_) => 400,
            Self::UnsupportedMediaType => 415,
        }
    }
}

/// Verifies and reads one delivery to a receiver of this provider. `now` is in Unix seconds.
///
/// The provider is the receiver's, not a guess from headers: some hosts send those of others.
pub(crate) fn receive(
    provider: Provider,
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<Delivery, Rejection> {
    match provider {
        Provider::GitHub => github::receive(secrets, headers, body),
        Provider::GitLab => gitlab::receive(secrets, headers, body, now),
    }
}

/// How a body is written.
#[derive(PartialEq, Eq)]
enum MediaType {
    Json,
    Form,
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Rejection> {
    let unsupported = || Rejection::UnsupportedMediaType;
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(unsupported());
    }
    let content_type = only(headers, &CONTENT_TYPE).ok_or_else(unsupported)?;
    let content_type = content_type.split(|byte| *byte == b';').next();
    match content_type.unwrap_or_default().trim_ascii() {
        json if json.eq_ignore_ascii_case(b"application/json") => Ok(MediaType::Json),
        form if form.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") => {
            Ok(MediaType::Form)
        }
        _ => Err(unsupported()),
    }
}

/// The header that proves who sends. Two of them could be read differently by two readers, so
/// they count as none.
fn proof<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a [u8], Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Rejection::Unauthorized("no signature or token")),
        (Some(_), Some(_)) => Err(Rejection::Unauthorized("two signatures or tokens")),
        (Some(value), None) if value.is_empty() => {
            Err(Rejection::Unauthorized("an empty signature or token"))
        }
        (Some(value), None) => Ok(value.as_bytes()),
    }
}

/// The name of the event, as the provider's header has it.
fn event_name<'a>(headers: &'a HeaderMap, name: &'static HeaderName) -> Result<&'a str, Rejection> {
    only(headers, name)
        .and_then(|value| str::from_utf8(value).ok())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Rejection::Malformed(format!("not exactly one {name} header")))
}

/// The first of these headers that is there, made fit for logs.
fn delivery_id(headers: &HeaderMap, names: &[&HeaderName]) -> String {
    let id = names.iter().find_map(|name| headers.get(*name));
    plain(
        &String::from_utf8_lossy(id.map(|id| id.as_bytes()).unwrap_or_default()),
        MAX_ID,
    )
}

fn ignored(event: &str) -> Event {
    Event::Ignored(plain(event, MAX_EVENT))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn plain(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}

/// What serde found, told without quoting the payload as its own message would.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing, doubled or of another type",
        _ => "not JSON",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}
