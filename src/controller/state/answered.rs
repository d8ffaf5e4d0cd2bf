//! What became of a request to roll back.

use crate::crd::{Operation, Pin};

/// What became of a request that waits for the end of a sync: it is seen in every look until then,
/// and done once.
#[derive(Clone)]
pub(in crate::controller) struct Answered {
    pub(in crate::controller) request: Operation,
    /// The newest commit then, and what was pinned since: with another of these it is a new matter.
    pub(in crate::controller) revision: Option<String>,
    pub(in crate::controller) pin: Option<Pin>,
    pub(in crate::controller) outcome: Result<(), String>,
}

impl Answered {
    /// Whether it is about this request, with this newest commit and this pin.
    pub(in crate::controller) fn is_for(
        &self,
        operation: &Operation,
        revision: Option<&str>,
        pin: Option<&Pin>,
    ) -> bool {
        self.request.is_same(operation)
            && self.revision.as_deref() == revision
            && self.pin.as_ref() == pin
    }
}
