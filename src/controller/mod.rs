//! Keeps every Application: watches them, and runs one task each that compares, syncs and
//! reports. What the status says is put together in `status` and written by `report`.

mod advance;
mod ahead;
mod anew;
mod asked;
mod chosen;
mod claims;
mod clearing;
mod comparing;
mod conditions;
mod dependencies;
mod ended;
mod fights;
mod finalize;
mod gates;
mod hooks;
mod inspect;
mod interrupt;
mod live;
mod namespace;
mod newest;
mod project;
mod proposal;
mod reasons;
mod reconcile;
mod registry;
mod report;
mod requests;
mod rest;
mod rollback;
mod room;
mod running;
mod seen;
mod state;
mod status;
mod summary;
mod suspicion;
mod syncing;
mod unwatched;
mod waits;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::cluster::{Announcer, Applications};
use crate::crd::ApplicationKey;
use crate::git::Mirror;
use crate::sync::Engine;
use crate::trigger::{Journal, Sources};

pub(crate) use claims::Claims;
pub(crate) use dependencies::Dependencies;
pub(crate) use inspect::{Against, Difference, Fate, Inspection, Unavailable};
pub(crate) use live::LiveTable;
pub(crate) use project::ProjectsInForce;
pub(crate) use registry::{Change, Registry, watch_applications};
pub(crate) use summary::Summary;

/// How long a task waits after it could not report.
const PAUSE: Duration = Duration::from_secs(2);

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
