//! The HTTP client that all mirrors share: one pool of kept-alive connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::credential::Credential;
use super::{Error, RepositoryUrl};
use crate::connect;
pub(super) use crate::connect::Client;
use crate::exec::{Shares, Slots};

/// A fetch takes a thread of the blocking pool for as long as its server keeps it waiting. The pool
/// has 512, and checkouts use it too.
const FETCHES: Shares = Shares {
    all: 256,
    unproven: 256,
    each: 8,
    slow: 16,
};

/// Connections to Git servers. A clone shares them. Must be used inside a Tokio runtime.
#[derive(Clone)]
pub(crate) struct Transport {
    /// One client for each way to judge certificates; nearly always there is one.
    clients: Arc<Mutex<BTreeMap<[u8; 32], Client>>>,
    pub(super) slots: Slots,
}

impl Transport {
    pub(crate) fn new() -> Self {
        Self {
            clients: Arc::default(),
            slots: Slots::new(FETCHES),
        }
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
        let client = connect::client(ca, insecure || !url.is_https()).map_err(|problem| {
            Error::CertificateAuthority {
                url: url.to_string(),
                problem,
            }
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}
