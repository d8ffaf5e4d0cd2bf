//! The Kubernetes API server: the only module that sends requests to it.

mod access;
mod answers;
mod applications;
mod bundles;
mod client;
mod discovery;
mod dump;
mod error;
mod events;
mod objects;
mod patch;
mod reach;
mod secret_text;
mod setback;
mod shown;
mod versions;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use crate::telemetry::Metrics;

pub(crate) use access::{Access, User};
pub(crate) use applications::Applications;
pub(crate) use bundles::Content;
pub(crate) use client::{ClientOptions, connect, who_am_i};
pub(crate) use discovery::Served;
pub(crate) use error::Error;
pub(crate) use events::{Announcer, Notice};
pub(crate) use objects::{Deletion, Mode};
pub(crate) use reach::{find_agent, forward, request_token};
pub(crate) use setback::AsOf;
pub(crate) use shown::LogRequest;
pub(crate) use versions::{KindNews, served_versions};
pub(crate) use watch::{Selection, WatchEvent};

/// How long one request may take; watches have their own deadlines.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The cluster that the agent keeps. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: kube::Client,
    discovery: Arc<discovery::Discovery>,
    course: Arc<setback::Course>,
    metrics: Arc<Metrics>,
    /// Who writes and reads single objects; the agent itself when none.
    acting_as: Option<Arc<str>>,
}

impl Cluster {
    pub(crate) fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            discovery: Arc::default(),
            course: Arc::default(),
            metrics,
            acting_as: None,
        }
    }

    /// The same cluster, but single objects are read, applied and deleted as a service account:
    /// what that may not do is refused, whatever the agent may do. Watches and discovery stay the
    /// agent's own.
    pub(crate) fn acting_as(&self, namespace: &str, account: &str) -> Self {
        Self {
            acting_as: Some(format!("system:serviceaccount:{namespace}:{account}").into()),
            ..self.clone()
        }
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Returns when a watch was cut since the last time: nobody answered it.
    pub(crate) async fn interrupted(&self) {
        self.discovery.interrupted().await;
    }

    /// The API server's version, such as `1.36.3`, for `helm template --kube-version`.
    pub(crate) async fn version(&self) -> Result<String, Error> {
        let doing = "ask for the version of the API server";
        let info = bounded(doing, self.client.apiserver_version()).await?;
        Ok(info.git_version.trim_start_matches('v').to_owned())
    }
}

/// Runs one request with a deadline. `doing` completes "could not ...".
pub(crate) async fn bounded<T>(
    doing: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(|error| Error::new(doing, error)),
        Err(_) => Err(Error::TimedOut {
            doing: doing.to_owned(),
            after: DEADLINE,
        }),
    }
}
