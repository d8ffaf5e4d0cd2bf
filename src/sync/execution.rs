//! What the engine applies, and as whom.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Desired, Manifests};
use crate::cluster::Cluster;
use crate::crd::{Application, ApplicationKey, StoredField};
use crate::diff::{Baseline, IgnoreRules};
use crate::object::{Object, ResourceKey};

/// At most so many requests of one application at once, so that a large one leaves slots to others.
pub(super) const AT_ONCE: usize = 16;

/// What is to be applied, and as whom.
pub(crate) struct Execution<'a> {
    pub(crate) owner: &'a ApplicationKey,
    /// The cluster, acted on as the application's service account.
    pub(crate) cluster: &'a Cluster,
    pub(crate) desired: &'a Desired,
    pub(crate) manifests: &'a Manifests,
    pub(crate) ignore: &'a IgnoreRules,
    /// Options for this sync only; they win over what the objects say.
    pub(crate) options: &'a [String],
    /// The resourceVersions seen last, to tell a change from a no-op.
    pub(crate) seen: HashMap<ResourceKey, String>,
    /// Those whose number of replicas is ours: it may be somebody else's from now on.
    pub(crate) scaled: HashSet<ResourceKey>,
    /// The namespace that the sync creates before all else where it is missing.
    pub(crate) namespace: Option<&'a str>,
    /// What was applied before, where something is written.
    pub(crate) applied: Option<Applied<'a>>,
    /// What this sync has deleted, as it stood in the way of something.
    pub(crate) gone: Vec<&'a Object>,
}

/// What was applied before, to see what leaves with this apply.
pub(crate) struct Applied<'a> {
    pub(crate) application: &'a Application,
    pub(crate) baselines: &'a HashMap<ResourceKey, Baseline>,
    pub(crate) stored: &'a BTreeMap<ResourceKey, Vec<StoredField>>,
    /// Digest that names the bundle of the last deployment.
    pub(crate) bundle: &'a str,
}
