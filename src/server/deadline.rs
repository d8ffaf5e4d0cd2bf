//! The bodies of a connection: one that must have come when its time is over, and one that is on its
//! way to the peer. They say whether we wait for the peer or the peer for us.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::crowd::Peer;

/// The body of a request, as long as it comes in time.
pub(super) struct Timely {
    body: Incoming,
    limit: Pin<Box<Sleep>>,
    peer: Arc<Peer>,
}

impl Timely {
    /// The time begins when the head is there.
    pub(super) fn new(body: Incoming, limit: Duration, peer: Arc<Peer>) -> Self {
        if body.is_end_stream() {
            peer.has_asked();
        }
        Self {
            body,
            limit: Box::pin(sleep(limit)),
            peer,
        }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if frame.is_none() || self.body.is_end_stream() {
                self.peer.has_asked();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = self.limit.as_mut().poll(context);
        late.map(|()| Some(Err("the body came too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response.
pub(super) struct Answer {
    body: axum::body::Body,
    peer: Arc<Peer>,
}

impl Answer {
    pub(super) fn new(body: axum::body::Body, peer: Arc<Peer>) -> Self {
        Self { body, peer }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.peer.has_answer();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
