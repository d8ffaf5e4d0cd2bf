//! Changes as they happen, by server-sent events; and who may keep looking.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream::unfold;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Api, Identity, Problem};
use crate::controller::Change;
use crate::server::{Client, Crowded, Guest};

/// Streams at a time, of changes and of logs; a page has one.
const MOST: usize = 200;
/// Streams of one person.
const MOST_OF_ONE: usize = 40;
/// Bytes of what one event says.
const LARGEST: usize = 64 << 10;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked again whether somebody may still look.
const REVIEW: Duration = Duration::from_secs(60);

/// Somebody who keeps looking, counted as long as they do.
pub(super) struct Visit {
    pub(super) api: Arc<Api>,
    headers: HeaderMap,
    client: IpAddr,
    pub(super) identity: Identity,
    reviewed: Instant,
    _place: Guest<String>,
}

impl Visit {
    /// Refused when too many look, of all or of this person.
    pub(super) fn begin(
        api: Arc<Api>,
        identity: Identity,
        headers: HeaderMap,
        Client(client): Client,
    ) -> Result<Self, Problem> {
        let name = identity.name().to_owned();
        let place = api.visits.admit(name, MOST_OF_ONE, MOST);
        let place = place.map_err(|crowded| match crowded {
            Crowded::All => Problem::busy("too many pages are open"),
            Crowded::Own => Problem::too_often(),
        })?;
        Ok(Self {
            api,
            headers,
            client,
            identity,
            reviewed: Instant::now(),
            _place: place,
        })
    }

    /// Asks again who this is; none when nobody any more.
    async fn review(&mut self) -> Option<()> {
        self.identity = self.api.identity(&self.headers, self.client).await.ok()?;
        self.reviewed = Instant::now();
        Some(())
    }

    /// Waits until it is time to ask again whether they may look. None when they are nobody any
    /// more, or the agent ends.
    pub(super) async fn pause(&mut self) -> Option<()> {
        let mut stopped = self.api.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(REVIEW) => self.review().await,
            () = until(&mut stopped) => None,
        }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// `NAMESPACE/NAME`: only this one; all that the caller may list when not given.
    application: String,
}

struct Follower {
    visit: Visit,
    only: String,
    changes: Receiver<Change>,
    /// Namespaces that were asked about since the last review.
    permitted: HashMap<String, bool>,
}

pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
    Extension(client): Extension<Client>,
) -> Result<Response, Problem> {
    let follower = Follower {
        changes: api.registry.follow(),
        only: query.application,
        permitted: HashMap::new(),
        visit: Visit::begin(api, identity, headers, client)?,
    };
    // The first event tells a page that nothing is missed from now on.
    let hello = futures::stream::iter([Ok::<_, Infallible>(
        Event::default().event("open").data("1"),
    )]);
    let events = unfold(follower, |mut follower| async move {
        follower.next().await.map(|event| (Ok(event), follower))
    });
    let events = futures::StreamExt::chain(hello, events);
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response();
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

impl Follower {
    /// The next event, or none when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        let mut stopped = self.visit.api.stopped.clone();
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = tokio::time::sleep(REVIEW) => {
                    self.review().await?;
                    continue;
                }
                () = until(&mut stopped) => return None,
            };
            if self.visit.reviewed.elapsed() > REVIEW {
                self.review().await?;
            }
            match change {
                Ok(change) if self.shows(&change).await => return Some(event(&change)),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    return Some(Event::default().event("resync").data("1"));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Asks again who this is and what they may see; none when nobody any more.
    async fn review(&mut self) -> Option<()> {
        self.permitted.clear();
        self.visit.review().await
    }

    async fn shows(&mut self, change: &Change) -> bool {
        let key = &change.application;
        if !self.only.is_empty() && self.only != key.to_string() {
            return false;
        }
        if let Some(known) = self.permitted.get(&key.namespace) {
            return *known;
        }
        let Visit { api, identity, .. } = &self.visit;
        let may = match self.only.is_empty() {
            true => api.may_list(identity, &key.namespace).await,
            false => api.may(identity, "get", key).await,
        };
        let may = may.unwrap_or(false);
        self.permitted.insert(key.namespace.clone(), may);
        may
    }
}

/// Waits until the agent ends.
async fn until(stopped: &mut tokio::sync::watch::Receiver<bool>) {
    while !*stopped.borrow_and_update() {
        if stopped.changed().await.is_err() {
            return;
        }
    }
}

fn event(change: &Change) -> Event {
    match &change.summary {
        Some(summary) => bounded(
            "application",
            serde_json::to_string(summary).unwrap_or_default(),
        ),
        None => bounded("gone", change.application.to_string()),
    }
}

/// One that would be too large says no more than that something changed: read anew.
fn bounded(name: &str, text: String) -> Event {
    match text.len() {
        0..=LARGEST => Event::default().event(name).data(text),
        _ => Event::default().event("resync").data("1"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn an_event_has_a_largest_size() {
        for (length, expected) in [
            (LARGEST, "event: application\ndata: x"),
            (LARGEST + 1, "event: resync\ndata: 1\n\n"),
        ] {
            let event = bounded("application", "x".repeat(length));
            let events = futures::stream::iter([Ok::<_, Infallible>(event)]);
            let body = Sse::new(events).into_response().into_body();
            let sent = to_bytes(body, 1 << 20).await.unwrap();
            assert!(sent.starts_with(expected.as_bytes()), "{length}");
        }
    }
}
