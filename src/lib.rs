//! Trimtab keeps one Kubernetes cluster as Git says.

mod config;
mod crd;
mod object;
mod reload;
mod server;
mod telemetry;
