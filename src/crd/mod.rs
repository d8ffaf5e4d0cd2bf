//! The custom resource: Application, Argo-shaped, its status and the names around it.

mod application;
mod approval;
mod definition;
mod faults;
pub(crate) mod foreign;
mod installed;
mod inventory;
pub(crate) mod names;
pub(crate) mod options;
mod read;
mod status;

pub(crate) use application::*;
pub(crate) use approval::{Cascade, approval};
pub(crate) use definition::definition;
pub(crate) use installed::{Installed, compare as compare_definitions};
pub(crate) use inventory::{Ended, Inventory, InventoryEntry};
pub(crate) use options::{Consent, Propagation, SyncOptions};
pub(crate) use read::{Application, ApplicationKey, read};
pub(crate) use status::*;
