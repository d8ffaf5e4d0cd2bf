//! One Kubernetes manifest, desired or live, and the words for it. Never talks to a cluster.

mod builtin;
mod ignore;
mod key;
mod names;
mod order;
mod redact;
mod rendered;
mod repository;
mod size;
mod time;
mod yaml;

use std::fmt;

use serde_json::{Map, Value};

pub(crate) use builtin::is_built_in;
pub(crate) use ignore::IgnoreDifferences;
pub(crate) use key::{Kind, ResourceKey};
pub(crate) use names::{is_dns_label, is_dns_name};
pub(crate) use order::kind_rank;
pub(crate) use redact::redact_url;
pub(crate) use rendered::{Notes, Rendered};
pub(crate) use repository::RepositoryKey;
pub(crate) use size::json_size;
pub(crate) use time::{duration, duration_text, rfc3339, rfc3339_after, rfc3339_before};
pub(crate) use yaml::{
    YamlError, YamlLimits, flow_yaml, parse_document, parse_first, parse_manifests, read_manifests,
    read_values, to_flow_yaml, to_yaml,
};

/// What a value lacks to be a manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NotAnObject {
    #[error("a manifest must be a mapping, this is {0}")]
    NotAMapping(&'static str),
    #[error("a manifest without `{0}`")]
    Missing(&'static str),
    #[error("{0} must be a text")]
    NotAText(&'static str),
}

/// One manifest: a JSON mapping with a non-empty `apiVersion` and `kind`.
///
/// `Debug` prints the key only, so that no Secret reaches a log by accident.
#[derive(Clone, PartialEq)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Takes a parsed document as a manifest.
    pub(crate) fn new(value: Value) -> Result<Self, NotAnObject> {
        let map = match value {
            Value::Object(map) => map,
            Value::Array(_) => return Err(NotAnObject::NotAMapping("a list")),
            Value::Null => return Err(NotAnObject::NotAMapping("empty")),
            _ => return Err(NotAnObject::NotAMapping("a single value")),
        };
        for field in ["apiVersion", "kind"] {
            match map.get(field) {
                Some(Value::String(text)) if !text.is_empty() => {}
                Some(Value::String(_)) | None => return Err(NotAnObject::Missing(field)),
                Some(_) => return Err(NotAnObject::NotAText(field)),
            }
        }
        Ok(Self(map))
    }

    pub(crate) fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("kind")
    }

    /// The API group, empty for the core group.
    pub(crate) fn group(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The version inside the group, such as `v1`.
    pub(crate) fn version(&self) -> &str {
        let api_version = self.api_version();
        api_version
            .split_once('/')
            .map_or(api_version, |(_, version)| version)
    }

    /// `metadata.name`, empty when there is none.
    pub(crate) fn name(&self) -> &str {
        self.metadata_text("name").unwrap_or_default()
    }

    /// Whether it has neither a name nor a start of one (`generateName`, for hooks).
    pub(crate) fn is_nameless(&self) -> bool {
        self.name().is_empty() && self.generate_name().is_empty()
    }

    /// `metadata.generateName`, empty when there is none.
    pub(crate) fn generate_name(&self) -> &str {
        self.metadata_text("generateName").unwrap_or_default()
    }

    /// `metadata.namespace`, none when absent or empty.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.metadata_text("namespace")
            .filter(|namespace| !namespace.is_empty())
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata_text("uid").unwrap_or_default()
    }

    pub(crate) fn resource_version(&self) -> &str {
        self.metadata_text("resourceVersion").unwrap_or_default()
    }

    /// Whether somebody asked for its deletion already.
    pub(crate) fn is_terminating(&self) -> bool {
        self.metadata_text("deletionTimestamp").is_some()
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.get("/metadata/labels")?.get(name)?.as_str()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.get("/metadata/annotations")?.get(name)?.as_str()
    }

    /// The value at a JSON pointer (RFC 6901).
    pub(crate) fn get(&self, pointer: &str) -> Option<&Value> {
        let mut segments = pointer.split('/').skip(1);
        let mut value = self.0.get(segments.next()?)?;
        for segment in segments {
            value = match value {
                Value::Object(map) => map.get(segment)?,
                Value::Array(items) => items.get(segment.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Its identity in the cluster. The version is not part of it.
    pub(crate) fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().unwrap_or_default().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// Its group, version and kind.
    pub(crate) fn api(&self) -> Kind {
        Kind {
            group: self.group().to_owned(),
            version: self.version().to_owned(),
            kind: self.kind().to_owned(),
        }
    }

    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(crate) fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// `metadata`, created when absent or of another type.
    pub(crate) fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        child_map(&mut self.0, "metadata")
    }

    pub(crate) fn set_label(&mut self, name: &str, value: &str) {
        child_map(self.metadata_mut(), "labels").insert(name.to_owned(), value.into());
    }

    pub(crate) fn set_annotation(&mut self, name: &str, value: &str) {
        child_map(self.metadata_mut(), "annotations").insert(name.to_owned(), value.into());
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn metadata_text(&self, field: &str) -> Option<&str> {
        self.0.get("metadata")?.get(field)?.as_str()
    }
}

fn child_map<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let child = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut().expect("made a mapping above")
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Object({})", self.key())
    }
}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::new(value).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_needs_api_version_and_kind() {
        let check = |value, expected| assert_eq!(Object::new(value).unwrap_err(), expected);
        check(json!([]), NotAnObject::NotAMapping("a list"));
        check(json!(null), NotAnObject::NotAMapping("empty"));
        check(json!("x"), NotAnObject::NotAMapping("a single value"));
        check(json!({"kind": "A"}), NotAnObject::Missing("apiVersion"));
        check(
            json!({"apiVersion": "v1", "kind": ""}),
            NotAnObject::Missing("kind"),
        );
        check(
            json!({"apiVersion": 1, "kind": "A"}),
            NotAnObject::NotAText("apiVersion"),
        );
    }

    #[test]
    fn group_and_version_are_parts_of_api_version() {
        let check = |api_version: &str, group, version| {
            let object = Object::new(json!({"apiVersion": api_version, "kind": "A"})).unwrap();
            assert_eq!((object.group(), object.version()), (group, version));
        };
        check("v1", "", "v1");
        check("apps/v1", "apps", "v1");
    }

    #[test]
    fn debug_shows_no_content() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "hunter2"}});
        assert!(!format!("{:?}", Object::new(secret).unwrap()).contains("hunter2"));
    }

    #[test]
    fn metadata_of_a_wrong_type_is_replaced_when_written() {
        let mut object =
            Object::new(json!({"apiVersion": "v1", "kind": "A", "metadata": 7})).unwrap();
        object.set_label("a", "b");
        assert_eq!(object.label("a"), Some("b"));
    }
}
