//! A panic of the task of an application, as people are told of it.

use std::time::Instant;

/// What people are told after a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Fault {
    pub(in crate::controller) message: String,
    /// When it went well for long enough.
    pub(in crate::controller) until: Instant,
}
