//! GitLab: project and group webhooks, and system hooks.

use std::fmt;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{Delivery, Event, MediaType, Push, Rejection, Secrets, signature};

const TOKEN: &str = "x-gitlab-token";
static EVENT: HeaderName = HeaderName::from_static("x-gitlab-event");
/// `x-gitlab-event-uuid` is none: recursive hooks share it.
static DELIVERY: HeaderName = HeaderName::from_static("idempotency-key");
static SIGNED_ID: HeaderName = HeaderName::from_static("webhook-id");

/// What is needed of a body. Custom templates may leave out anything.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    event_name: Option<String>,
    object_kind: Option<String>,
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    project: Option<Project>,
    repository: Option<Repository>,
    changes: Option<Changes>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    web_url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
}

/// Deprecated, but old versions and some templates have nothing else.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    homepage: Option<String>,
    url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Change {
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

pub(super) fn receive(
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<Delivery, Rejection> {
    let signed = !secrets.signing_tokens.is_empty();
    if signed {
        verify_signature(secrets, headers, body, now)?;
    } else {
        verify_token(secrets, headers)?;
    }
    if super::media_type(headers)? != MediaType::Json {
        return Err(Rejection::UnsupportedMediaType);
    }
    let event = match super::event_name(headers, &EVENT)? {
        "Push Hook" | "Tag Push Hook" => push(parse(body)?),
        "System Hook" => system(parse(body)?),
        other => super::ignored(other),
    };
    let id = if signed { &SIGNED_ID } else { &DELIVERY };
    Ok(Delivery {
        id: super::delivery_id(headers, &[id]),
        event,
    })
}

fn verify_token(secrets: &Secrets, headers: &HeaderMap) -> Result<(), Rejection> {
    if secrets.tokens.is_empty() {
        return Err(Rejection::Unauthorized("the receiver has no secret"));
    }
    if !signature::is_token(&secrets.tokens, super::proof(headers, TOKEN)?) {
        return Err(Rejection::Unauthorized("the token is wrong"));
    }
    Ok(())
}

fn verify_signature(
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<(), Rejection> {
    let signed = signature::Signed {
        id: super::proof(headers, SIGNED_ID.as_str())?,
        timestamp: super::proof(headers, "webhook-timestamp")?,
        signatures: super::proof(headers, "webhook-signature")?,
    };
    if !signed.signs(&secrets.signing_tokens, body) {
        return Err(Rejection::Unauthorized("the signature is wrong"));
    }
    if !signed.is_fresh(now) {
        return Err(Rejection::Unauthorized(
            "sent too long ago, or a clock is wrong",
        ));
    }
    Ok(())
}

/// A body of other fields or types comes from a template and says nothing; answering it with an
/// error would make GitLab switch the hook off.
fn parse(body: &[u8]) -> Result<Payload, Rejection> {
    match serde_json::from_slice(body) {
        Ok(payload) => Ok(payload),
        Err(error) if error.is_data() => Ok(Payload::default()),
        Err(error) => Err(Rejection::Malformed(super::describe(&error))),
    }
}

fn push(payload: Payload) -> Event {
    let project = payload.project.unwrap_or_default();
    let repository = payload.repository.unwrap_or_default();
    let urls = [
        project.web_url,
        project.git_http_url,
        project.git_ssh_url,
        repository.homepage,
        repository.url,
        repository.git_http_url,
        repository.git_ssh_url,
    ];
    Push::new(urls, payload.r#ref, payload.before, payload.after)
        .map_or(Event::Refresh, Event::Push)
}

/// System hooks name their event in the body. An update of several references is too rare to be
/// told one by one, but must not be lost: beyond three, GitLab sends no push for any of them.
fn system(mut payload: Payload) -> Event {
    let name = payload.event_name.take().or(payload.object_kind.take());
    match name.as_deref() {
        Some("push" | "tag_push") => push(payload),
        Some("repository_update") => match payload.changes.take() {
            Some(Changes { first, more: false }) => push(Payload {
                r#ref: first.r#ref,
                before: first.before,
                after: first.after,
                ..payload
            }),
            _ => Event::Refresh,
        },
        Some(other) => super::ignored(other),
        None => Event::Refresh,
    }
}

/// The first element of a list, and whether there were others, which are not kept.
struct Changes {
    first: Change,
    more: bool,
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Changes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of changes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Changes, A::Error> {
                let first = list.next_element()?.unwrap_or_default();
                let mut more = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Changes { first, more })
            }
        }
        deserializer.deserialize_seq(List)
    }
}
