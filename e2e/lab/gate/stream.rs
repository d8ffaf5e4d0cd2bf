//! The events of a watch, one by one: each is passed on when it comes, or swallowed.

use std::{future::pending, sync::Arc};

use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{Mode, Shared, relay::Body};

/// The same watch, as far as the gate lets it be seen.
pub(super) fn filtered(shared: Arc<Shared>, events: Incoming) -> Body {
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    let expired = shared.expired.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            () = pass_on(shared, events, expired, &sender) => {}
            () = sender.closed() => {}
        }
    });
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    StreamBody::new(frames).boxed_unsync()
}

async fn pass_on(
    shared: Arc<Shared>,
    mut events: Incoming,
    mut expired: watch::Receiver<u64>,
    sender: &mpsc::Sender<Bytes>,
) {
    let mut mode = shared.mode.subscribe();
    let mut rest = Vec::new();
    loop {
        // A stopped server sends nothing, and one that hangs never will again.
        let now = *mode.borrow_and_update();
        match now {
            Mode::Paused => {
                let _ = mode.changed().await;
                continue;
            }
            Mode::Hanging => pending::<()>().await,
            Mode::Open | Mode::Closed => {}
        }
        tokio::select! {
            frame = events.frame() => match frame {
                Some(Ok(frame)) => rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) | None => return,
            },
            _ = expired.changed() => {
                let _ = sender.send(gone()).await;
                return;
            }
            _ = mode.changed() => continue,
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event = serde_json::from_slice(&line).unwrap_or(Value::Null);
            if !shared.swallows(&event) && sender.send(line.into()).await.is_err() {
                return;
            }
        }
    }
}

/// The event with which the API server ends a watch that it cannot go on with.
fn gone() -> Bytes {
    let event = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version",
    }});
    format!("{event}\n").into()
}
