//! Trimtab keeps one Kubernetes cluster as Git says.
//!
//! ```text
//!  forge ── signed push ──► server (webhook port) ─┐
//!                           poll ──────────────────┤
//!                                                  ▼
//!                 source: one loop a repository: ls-refs, fetch; who reads what changed?
//!                                                  ▼ only those
//!                 controller: one task an application
//!                   desire (checkout, render) → compare → decide → execute (apply, prune)
//!                   → health → status: one patch, and Events
//!                                                  ▲
//!  cluster ── watches of managed kinds ────────────┘ each event is digested and dropped
//! ```
//!
//! # Floors
//!
//! A module uses modules on lower floors only; `tidy` checks it, and that the modules that decide
//! (marked ·) never touch the world.
//!
//! | floor | modules |
//! |---|---|
//! | characters | [`text`]· |
//! | words | [`object`]· [`telemetry`] |
//! | the resource | [`crd`]· [`config`]· |
//! | decisions and tools | [`webhook`]· [`diff`]· [`health`]· [`exec`] [`reload`] [`connect`] [`supervise`] |
//! | plans and hands | [`trigger`]· [`plan`]· [`git`] [`render`] [`cluster`] [`bundle`] [`oidc`] |
//! | the engine | [`sync`] |
//! | drivers | [`source`] [`controller`] [`server`] |
//! | what people may do | [`api`] |
//! | what they see | [`ui`] |
//! | the command line | [`cli`] |
//!
//! # Invariants
//!
//! - Nothing is deleted but what says itself that it is ours, after a complete render and apply.
//! - The inventory is written before the first create: it is a superset of what is live.
//! - A source that cannot be read or rendered changes nothing.
//! - The status is folded in one place (`controller::decide::status`) and written on change only.
//! - At rest nothing is written and nothing is asked but one ls-refs a repository and interval.

#![cfg_attr(
    test,
    expect(
        clippy::needless_pass_by_value,
        reason = "tests make values to give them away"
    )
)]

/// Counts what tests allocate; the program has the same one.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod api;
mod bundle;
mod cli;
mod cluster;
mod config;
mod connect;
mod controller;
mod crd;
mod diff;
mod exec;
mod git;
mod health;
#[cfg(any(test, feature = "micro"))]
pub mod micro;
mod object;
mod oidc;
mod plan;
mod reload;
mod render;
mod server;
mod source;
mod supervise;
mod sync;
mod telemetry;
mod text;
#[cfg(test)]
mod tidy;
mod trigger;
mod ui;
mod webhook;

use std::{ffi::OsString, process::ExitCode};

/// Runs the command line with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    exec::enter(&arguments).unwrap_or_else(|| {
        exec::close_to_others();
        cli::run(arguments)
    })
}
