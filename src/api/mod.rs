//! The API of people and programs: who asks, what they may do, and what they get. Everything that
//! is shown or done passes a [`Need`]; pages and JSON are made of the same values.

mod actions;
mod applications;
mod body;
mod explain;
mod filter;
mod guard;
mod identity;
mod live;
mod login;
mod logins;
mod openapi;
mod permission;
mod problem;
mod repositories;
mod route;
mod routes;
mod sessions;
mod stream;
mod tree;
mod unique;
mod webhooks;

use std::{net::IpAddr, sync::Arc};

use tokio::sync::watch;

use crate::cluster::{Applications, AsOf, Cluster};
use crate::controller::Registry;
use crate::crd::{Application, ApplicationKey};
use crate::oidc::Provider;
use crate::server::{Guests, Rates};
use crate::source::SourceLoop;
use crate::telemetry::Metrics;
use crate::trigger::Journal;
use identity::Authenticator;
use logins::Logins;
use permission::Permissions;

pub(crate) use actions::Proposal;
pub(crate) use applications::{Commit, DiffQuery, List, Visible, stored};
pub(crate) use explain::{Explanation, explain};
pub(crate) use filter::Filter;
pub(crate) use identity::{AUDIENCE, Identity};
pub(crate) use live::{EventRow, LiveRights, ObjectQuery};
pub(crate) use logins::{LOGIN_COOKIE, PATIENCE};
pub(crate) use permission::Need;
pub(crate) use problem::{Problem, Refusal, random_hex};
pub(crate) use repositories::RepositoryRow;
pub(crate) use route::Route;
pub(crate) use routes::{mount, routes};
pub(crate) use sessions::{COOKIE_NAME, LIFETIME, Sessions};
pub(crate) use tree::Node;
pub(crate) use webhooks::{DeliveryRow, ReceiverRow};

/// The parts of the agent that the API looks at.
pub(crate) struct Parts {
    pub(crate) registry: Arc<Registry>,
    pub(crate) applications: Applications,
    pub(crate) cluster: Cluster,
    pub(crate) sources: Arc<SourceLoop>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) provider: Option<Provider>,
}

/// What the API works with.
pub(crate) struct Api {
    registry: Arc<Registry>,
    applications: Applications,
    cluster: Cluster,
    sources: Arc<SourceLoop>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    /// Host names under which it may be reached, besides addresses and localhost.
    hosts: Vec<String>,
    authenticator: Authenticator,
    permissions: Permissions,
    pub(crate) sessions: Sessions,
    provider: Option<Provider>,
    logins: Logins,
    /// Requests of those who are not logged in, by where they come from.
    visitors: Rates<IpAddr>,
    /// Requests of those who are, by name.
    people: Rates<String>,
    /// Streams of changes and of logs that are open, by name.
    visits: Guests<String>,
    /// Streams end when the agent does.
    stopped: watch::Receiver<bool>,
    about: About,
}

/// What the agent says about itself.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) kube_version: String,
    /// The agent's own namespace.
    pub(crate) home: String,
    /// The namespaces whose Applications it keeps.
    pub(crate) namespaces: Vec<String>,
    /// The API group of its Applications.
    pub(crate) group: String,
    /// How long it waits between two looks at a repository that nobody pushes to, in seconds.
    pub(crate) poll_seconds: u64,
    /// Caps and deadlines, each with its name and its value in words.
    pub(crate) limits: Vec<(&'static str, String)>,
    /// What confines kustomize and helm on this node.
    pub(crate) sandbox: String,
    /// What the start-up self-test tried, each with whether the sandbox held.
    pub(crate) sandbox_checks: Vec<(String, bool)>,
}

/// What the agent does right now.
#[derive(Clone, Copy, Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    pub(crate) applications: usize,
    /// Live objects that are watched.
    pub(crate) objects: usize,
    pub(crate) repositories: usize,
    /// Streams of changes and of logs that are open.
    pub(crate) streams: usize,
    /// Resident memory of the agent in MiB, none where the system does not say.
    pub(crate) memory_mib: Option<u64>,
}

/// Resident memory of the agent in MiB, where the system says.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

impl Api {
    pub(crate) fn new(
        parts: Parts,
        hosts: Vec<String>,
        stopped: watch::Receiver<bool>,
        about: About,
    ) -> Self {
        let cluster = parts.cluster;
        Self {
            registry: parts.registry,
            applications: parts.applications,
            sources: parts.sources,
            journal: parts.journal,
            metrics: parts.metrics,
            hosts,
            authenticator: Authenticator::new(cluster.clone()),
            permissions: Permissions::new(cluster.clone(), &about.group),
            cluster,
            sessions: Sessions::default(),
            provider: parts.provider,
            logins: Logins::default(),
            visitors: Rates::new(20, 200),
            people: Rates::new(100, 1000),
            visits: Guests::default(),
            stopped,
            about,
        }
    }

    /// The Application as it is stored now.
    pub(crate) async fn application(&self, key: &ApplicationKey) -> Result<Application, Problem> {
        match self.applications.get(key).await {
            Err(error) if error.is_not_found() => Err(Problem::missing("such application")),
            found => Ok(found?),
        }
    }

    /// Whether somebody may do this to an application; what they may not is not offered.
    pub(crate) async fn may(
        &self,
        identity: &Identity,
        verb: &str,
        application: &ApplicationKey,
    ) -> Result<bool, Problem> {
        self.permissions
            .application(identity, verb, application)
            .await
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// As of when the cluster is known; none while it answers.
    pub(crate) fn as_of(&self) -> Option<AsOf> {
        self.cluster.as_of()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            applications: self.registry.summaries().len(),
            objects: self.registry.managed_objects(),
            repositories: self.sources.looks().len(),
            streams: self.visits.count(),
            memory_mib: resident(),
        }
    }
}
