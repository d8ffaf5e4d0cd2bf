//! Why a sync did not get to its end, and what happens next.

use crate::bundle::history;
use crate::cluster;
use crate::git;
use crate::render;

/// The stage that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Render,
    Compare,
}

/// Why there is no desired state, or no comparison with it. Everything stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Git(#[from] git::Error),
    #[error("{0}")]
    Render(#[from] render::Error),
    #[error("{0}")]
    Cluster(#[from] cluster::Error),
    #[error("{0}")]
    Bundle(#[from] history::Error),
    #[error("{0}")]
    Manifests(String),
    #[error("could not stage the source: {0}")]
    Stage(std::io::Error),
}

impl Error {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Cluster(_) => Stage::Compare,
            _ => Stage::Render,
        }
    }

    /// Whether what was to be read is not in the mirror any more, and can be fetched again.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Git(git::Error::MissingCommit { .. }))
    }

    /// Whether the render used up the time or the memory that it may have.
    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Render(error) if error.is_exhausted())
    }

    /// Whether trying again may help without a new commit or another spec.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_passing(),
            Self::Manifests(_) | Self::Bundle(_) => false,
            // A full disk, a lost cache, a renderer that ran out of time under load.
            Self::Git(_) | Self::Render(_) | Self::Stage(_) => true,
        }
    }
}
