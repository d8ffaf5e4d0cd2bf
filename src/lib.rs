//! Trimtab keeps one Kubernetes cluster as Git says.

mod config;
mod crd;
mod diff;
mod git;
mod health;
mod object;
mod reload;
mod server;
mod telemetry;
mod webhook;
