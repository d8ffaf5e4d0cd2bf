//! A body that must have come when its time is over.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// The body of a request, as long as it comes in time.
pub(super) struct Timely {
    body: Incoming,
    limit: Pin<Box<Sleep>>,
}

impl Timely {
    /// The time begins when the head is there.
    pub(super) fn new(body: Incoming, limit: Duration) -> Self {
        Self {
            body,
            limit: Box::pin(sleep(limit)),
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
