//! The engine: from a commit to what is desired, from there to what differs, and from there to a
//! converged cluster. Each stage is a function; the controller calls them in this order:
//! [`desire`] (checkout and render), [`compare`], then, place by place of the plan, [`check`],
//! [`execute`], [`start_hook`] and [`delete`].

mod accepted;
mod adopt;
mod capabilities;
mod compare;
mod delete;
mod desire;
mod error;
mod execute;
mod execution;
mod handing;
mod history;
mod hooks;
mod later;
mod namespace;
mod prepare;
mod preview;
mod refused;
mod stored;
mod summary;
mod write;

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;

use crate::bundle::Bundles;
use crate::cluster::Cluster;
use crate::exec::Slots;
use crate::object::{IgnoreDifferences, YamlLimits};
use crate::render::Tools;
use crate::telemetry::Metrics;

pub(crate) use accepted::apply;
pub(crate) use capabilities::Capabilities;
pub(crate) use compare::{Comparison, Live, Lookup, compare};
pub(crate) use delete::delete;
pub(crate) use desire::{Source, desire, manifests_of};
pub(crate) use error::Error;
pub(crate) use execute::{Change, Course, Outcome, check, execute};
pub(crate) use execution::{Applied, Execution};
pub(crate) use handing::is_scalable;
pub(crate) use history::{keep, recall};
pub(crate) use hooks::{check_hook, find_run, key_of_run, start_hook};
pub(crate) use later::taken_without;
pub(crate) use namespace::{WantedNamespace, wanted_namespace};
#[cfg(any(test, feature = "micro"))]
pub(crate) use prepare::DesiredObject;
pub(crate) use prepare::{Desired, DesiredHook, Manifests, prepare};
pub(crate) use preview::{Preview, Scene, preview};
pub(crate) use stored::stored_of;

/// What every sync works with.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) cluster: Cluster,
    pub(crate) tools: Arc<Tools>,
    pub(crate) bundles: Bundles,
    pub(crate) metrics: Arc<Metrics>,
    /// Where sources are staged for a render: memory-backed where there is such a place.
    pub(crate) stages: PathBuf,
    /// Bytes that may be staged for one render.
    pub(crate) stage_bytes: u64,
    /// What charts are told of the cluster.
    pub(crate) capabilities: Arc<Capabilities>,
    /// How many look through what a revision reads at once, shared by repository.
    pub(crate) reading_slots: Slots,
    /// How many tools render at once, shared by repository: each is a child with memory of its own.
    pub(crate) render_slots: Slots,
    /// How many directories of plain manifests are read at once. They need no child and do not wait
    /// for one.
    pub(crate) directory_slots: Slots,
    /// How many applies are on their way at once.
    pub(crate) apply_slots: Arc<Semaphore>,
    pub(crate) render_timeout: std::time::Duration,
    pub(crate) yaml_limits: YamlLimits,
    /// How often every object is asked about, whatever the watches showed; never when none.
    pub(crate) verify_interval: Option<std::time::Duration>,
    /// Differences that are left alone in every application.
    pub(crate) ignore_differences: Arc<[IgnoreDifferences]>,
}
