//! Keeps every Application: watches them, and runs one task each that compares, syncs and
//! reports. What the status says is put together in `decide::status` and written by `act::report`.

mod act;
mod advance;
mod context;
mod decide;
mod finalize;
mod index;
mod interrupt;
mod live;
mod mailbox;
mod observe;
mod preview;
mod reconcile;
mod registry;
mod state;
mod syncing;
#[cfg(test)]
mod tests;

pub(crate) use context::Context;
pub(crate) use index::claims::Claims;
pub(crate) use index::dependencies::Dependencies;
pub(crate) use index::projects::ProjectsInForce;
pub(crate) use index::summary::Summary;
pub(crate) use live::LiveTable;
pub(crate) use preview::{Against, Difference, Fate, Inspection, Unavailable};
pub(crate) use registry::{Change, Registry, watch_applications};
