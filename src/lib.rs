//! Trimtab keeps one Kubernetes cluster as Git says.

mod bundle;
mod cli;
mod cluster;
mod config;
mod controller;
mod crd;
mod diff;
mod exec;
mod git;
mod health;
mod object;
mod plan;
mod reload;
mod render;
mod server;
mod source;
mod sync;
mod telemetry;
#[cfg(test)]
mod tidy;
mod trigger;
mod webhook;

use std::{ffi::OsString, process::ExitCode};

/// Runs the command line with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    cli::run(arguments)
}
