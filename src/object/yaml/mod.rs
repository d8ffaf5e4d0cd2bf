//! YAML and JSON into manifests, read as kubectl, kustomize and helm read them: the same grammar
//! (libyaml's, YAML 1.1) and the same rules for what an unquoted text means (sigs.k8s.io/yaml).
//! The only directory that names a YAML crate.

mod compose;
mod json;
mod scalar;
mod write;

use std::fmt;

use serde_json::Value;

use super::{NotAnObject, Object};
use compose::{Composer, Document, Fault, Repeated};

pub(crate) use write::{flow_yaml, to_flow_yaml, to_yaml};

/// Caps on what is taken as manifests of one application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct YamlLimits {
    /// Bytes of one text.
    pub(crate) bytes: usize,
    /// Objects of one text, after Lists are opened.
    pub(crate) objects: usize,
    /// Values of one text, keys included: each takes about 100 bytes of memory.
    pub(crate) nodes: usize,
}

impl Default for YamlLimits {
    /// Where memory is not limited: 64 MiB as for a child's output, and 10,000 objects.
    fn default() -> Self {
        Self::of_bytes(64 << 20)
    }
}

impl YamlLimits {
    /// What belongs to texts of this length: an ordinary manifest has a value in 20 to 30 bytes.
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            objects: 10_000,
            nodes: bytes / 32,
        }
    }
}

/// Values of a text that is no list of manifests: settings, a kustomization, values of a chart.
const SINGLE_NODES: usize = 200_000;

/// Why a text is no list of manifests. Never quotes a value: it may be a Secret's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("{size} bytes of YAML where at most {limit} are taken")]
    TooLarge { size: usize, limit: usize },
    #[error("more than {limit} objects")]
    TooMany { limit: usize },
    #[error("it comes to more than {limit} values")]
    TooDense { limit: usize },
    #[error("document {document} does not parse: {what} at line {line}, column {column}")]
    Syntax {
        document: usize,
        what: String,
        line: u64,
        column: u64,
    },
    #[error("document {document}: {source}")]
    NotAnObject {
        document: usize,
        /// Where the document starts, 0 where that is not known.
        line: u64,
        source: NotAnObject,
    },
    #[error("{0}; only one of them can count, so remove the others")]
    Repeated(RepeatedKey),
    #[error("more than one document")]
    Documents,
    #[error("could not be written as YAML: {0}")]
    Write(String),
}

impl YamlError {
    /// The line that it is about, 0 where that is not known.
    pub(crate) fn line(&self) -> u64 {
        match self {
            Self::Syntax { line, .. } | Self::NotAnObject { line, .. } => *line,
            Self::Repeated(key) => key.line,
            _ => 0,
        }
    }
}

/// A key that one mapping has twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepeatedKey {
    /// Of the later one; 0 where it is not known.
    pub(crate) line: u64,
    pub(crate) key: String,
    /// The manifest it is part of, empty for other documents.
    pub(crate) object: String,
}

impl fmt::Display for RepeatedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(formatter, "line {}: ", self.line)?;
        }
        write!(formatter, "the key `{}` is there twice", self.key)?;
        match self.object.as_str() {
            "" => Ok(()),
            object => write!(formatter, " in {object}"),
        }
    }
}

/// A document that is no manifest.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) error: YamlError,
    /// It looks like a manifest that lost its kind or its apiVersion.
    pub(crate) is_half: bool,
}

/// What a text holds.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) objects: Vec<Object>,
    /// Keys of which the last one was taken.
    pub(crate) repeated: Vec<RepeatedKey>,
    /// The first document that is no manifest.
    pub(crate) other: Option<Other>,
    /// Values of all documents, keys included.
    pub(crate) nodes: usize,
}

/// Reads every document of a text, skips empty ones and opens Lists one level deep. Of several
/// values of one key the last counts, as in kubectl; whether that is good enough is for the caller
/// to say, as for documents that are no manifests.
pub(crate) fn read_manifests(text: &str, limits: YamlLimits) -> Result<Documents, YamlError> {
    if text.len() > limits.bytes {
        return Err(YamlError::TooLarge {
            size: text.len(),
            limit: limits.bytes,
        });
    }
    let mut documents = Documents::default();
    match json::documents(text, limits.nodes)? {
        Some((values, nodes)) => {
            documents.nodes = nodes;
            for (number, document) in (1..).zip(values) {
                take(&mut documents, number, document, limits)?;
            }
        }
        None => {
            let mut composer = Composer::new(text, limits.nodes);
            for (number, document) in (1..).zip(composer.by_ref()) {
                let document = document.map_err(|fault| syntax(number, fault))?;
                take(&mut documents, number, document, limits)?;
            }
            documents.nodes = composer.nodes();
        }
    }
    Ok(documents)
}

/// Reads a text that holds nothing but manifests, in which no key is there twice.
pub(crate) fn parse_manifests(text: &str, limits: YamlLimits) -> Result<Vec<Object>, YamlError> {
    let documents = read_manifests(text, limits)?;
    if let Some(key) = documents.repeated.into_iter().next() {
        return Err(YamlError::Repeated(key));
    }
    match documents.other {
        Some(other) => Err(other.error),
        None => Ok(documents.objects),
    }
}

/// Reads a text of exactly one document, such as a settings or values file.
pub(crate) fn parse_document(text: &str) -> Result<Value, YamlError> {
    let mut documents = Composer::new(text, SINGLE_NODES);
    let first = documents.next().transpose();
    let Some(first) = first.map_err(|fault| syntax(1, fault))? else {
        return Ok(Value::Null);
    };
    if let Some(repeated) = first.repeated.into_iter().next() {
        return Err(YamlError::Repeated(named(repeated, "")));
    }
    match documents.next() {
        None => Ok(first.value),
        Some(Err(fault)) => Err(syntax(2, fault)),
        Some(Ok(document)) if document.value.is_null() => Ok(first.value),
        Some(Ok(_)) => Err(YamlError::Documents),
    }
}

/// Reads the first document of a text, whatever comes after it, with the keys that are there
/// twice: what kustomize takes as a kustomization.
pub(crate) fn parse_first(text: &str) -> Result<(Value, Vec<RepeatedKey>), YamlError> {
    let first = Composer::new(text, SINGLE_NODES).next().transpose();
    let Some(first) = first.map_err(|fault| syntax(1, fault))? else {
        return Ok((Value::Null, Vec::new()));
    };
    let repeated = first.repeated.into_iter();
    Ok((first.value, repeated.map(|it| named(it, "")).collect()))
}

/// Reads every document of a text, whatever it is.
pub(crate) fn read_values(text: &str) -> Result<Vec<Value>, YamlError> {
    let nodes = YamlLimits::default().nodes;
    let documents = match json::documents(text, nodes)? {
        Some((documents, _)) => return Ok(documents.into_iter().map(|it| it.value).collect()),
        None => Composer::new(text, nodes),
    };
    let values = (1..)
        .zip(documents)
        .map(|(number, document)| match document {
            Ok(document) => Ok(document.value),
            Err(fault) => Err(syntax(number, fault)),
        });
    values.collect()
}

fn syntax(document: usize, fault: Fault) -> YamlError {
    YamlError::Syntax {
        document,
        what: fault.what,
        line: fault.line,
        column: fault.column,
    }
}

fn named(repeated: Repeated, object: &str) -> RepeatedKey {
    RepeatedKey {
        line: repeated.line,
        key: repeated.key,
        object: object.to_owned(),
    }
}

fn take(
    documents: &mut Documents,
    number: usize,
    document: Document,
    limits: YamlLimits,
) -> Result<(), YamlError> {
    let Document {
        value,
        line,
        repeated,
    } = document;
    if value.is_null() {
        return Ok(());
    }
    let not_an_object = |source| YamlError::NotAnObject {
        document: number,
        line,
        source,
    };
    let before = documents.objects.len();
    match list_items(value) {
        Ok(items) => {
            for item in items {
                let object = Object::new(item).map_err(not_an_object)?;
                documents.objects.push(object);
            }
        }
        Err(value) => {
            let is_half = is_half(&value);
            match Object::new(value) {
                Ok(object) => documents.objects.push(object),
                Err(source) => {
                    let error = not_an_object(source);
                    documents.other.get_or_insert(Other { error, is_half });
                }
            }
        }
    }
    if documents.objects.len() > limits.objects {
        return Err(YamlError::TooMany {
            limit: limits.objects,
        });
    }
    if !repeated.is_empty() {
        let object = documents.objects.get(before);
        let object = object.map_or(String::new(), |object| object.key().to_string());
        let repeated = repeated.into_iter().map(|it| named(it, &object));
        documents.repeated.extend(repeated);
    }
    Ok(())
}

/// Whether a value looks like a manifest without its kind or its apiVersion. A Chart.yaml has an
/// apiVersion and no metadata.
fn is_half(value: &Value) -> bool {
    let has = |field: &str| !value[field].is_null();
    has("kind") || (has("apiVersion") && has("metadata"))
}

/// The items of a `List` (any kind of it with `items`), or the value back.
fn list_items(value: Value) -> Result<Vec<Value>, Value> {
    let is_list = value["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"))
        && value["items"].is_array();
    match value {
        Value::Object(mut map) if is_list => match map.remove("items") {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        },
        value => Err(value),
    }
}

#[cfg(test)]
mod tests;
