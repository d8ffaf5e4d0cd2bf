//! What is known of an application, as its status is made of it.

use std::collections::BTreeMap;

use crate::crd::{
    Attempt, Deployment, HookResult, Inventory, OperationState, Pin, StoredField, Timing,
};
use crate::object::ResourceKey;
use crate::sync::{Comparison, Desired};
use crate::trigger::SourceFault;

/// What is known of an application.
#[derive(Default)]
pub(in crate::controller) struct View<'a> {
    /// After a panic of its task.
    pub(in crate::controller) fault: Option<&'a str>,
    pub(in crate::controller) faults: &'a [String],
    pub(in crate::controller) source_error: Option<&'a SourceFault>,
    pub(in crate::controller) compare_error: Option<&'a str>,
    pub(in crate::controller) sync_error: Option<&'a str>,
    pub(in crate::controller) prune_held: Option<&'a str>,
    /// The hooks that keep it from being Synced, in words.
    pub(in crate::controller) pending_hooks: Option<String>,
    pub(in crate::controller) bundle_error: Option<&'a str>,
    pub(in crate::controller) fights: Vec<String>,
    pub(in crate::controller) holds: &'a [(&'static str, String)],
    pub(in crate::controller) desired: Option<&'a Desired>,
    pub(in crate::controller) comparison: Option<&'a Comparison>,
    pub(in crate::controller) inventory: Inventory,
    pub(in crate::controller) operation: Option<&'a OperationState>,
    pub(in crate::controller) hooks: &'a [HookResult],
    pub(in crate::controller) stored: Option<&'a BTreeMap<ResourceKey, Vec<StoredField>>>,
    pub(in crate::controller) pin: Option<&'a Pin>,
    pub(in crate::controller) attempts: &'a [Attempt],
    pub(in crate::controller) deployed: Option<Deployment>,
    pub(in crate::controller) history_limit: usize,
    pub(in crate::controller) timing: Option<&'a Timing>,
}
