//! Decisions about one Application: from its state and what was observed to what is to be done and
//! said. Nothing here reaches the cluster, Git or the disk.

pub(in crate::controller) mod chosen;
pub(in crate::controller) mod conditions;
pub(in crate::controller) mod reasons;
pub(in crate::controller) mod status;
pub(in crate::controller) mod tasks;
pub(in crate::controller) mod view;
