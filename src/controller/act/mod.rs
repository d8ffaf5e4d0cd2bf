//! What one reconcile does: it writes to the cluster, to the status and to the log.

pub(in crate::controller) mod anew;
pub(in crate::controller) mod asked;
pub(in crate::controller) mod clearing;
pub(in crate::controller) mod execution;
pub(in crate::controller) mod hooks;
pub(in crate::controller) mod namespace;
pub(in crate::controller) mod newest;
pub(in crate::controller) mod preflight;
pub(in crate::controller) mod refused;
pub(in crate::controller) mod report;
pub(in crate::controller) mod requests;
pub(in crate::controller) mod rollback;
pub(in crate::controller) mod rows;
pub(in crate::controller) mod waits;
