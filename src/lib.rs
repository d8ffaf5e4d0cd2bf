//! Trimtab keeps one Kubernetes cluster as Git says.

mod config;
mod crd;
mod diff;
mod health;
mod object;
mod telemetry;
mod webhook;
