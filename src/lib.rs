//! Trimtab keeps one Kubernetes cluster as Git says.

mod cli;
mod cluster;
mod config;
mod crd;
mod object;

pub use cli::run;
