//! GitHub and GitHub Enterprise Server.

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::{Delivery, Event, MediaType, Push, Rejection, Secrets, signature};

const SIGNATURE: &str = "x-hub-signature-256";
static EVENT: HeaderName = HeaderName::from_static("x-github-event");
static DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");

/// Only what is needed; `repository.url` is left out, it is an API address in some events.
#[derive(Deserialize)]
struct Payload {
    r#ref: String,
    before: Option<String>,
    after: Option<String>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    html_url: Option<String>,
    clone_url: Option<String>,
    ssh_url: Option<String>,
    git_url: Option<String>,
}

pub(super) fn receive(
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Delivery, Rejection> {
    verify(secrets, headers, body)?;
    let media_type = super::media_type(headers)?;
    let event = match super::event_name(headers, &EVENT)? {
        "ping" => Event::Ping,
        "push" => match media_type {
            MediaType::Json => push(body)?,
            MediaType::Form => push(form_payload(body)?.as_bytes())?,
        },
        other => super::ignored(other),
    };
    Ok(Delivery {
        id: super::delivery_id(headers, &[&DELIVERY]),
        event,
    })
}

/// The signature is over the body as it was sent, of forms too. The SHA-1 one beside it is not
/// looked at.
fn verify(secrets: &Secrets, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
    if secrets.tokens.is_empty() {
        return Err(Rejection::Unauthorized("the receiver has no secret"));
    }
    let signature = super::proof(headers, SIGNATURE)?
        .strip_prefix(b"sha256=")
        .ok_or(Rejection::Unauthorized("not a SHA-256 signature"))?;
    if !signature::hex_signs(&secrets.tokens, signature, body) {
        return Err(Rejection::Unauthorized("the signature is wrong"));
    }
    Ok(())
}

fn form_payload(body: &[u8]) -> Result<String, Rejection> {
    let mut payloads = form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
    match (payloads.next(), payloads.next()) {
        (Some((_, payload)), None) => Ok(payload.into_owned()),
        _ => Err(Rejection::Malformed("not a form with one payload".into())),
    }
}

fn push(json: &[u8]) -> Result<Event, Rejection> {
    let payload: Payload = serde_json::from_slice(json)
        .map_err(|error| Rejection::Malformed(super::describe(&error)))?;
    let Repository {
        html_url,
        clone_url,
        ssh_url,
        git_url,
    } = payload.repository;
    Push::new(
        [html_url, clone_url, ssh_url, git_url],
        Some(payload.r#ref),
        payload.before,
        payload.after,
    )
    .map(Event::Push)
    .ok_or_else(|| Rejection::Malformed("no full reference or no repository address".into()))
}
