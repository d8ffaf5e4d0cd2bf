//! What the controller works with: always, and in one reconcile of one application.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::cluster::{Announcer, Applications, Cluster};
use crate::controller::{
    Claims, Dependencies, LiveTable, ProjectsInForce, mailbox::Mailbox, state::State,
};
use crate::crd::{Application, ApplicationKey};
use crate::diff::IgnoreRules;
use crate::git::Mirror;
use crate::sync::{Engine, Manifests};
use crate::trigger::{Journal, Sources};

/// How long a task waits after it could not report.
pub(in crate::controller) const PAUSE: Duration = Duration::from_secs(2);

/// Finds the mirror that an application's source is read from.
pub(crate) type MirrorOf = Box<dyn Fn(&ApplicationKey) -> Option<Mirror> + Send + Sync>;

/// Fetches a revision into the mirror that an application's source is read from; answers with its
/// commit, or says why there is none.
pub(crate) type Fetch =
    Box<dyn Fn(ApplicationKey, String) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// What the controller works with.
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) applications: Applications,
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) mirror_of: MirrorOf,
    pub(crate) fetch: Fetch,
    pub(crate) live: Arc<LiveTable>,
    pub(crate) claims: Claims,
    pub(crate) dependencies: Dependencies,
    pub(crate) projects: Arc<ProjectsInForce>,
    /// Wakes an application.
    pub(crate) wake: Box<dyn Fn(&ApplicationKey) + Send + Sync>,
    pub(crate) announcer: Announcer,
    pub(crate) journal: Arc<Journal>,
}

/// The cluster, acted on as the application's service account if it has one.
pub(in crate::controller) fn cluster_of(context: &Context, application: &Application) -> Cluster {
    let cluster = &context.engine.cluster;
    match context.projects.account(application) {
        None => cluster.clone(),
        Some(account) => cluster.acting_as(&application.key.namespace, &account),
    }
}

/// What a sync needs at every step.
pub(in crate::controller) struct Hands<'a> {
    pub(in crate::controller) context: &'a Context,
    pub(in crate::controller) application: &'a Application,
    pub(in crate::controller) mailbox: &'a Mailbox,
    /// The cluster, acted on as the application's service account.
    pub(in crate::controller) cluster: Cluster,
    pub(in crate::controller) ignore: IgnoreRules,
    /// Loaded when something is applied.
    pub(in crate::controller) manifests: Option<Manifests>,
}

impl Hands<'_> {
    /// Whether something newer than what is known waits; that the source is still where it was, as
    /// a refresh says, is nothing newer.
    pub(in crate::controller) fn is_superseded(&self, state: &State) -> bool {
        let known = state
            .revision
            .as_ref()
            .map(|known| known.commit_id.as_str());
        self.mailbox.supersedes(known)
    }
}
