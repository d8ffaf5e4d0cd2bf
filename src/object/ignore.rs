//! The words for differences that are left alone: of a spec, and of the settings for all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields of objects that are neither compared nor changed, as Argo CD's `ignoreDifferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IgnoreDifferences {
    /// The API group, empty for the core; `*` stands for any characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    /// The kind; `*` stands for any characters.
    pub(crate) kind: String,
    /// Only objects of this name; `*` stands for any characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Only objects of this namespace; `*` stands for any characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    /// Fields by JSON pointer (RFC 6901), such as `/spec/replicas`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) json_pointers: Vec<String>,
    /// Fields by jq path expression, such as `.spec.containers[] | select(.name == "proxy")`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) jq_path_expressions: Vec<String>,
    /// Field managers: what they own is theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) managed_fields_managers: Vec<String>,
}
