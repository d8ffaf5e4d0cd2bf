//! What became of asking the source for the sync that a person or a pipeline asked for.

use crate::crd::Operation;

/// What became of asking the source for one request.
#[derive(Clone)]
pub(in crate::controller) struct Asked {
    pub(in crate::controller) request: Operation,
    pub(in crate::controller) outcome: Result<(), String>,
}
