//! The API of people and programs: who asks, what they may do, and what they get. Everything that
//! is shown or done passes a [`Need`]; pages and JSON are made of the same values.

mod actions;
mod applications;
mod explain;
mod guard;
mod identity;
mod live;
mod openapi;
mod permission;
mod problem;
mod routes;
mod sessions;
mod stream;
mod tree;

use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::{Applications, Cluster};
use crate::controller::Registry;
use crate::crd::{Application, ApplicationKey};
use identity::Authenticator;
use permission::Permissions;

pub(crate) use applications::{DiffQuery, Filter, List, Visible, stored};
pub(crate) use explain::{Explanation, explain};
pub(crate) use identity::{AUDIENCE, Identity};
pub(crate) use live::{EventRow, ObjectQuery};
pub(crate) use permission::Need;
pub(crate) use problem::{Problem, random_hex};
pub(crate) use routes::{Route, mount, routes};
pub(crate) use sessions::{COOKIE_NAME, LIFETIME, Sessions};
pub(crate) use tree::Node;

/// What the API works with.
pub(crate) struct Api {
    registry: Arc<Registry>,
    applications: Applications,
    cluster: Cluster,
    /// Host names under which it may be reached, besides addresses and localhost.
    hosts: Vec<String>,
    authenticator: Authenticator,
    permissions: Permissions,
    pub(crate) sessions: Sessions,
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
    /// The namespaces whose Applications it keeps.
    pub(crate) namespaces: Vec<String>,
    /// The API group of its Applications.
    pub(crate) group: String,
}

impl Api {
    pub(crate) fn new(
        registry: Arc<Registry>,
        applications: Applications,
        cluster: Cluster,
        hosts: Vec<String>,
        stopped: watch::Receiver<bool>,
        about: About,
    ) -> Self {
        Self {
            registry,
            applications,
            hosts,
            authenticator: Authenticator::new(cluster.clone()),
            permissions: Permissions::new(cluster.clone(), &about.group),
            cluster,
            sessions: Sessions::default(),
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
}
