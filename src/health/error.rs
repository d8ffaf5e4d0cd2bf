//! Why an object cannot be judged.

/// Why no rule could judge an object. Names fields, never their content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Error {
    #[error("no rule for version {0}")]
    Version(String),
    #[error("{0} is of an unexpected type")]
    Type(&'static str),
    #[error("the conditions in an annotation do not parse")]
    Annotation,
}
