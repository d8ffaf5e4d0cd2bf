//! Trimtab keeps one Kubernetes cluster as Git says.

mod cluster;
mod config;
mod crd;
mod object;
