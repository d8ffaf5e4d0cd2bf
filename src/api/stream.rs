//! Changes as they happen, by server-sent events.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Api, Identity, Problem};
use crate::controller::Change;

pub(super) const QUERY: &[(&str, &str)] = &[(
    "application",
    "NAMESPACE/NAME: only this one; all that the caller may list when not given",
)];

/// Streams at a time; a page has one.
const MOST: usize = 200;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked again whether somebody may still look.
const REVIEW: Duration = Duration::from_secs(60);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream as long as it is open.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let place = Self;
        (OPEN.fetch_add(1, Ordering::Relaxed) < MOST).then_some(place)
    }
}

/// Streams that are open now.
pub(super) fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamQuery {
    application: String,
}

struct Follower {
    api: Arc<Api>,
    headers: HeaderMap,
    identity: Identity,
    only: String,
    changes: Receiver<Change>,
    reviewed: Instant,
    /// Namespaces that were asked about since the last review.
    permitted: HashMap<String, bool>,
    _place: Place,
}

pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = Place::take().ok_or_else(|| Problem::busy("too many pages are open"))?;
    let follower = Follower {
        changes: api.registry.follow(),
        headers,
        identity,
        only: query.application,
        reviewed: Instant::now(),
        permitted: HashMap::new(),
        _place: place,
        api,
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
        let mut stopped = self.api.stopped.clone();
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = tokio::time::sleep(REVIEW) => {
                    self.review().await?;
                    continue;
                }
                () = until(&mut stopped) => return None,
            };
            if self.reviewed.elapsed() > REVIEW {
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

    /// Asks again who this is; none when nobody any more.
    async fn review(&mut self) -> Option<()> {
        self.identity = self.api.identity(&self.headers).await.ok()?;
        self.permitted.clear();
        self.reviewed = Instant::now();
        Some(())
    }

    async fn shows(&mut self, change: &Change) -> bool {
        let key = &change.application;
        if !self.only.is_empty() && self.only != key.to_string() {
            return false;
        }
        if let Some(known) = self.permitted.get(&key.namespace) {
            return *known;
        }
        let may = match self.only.is_empty() {
            true => self.api.may_list(&self.identity, &key.namespace).await,
            false => self.api.may(&self.identity, "get", key).await,
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
        Some(summary) => {
            let text = serde_json::to_string(summary).unwrap_or_default();
            Event::default().event("application").data(text)
        }
        None => Event::default()
            .event("gone")
            .data(change.application.to_string()),
    }
}
