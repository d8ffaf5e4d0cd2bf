//! The CustomResourceDefinition as a value.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::names::{DEFINITION_VERSION, KIND, PLURAL, VERSION};
use super::{ApplicationSpec, ApplicationStatus, Operation};

/// The CustomResourceDefinition of Application in an API group.
pub(crate) fn definition(group: &str) -> Value {
    let mut spec = schema::<ApplicationSpec>();
    keep_unknown(&mut spec);
    let mut operation = schema::<Operation>();
    keep_unknown(&mut operation);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{PLURAL}.{group}"),
            "annotations": {DEFINITION_VERSION: env!("CARGO_PKG_VERSION")},
        },
        "spec": {
            "group": group,
            "names": {
                "kind": KIND, "listKind": "ApplicationList",
                "plural": PLURAL, "singular": "application", "shortNames": ["app", "apps"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Sync", ".status.sync.status"),
                    column("Health", ".status.health.status"),
                    column("Revision", ".status.sync.revision"),
                ],
                "schema": {"openAPIV3Schema": {
                    "description": "An application: a directory of a Git repository that is kept live in this cluster.",
                    "type": "object",
                    "required": ["metadata", "spec"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                        "spec": spec,
                        "operation": operation,
                        "status": schema::<ApplicationStatus>(),
                    },
                }},
            }],
        },
    })
}

fn column(name: &str, path: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path})
}

/// The schema of a type in the dialect of CustomResourceDefinitions.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut value = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    structural(&mut value);
    value
}

/// Takes out what the API server does not take in a structural schema: `$schema`, titles,
/// defaults (an Application says what its author wrote), unknown formats, `allOf` around one
/// schema, and `true` for "anything".
fn structural(value: &mut Value) {
    if value.as_bool() == Some(true) {
        *value = json!({"x-kubernetes-preserve-unknown-fields": true});
    }
    let Value::Object(map) = value else { return };
    for dropped in [
        "$schema",
        "title",
        "default",
        "components",
        "uniqueItems",
        "additionalProperties",
    ] {
        if map.remove(dropped).is_some() && dropped == "additionalProperties" {
            map.insert(
                "x-kubernetes-preserve-unknown-fields".to_owned(),
                true.into(),
            );
        }
    }
    if map.get("format").is_some_and(|format| format != "int64") {
        map.remove("format");
    }
    for wrapper in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(mut alternatives)) = map.remove(wrapper) {
            let first = alternatives.drain(..).next();
            if let Some(Value::Object(inner)) = first {
                for (name, schema) in inner {
                    map.entry(name).or_insert(schema);
                }
            }
        }
    }
    if let Some(Value::Array(texts)) = map.get_mut("enum") {
        texts.retain(|text| !text.is_null());
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(structural);
    }
    if let Some(items) = map.get_mut("items") {
        structural(items);
    }
}

/// Lets every mapping keep fields that this version does not know: an Application of Argo CD is
/// taken as it is, and what is not supported is named in a condition instead of vanishing.
fn keep_unknown(value: &mut Value) {
    let Value::Object(map) = value else { return };
    if map.contains_key("properties") || map.get("type") == Some(&json!("object")) {
        map.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            true.into(),
        );
    }
    let children: &mut Map<String, Value> = map;
    if let Some(Value::Object(properties)) = children.get_mut("properties") {
        properties.values_mut().for_each(keep_unknown);
    }
    if let Some(items) = children.get_mut("items") {
        keep_unknown(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema below a value, with its path.
    fn walk(path: &str, value: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
        let Value::Object(map) = value else { return };
        visit(path, map);
        for (name, property) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(&format!("{path}.{name}"), property, visit);
        }
        if let Some(items) = map.get("items") {
            walk(&format!("{path}[]"), items, visit);
        }
    }

    #[test]
    fn the_schema_is_structural() {
        let definition = definition("trimtab.dev");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut seen = 0;
        walk("", schema, &mut |path, map| {
            seen += 1;
            let open = map.contains_key("x-kubernetes-preserve-unknown-fields");
            assert!(map.contains_key("type") || open, "{path} has no type");
            for refused in [
                "$ref",
                "$schema",
                "anyOf",
                "oneOf",
                "default",
                "uniqueItems",
            ] {
                assert!(!map.contains_key(refused), "{path} says {refused}");
            }
        });
        assert!(seen > 80, "{seen} schemas");
    }

    #[test]
    fn the_group_is_a_value() {
        let definition = definition("argoproj.io");
        assert_eq!(definition["metadata"]["name"], "applications.argoproj.io");
        assert_eq!(definition["spec"]["group"], "argoproj.io");
    }
}
