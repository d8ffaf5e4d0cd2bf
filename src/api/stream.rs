//! Changes as they happen, by server-sent events.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
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
use crate::server::{Client, origin};

pub(super) const QUERY: &[(&str, &str)] = &[(
    "application",
    "NAMESPACE/NAME: only this one; all that the caller may list when not given",
)];

/// Streams at a time, of changes and of logs; a page has one.
const MOST: usize = 200;
/// Streams of one person.
const MOST_OF_ONE: usize = 40;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked again whether somebody may still look.
const REVIEW: Duration = Duration::from_secs(60);

static OPEN: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);

/// Counts a stream as long as it is open.
pub(super) struct Place(String);

impl Place {
    /// None when there are too many, of all or of this person.
    pub(super) fn take(identity: &Identity) -> Result<Self, Problem> {
        let name = identity.name().to_owned();
        let mut streams = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.values().sum::<usize>() >= MOST {
            return Err(Problem::busy("too many pages are open"));
        }
        let own = streams.entry(name.clone()).or_default();
        if *own >= MOST_OF_ONE {
            return Err(Problem::too_often());
        }
        *own += 1;
        Ok(Self(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = streams.get_mut(&self.0) {
            *own -= 1;
            if *own == 0 {
                streams.remove(&self.0);
            }
        }
    }
}

/// Streams that are open now.
pub(super) fn open() -> usize {
    let streams = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    streams.values().sum()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamQuery {
    application: String,
}

struct Follower {
    api: Arc<Api>,
    headers: HeaderMap,
    client: IpAddr,
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
    Extension(Client(client)): Extension<Client>,
) -> Result<Response, Problem> {
    let place = Place::take(&identity)?;
    let follower = Follower {
        changes: api.registry.follow(),
        headers,
        client: origin(client),
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
        self.identity = self.api.identity(&self.headers, self.client).await.ok()?;
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
