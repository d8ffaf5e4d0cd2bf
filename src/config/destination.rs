//! The names of the one cluster that a destination may be.

/// This cluster, as a destination names it.
pub(super) const CLUSTER_SERVER: &str = "https://kubernetes.default.svc";
pub(super) const CLUSTER_NAME: &str = "in-cluster";
