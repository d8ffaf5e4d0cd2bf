//! What a render makes.

use serde::{Deserialize, Serialize};

use super::Object;

/// Manifests, and what a person should know about how they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) objects: Vec<Object>,
    pub(crate) notes: Notes,
}

/// What was read otherwise than a person may expect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    /// Keys that the source has twice; the last one counts.
    pub(crate) repeated_keys: Vec<String>,
    /// Files beside the manifests that hold none.
    pub(crate) skipped_files: Vec<String>,
}

impl From<Vec<Object>> for Rendered {
    fn from(objects: Vec<Object>) -> Self {
        Self {
            objects,
            notes: Notes::default(),
        }
    }
}
