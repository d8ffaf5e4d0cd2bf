//! HTTP/1 connections: accepting, bounding and ending them. What is answered is in the routers.
//!
//! Guarantees: a slow or silent peer is cut off, and makes room for another one when there are as many
//! as there may be; a panic costs one request and not the process; every response carries the headers that keep browsers out of trouble, and stopping takes no
//! longer than the grace period.

mod budget;
mod client;
mod crowd;
mod deadline;
mod guests;
mod harden;
mod operations;
mod patience;
mod rates;
mod seen;
mod webhook;

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures::TryFutureExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::config::Ranges;
pub(crate) use client::Client;
use client::is_by_https;
use crowd::{Crowd, Seat};
use deadline::{Answer, Timely};
pub(crate) use guests::{Crowded, Guest, Guests};
pub(crate) use operations::operations;
use patience::Patient;
pub(crate) use rates::Rates;
pub(crate) use webhook::{Full, Hooks, Refused, Verified, WebhookLimits, webhooks};

/// What one listener grants its peers.
#[derive(Clone, Debug)]
pub(crate) struct ServeLimits {
    /// Connections at a time; for one more a slow peer makes room, else it waits.
    pub(crate) connections: usize,
    /// Of these, what one address may have; a trusted proxy may have all.
    pub(crate) per_address: usize,
    /// Proxies that say whom they speak for.
    pub(crate) proxies: Arc<Ranges>,
    /// From the first byte that may come to the last of the head. Also ends idle connections.
    pub(crate) header_timeout: Duration,
    /// From the head of a request to the last byte of its body.
    pub(crate) body_timeout: Duration,
    /// How long a peer may refuse to take more of a response.
    pub(crate) write_timeout: Duration,
    /// Bytes of request line and headers together, at least 8 KiB.
    pub(crate) header_bytes: usize,
    pub(crate) headers: usize,
    /// How long requests in flight may go on after the shutdown began.
    pub(crate) grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            per_address: 32,
            proxies: Arc::default(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            header_bytes: 16 << 10,
            headers: 64,
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` completes and requests in flight have ended, or
/// the grace period has.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) {
    let crowd = Crowd::new(limits.connections);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    {
        // Goes on while connections end: it may have one at hand that waits for room.
        let mut admitting = pin!(next(&listener, &crowd, &limits));
        loop {
            let (stream, seat) = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                admitted = &mut admitting => admitted,
            };
            admitting.set(next(&listener, &crowd, &limits));
            let connection = graceful.watch(connection(stream, &seat, router.clone(), &limits));
            connections.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                },
                () = seat.must_leave() => {
                    tracing::debug!(peer = %seat.address(), "a slow peer made room for another");
                }
            }
        });
        }
    }
    drop(listener);
    if timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still ran when the grace period ended, they are cut off");
    }
    connections.shutdown().await;
}

/// One connection, not yet running.
fn connection(
    stream: TcpStream,
    seat: &Seat,
    router: Router,
    limits: &ServeLimits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + use<> {
    let proxies = Arc::clone(&limits.proxies);
    let body_timeout = limits.body_timeout;
    let (address, peer) = (seat.address(), Arc::clone(seat.peer()));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = Client::of(address, request.headers(), &proxies);
        let secure = is_by_https(address, request.headers(), &proxies);
        request.extensions_mut().insert(client);
        let peer = Arc::clone(&peer);
        let timely = Arc::clone(&peer);
        let request = request.map(|body| Body::new(Timely::new(body, body_timeout, timely)));
        let answer = harden::answer(router.clone(), request, secure);
        answer.map_ok(|response| response.map(|body| Answer::new(body, peer)))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .serve_connection(
            TokioIo::new(Patient::new(stream, limits.write_timeout)),
            service,
        )
}

/// Waits for a connection that may come in.
async fn next(
    listener: &TcpListener,
    crowd: &Arc<Crowd>,
    limits: &ServeLimits,
) -> (TcpStream, Seat) {
    loop {
        let (stream, address) = accept(listener).await;
        let trusted = limits.proxies.contains(address);
        match crowd.admit(address, trusted, limits.per_address).await {
            Some(seat) => return (stream, seat),
            None => tracing::debug!(%address, "too many connections of one address"),
        }
    }
}

/// Waits for a connection. An error of the listener never ends the server.
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it the last part of a response waits for the peer's acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not set TCP_NODELAY");
                }
                return (stream, peer.ip().to_canonical());
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection, trying again in a second");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether the peer gave up before we accepted. Anything else, such as too many open files, is
/// ours and does not get better at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
