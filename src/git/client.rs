//! The HTTP client that all mirrors share: one pool of kept-alive connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sha2::{Digest, Sha256};

use super::credential::Credential;
use super::tls;
use super::{Error, RepositoryUrl};

/// A host that does not even accept within this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the usual poll interval, so that a poll finds the connection of the last one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);
const IDLE_CONNECTIONS_PER_HOST: usize = 2;

pub(super) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to Git servers. A clone shares them. Must be used inside a Tokio runtime.
#[derive(Clone, Default)]
pub(crate) struct Transport {
    /// One client for each way to judge certificates; nearly always there is one.
    clients: Arc<Mutex<BTreeMap<[u8; 32], Client>>>,
}

impl Transport {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(super) fn client(
        &self,
        url: &RepositoryUrl,
        credential: Option<&Credential>,
    ) -> Result<Client, Error> {
        let (ca_pem, insecure) = match credential {
            Some(credential) => (credential.ca_pem.as_deref(), credential.insecure),
            None => (None, false),
        };
        let mut digest = Sha256::new();
        digest.update([u8::from(url.is_https()), u8::from(insecure)]);
        digest.update(ca_pem.unwrap_or_default());
        let key = digest.finalize().into();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        // Plain addresses get a client that trusts nobody: loading the system's authorities takes
        // milliseconds and memory.
        let ca = if url.is_https() { ca_pem } else { None };
        let client = build(ca, insecure || !url.is_https()).map_err(|problem| {
            Error::CertificateAuthority {
                url: url.to_string(),
                problem,
            }
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn build(ca_pem: Option<&[u8]>, insecure: bool) -> Result<Client, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(Duration::from_secs(30)));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
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
