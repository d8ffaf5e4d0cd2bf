//! What the schemas of a chart's values refer to: helm follows a reference wherever it leads, so one
//! that leaves its file is refused before helm starts.

use std::fs;

use serde_json::Value;

use super::Error;
use super::chart::split;
use super::inside;
use super::kustomization::refused;
use super::tree::Found;

const FILE: &str = "values.schema.json";
/// Bytes of one schema.
const SCHEMA_BYTES: u64 = 4 << 20;
/// Fields whose text names another schema.
const REFERENCES: [&str; 4] = ["$ref", "$dynamicRef", "$recursiveRef", "$schema"];
/// Schemas of schemas, which helm has with it.
const STANDARD: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// Judges the schema of the chart in the directory `path`, and those of the charts in it. What is
/// inside of packages helm alone reads, in its sandbox.
pub(super) fn check(path: &str, files: &[Found]) -> Result<(), Error> {
    let schemas = files.iter().filter(|found| found.missing.is_none());
    for found in schemas.filter(|found| split(&found.below).1 == FILE) {
        let name = inside(path, &found.below);
        let io = |source| Error::Io {
            path: name.clone(),
            source,
        };
        if fs::metadata(&found.file).map_err(io)?.len() > SCHEMA_BYTES {
            let problem = format!("larger than {} MiB", SCHEMA_BYTES >> 20);
            return Err(refused(&name, problem));
        }
        let bytes = fs::read(&found.file).map_err(io)?;
        // What is no JSON is for helm to say.
        let schema = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if let Some(reference) = leaving(&schema) {
            let reference: String = reference.chars().take(200).collect();
            let problem = format!(
                "it refers to \"{reference}\", which is not fetched: write what it says into this file"
            );
            return Err(refused(&name, problem));
        }
    }
    Ok(())
}

/// A reference that leads out of the schema.
fn leaving(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(map) => map.iter().find_map(|(name, value)| match value.as_str() {
            Some(text) if REFERENCES.contains(&name.as_str()) => {
                let is_here = text.is_empty()
                    || text.starts_with('#')
                    || STANDARD.iter().any(|known| text.starts_with(known));
                (!is_here).then_some(text)
            }
            _ => leaving(value),
        }),
        Value::Array(items) => items.iter().find_map(leaving),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_stay_in_their_file() {
        for (schema, expected) in [
            (json!({"$ref": "#/definitions/a"}), None),
            (
                json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
                None,
            ),
            (
                json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
                None,
            ),
            (json!({"properties": {"$ref": {"type": "string"}}}), None),
            (
                json!({"$ref": "file:///etc/passwd"}),
                Some("file:///etc/passwd"),
            ),
            (
                json!({"allOf": [{"$ref": "other.json"}]}),
                Some("other.json"),
            ),
            (json!({"a": {"b": {"$dynamicRef": "/x#y"}}}), Some("/x#y")),
            (
                json!({"$schema": "http://127.0.0.1/x"}),
                Some("http://127.0.0.1/x"),
            ),
            (
                json!({"$ref": "http://127.0.0.1/x"}),
                Some("http://127.0.0.1/x"),
            ),
        ] {
            assert_eq!(leaving(&schema), expected, "{schema}");
        }
    }
}
