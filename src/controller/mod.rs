//! Keeps every Application: watches them, and runs one task each that compares, syncs and
//! reports. What the status says is put together in `decide::status` and written by `act::report`.

mod act;
mod advance;
mod decide;
mod finalize;
mod index;
mod live;
mod observe;
mod preview;
mod reconcile;
mod registry;
mod state;
mod syncing;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::cluster::{Announcer, Applications};
use crate::crd::ApplicationKey;
use crate::git::Mirror;
use crate::sync::Engine;
use crate::trigger::{Journal, Sources};

pub(crate) use index::claims::Claims;
pub(crate) use index::dependencies::Dependencies;
pub(crate) use index::projects::ProjectsInForce;
pub(crate) use index::summary::Summary;
pub(crate) use live::LiveTable;
pub(crate) use preview::{Against, Difference, Fate, Inspection, Unavailable};
pub(crate) use registry::{Change, Registry, watch_applications};

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
