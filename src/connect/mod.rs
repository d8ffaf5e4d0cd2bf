//! HTTP clients for servers of others: connections that are kept alive, certificates judged, no
//! redirect followed.

mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A host that does not even accept within this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the usual poll interval, so that a poll finds the connection of the last one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);
const IDLE_CONNECTIONS_PER_HOST: usize = 2;

/// A pool of connections; a clone shares it. Must be used inside a Tokio runtime.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts these authorities (PEM), the system's where there are none, or anybody.
pub(crate) fn client(ca_pem: Option<&[u8]>, insecure: bool) -> Result<Client, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(Duration::from_secs(30)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::config(ca_pem, insecure)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
        .build(connector))
}
