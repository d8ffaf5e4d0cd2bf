//! HTTP/1 connections: accepting, bounding and ending them. What is answered is in the routers.
//!
//! Guarantees: a slow or silent peer is cut off, a panic costs one request and not the process,
//! every response carries the headers that keep browsers out of trouble, and stopping takes no
//! longer than the grace period.

mod client;
mod deadline;
mod guests;
mod harden;
mod operations;
mod patience;
mod rates;
mod seen;
mod webhook;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::config::Ranges;
pub(crate) use client::Client;
use client::{is_by_https, origin};
use deadline::Timely;
pub(crate) use guests::{Crowded, Guest, Guests};
pub(crate) use operations::operations;
use patience::Patient;
pub(crate) use rates::Rates;
pub(crate) use webhook::{Full, Hooks, Refused, Verified, WebhookLimits, webhooks};

/// What one listener grants its peers.
#[derive(Clone, Debug)]
pub(crate) struct ServeLimits {
    /// Connections at a time; further ones wait in the kernel's queue.
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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let guests = Guests::default();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer, slot) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Ok(guest) = admit(&guests, peer, &limits) else {
            tracing::debug!(%peer, "too many connections of one address");
            continue;
        };
        let connection = connection(stream, peer, router.clone(), &limits);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop((slot, guest));
        });
    }
    drop(listener);
    if timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still ran when the grace period ended, they are cut off");
    }
    connections.shutdown().await;
}

/// Refused when the address has too many connections. A trusted proxy has those of many people, and
/// so does this machine, where port-forwards end.
fn admit(
    guests: &Guests<IpAddr>,
    peer: IpAddr,
    limits: &ServeLimits,
) -> Result<Guest<IpAddr>, Crowded> {
    let many = peer == Ipv4Addr::LOCALHOST || peer == Ipv6Addr::LOCALHOST;
    let most = match many || limits.proxies.contains(peer) {
        true => limits.connections,
        false => limits.per_address,
    };
    guests.admit(origin(peer), most, limits.connections)
}

/// One connection, not yet running.
fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    limits: &ServeLimits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + use<> {
    let proxies = Arc::clone(&limits.proxies);
    let body_timeout = limits.body_timeout;
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = Client::of(peer, request.headers(), &proxies);
        let secure = is_by_https(peer, request.headers(), &proxies);
        request.extensions_mut().insert(client);
        let request = request.map(|body| Body::new(Timely::new(body, body_timeout)));
        harden::answer(router.clone(), request, secure)
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

/// Waits for a free slot, then for a connection. An error of the listener never ends the server.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it the last part of a response waits for the peer's acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not set TCP_NODELAY");
                }
                return (stream, peer.ip().to_canonical(), slot);
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
