//! What a null of a manifest means, as in a server-side apply.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::object::Object;

/// Maps from text to text of built-in kinds, wherever they are.
const TEXTS: [&str; 9] = [
    "annotations",
    "binaryData",
    "data",
    "labels",
    "matchLabels",
    "nodeSelector",
    "parameters",
    "stringData",
    "volumeAttributes",
];

/// Brings the nulls of a manifest into the form in which they are stored.
///
/// In a map of texts a null is the empty text. Other nulls of built-in kinds say nothing: an apply
/// would own the path without a value. In a custom resource they arrive, apart from its metadata:
/// only its schema knows what they mean. Items of lists stay.
pub(super) fn resolve(object: &mut Object, built_in: bool) {
    if built_in {
        let is_selector = object.kind() == "Service" || object.kind() == "ReplicationController";
        let fields = object.fields_mut();
        if let Some(Value::Object(spec)) = fields.get_mut("spec").filter(|_| is_selector)
            && let Some(selector) = spec.get_mut("selector")
        {
            empty_texts(selector);
        }
        resolve_map(fields);
        return;
    }
    let fields = object.fields_mut();
    if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
        resolve_map(metadata);
    }
    fields.values_mut().for_each(drop_times);
}

/// A manifest without the nulls that its schema refuses, as the API server itself leaves them out
/// of what is created or replaced; none where the refusal names none. Items of lists stay.
pub(crate) fn without_nulls(manifest: &Object, refusal: &Refusal) -> Option<Object> {
    let is_null =
        |message: &str| message.contains("must be of type") && message.contains("\"null\"");
    let causes = refusal.causes.iter();
    let refused: Vec<_> = causes
        .filter(|cause| refusal.code == 422 && is_null(&cause.message))
        .map(|cause| cause.field.as_str())
        .collect();
    if refused.is_empty() {
        return None;
    }
    let mut manifest = manifest.clone();
    drop_nulls(manifest.fields_mut(), "", &refused).then_some(manifest)
}

/// Drops the nulls at these paths; false when there are none.
fn drop_nulls(map: &mut Map<String, Value>, above: &str, refused: &[&str]) -> bool {
    let before = map.len();
    let path = |name: &str| match above {
        "" => name.to_owned(),
        above => format!("{above}.{name}"),
    };
    map.retain(|name, value| !value.is_null() || !refused.contains(&path(name).as_str()));
    let mut found = map.len() < before;
    for (name, value) in map {
        found |= drop_nulls_below(value, &path(name), refused);
    }
    found
}

fn drop_nulls_below(value: &mut Value, path: &str, refused: &[&str]) -> bool {
    match value {
        Value::Object(map) => drop_nulls(map, path, refused),
        Value::Array(items) => {
            let mut found = false;
            for (place, item) in items.iter_mut().enumerate() {
                found |= drop_nulls_below(item, &format!("{path}[{place}]"), refused);
            }
            found
        }
        _ => false,
    }
}

/// Generators print `creationTimestamp: null` into every template, where it never means anything.
fn drop_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata")
                && metadata
                    .get("creationTimestamp")
                    .is_some_and(Value::is_null)
            {
                metadata.remove("creationTimestamp");
            }
            map.values_mut().for_each(drop_times);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_times),
        _ => {}
    }
}

fn resolve_map(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    for (name, value) in map {
        if TEXTS.contains(&name.as_str()) {
            empty_texts(value);
        }
        resolve_below(value);
    }
}

fn resolve_below(value: &mut Value) {
    match value {
        Value::Object(map) => resolve_map(map),
        Value::Array(items) => items.iter_mut().for_each(resolve_below),
        _ => {}
    }
}

/// A null among texts is the empty text. A map with other values is another one of that name.
fn empty_texts(map: &mut Value) {
    let Value::Object(map) = map else {
        return;
    };
    if map
        .values()
        .any(|value| value.is_object() || value.is_array())
    {
        return;
    }
    for value in map.values_mut().filter(|value| value.is_null()) {
        *value = Value::String(String::new());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::refusal::Cause;
    use super::*;

    #[test]
    fn the_nulls_that_are_refused_go() {
        let cause = |field: &str, message: &str| Cause {
            reason: "FieldValueTypeInvalid".into(),
            field: field.into(),
            message: message.into(),
        };
        let null = |field: &str| {
            let message =
                format!("Invalid value: \"null\": {field} in body must be of type array: \"null\"");
            cause(field, &message)
        };
        let manifest = || {
            let spec = json!({
                "a": null, "free": {"a": null}, "list": [{"b": null, "c": 1}, null],
                "x.y/z": {"d": null}, "text": "null",
            });
            let value = json!({"apiVersion": "a.io/v1", "kind": "A", "spec": spec});
            Object::new(value).unwrap()
        };
        let all = ["spec.a", "spec.list[0].b", "spec.x.y/z.d"].map(null);
        let found = without_nulls(&manifest(), &Refusal::new(422, "invalid", all)).unwrap();
        let expected = json!({
            "free": {"a": null}, "list": [{"c": 1}, null], "x.y/z": {}, "text": "null",
        });
        assert_eq!(found.get("/spec"), Some(&expected));
        for (code, cause) in [
            (422, null("spec.list[1]")),
            (422, null("spec.text")),
            (422, null("spec.b")),
            (400, null("spec.a")),
            (422, cause("spec.a", "Required value")),
        ] {
            let refusal = Refusal::new(code, "invalid", [cause]);
            assert!(without_nulls(&manifest(), &refusal).is_none(), "{code}");
        }
    }

    fn resolved(value: Value, built_in: bool) -> Value {
        let mut object = Object::new(value).unwrap();
        resolve(&mut object, built_in);
        object.into_value()
    }

    #[test]
    fn built_in_kinds_have_no_nulls() {
        let value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "labels": {"a": null, "b": "c"}, "annotations": null},
            "spec": {
                "replicas": null,
                "selector": {"matchLabels": {"a": null}, "matchExpressions": null},
                "list": [null, {"c": null}],
                "template": {"spec": {"nodeSelector": {"a": null}}},
            },
        });
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "labels": {"a": "", "b": "c"}},
            "spec": {
                "selector": {"matchLabels": {"a": ""}},
                "list": [null, {}],
                "template": {"spec": {"nodeSelector": {"a": ""}}},
            },
        });
        assert_eq!(resolved(value, true), expected);
        for (kind, before, after) in [
            (
                "ConfigMap",
                json!({"data": {"a": null}}),
                json!({"data": {"a": ""}}),
            ),
            (
                "Secret",
                json!({"stringData": {"a": null}}),
                json!({"stringData": {"a": ""}}),
            ),
            ("Secret", json!({"data": null}), json!({})),
            (
                "Service",
                json!({"spec": {"selector": {"a": null}}}),
                json!({"spec": {"selector": {"a": ""}}}),
            ),
            (
                "Pod",
                json!({"spec": {"parameters": {"kind": null, "of": {}}}}),
                json!({"spec": {"parameters": {"of": {}}}}),
            ),
        ] {
            let with = |mut value: Value| {
                value["apiVersion"] = "v1".into();
                value["kind"] = kind.into();
                value
            };
            assert_eq!(resolved(with(before), true), with(after), "{kind}");
        }
    }

    #[test]
    fn nulls_of_custom_resources_arrive() {
        let value = json!({
            "apiVersion": "example.com/v1", "kind": "Release",
            "metadata": {"name": "a", "labels": {"a": null}, "finalizers": null},
            "spec": {
                "values": {"limits": {"cpu": null}}, "data": {"a": null}, "labels": null,
                "template": {"metadata": {"creationTimestamp": null, "a": null}},
            },
        });
        let expected = json!({
            "apiVersion": "example.com/v1", "kind": "Release",
            "metadata": {"name": "a", "labels": {"a": ""}},
            "spec": {
                "values": {"limits": {"cpu": null}}, "data": {"a": null}, "labels": null,
                "template": {"metadata": {"a": null}},
            },
        });
        assert_eq!(resolved(value, false), expected);
    }
}
