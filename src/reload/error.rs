//! Why mounted files make no value.

use std::{io, path::PathBuf};

/// Why files do not make a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{0}")]
    Wrong(String),
}
