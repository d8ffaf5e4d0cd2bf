//! What a dry run said of an object that seemed to differ.

/// What a dry run said about a suspicious object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Settled {
    Differs,
    Same,
    /// Nothing differs, and an apply would make fields ours again.
    Lost,
}
