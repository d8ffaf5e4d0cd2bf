//! What an apply makes of a live object, as far as that can be told without asking: lists are
//! merged as the managed fields show that the API server merges them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::adopt::unite;
use super::owned::entries;
use crate::object::Object;

/// The steps of a path, as the managed fields write them.
pub(super) type Path = Vec<String>;

/// All that anybody owns of an object.
pub(super) fn all_owned(live: &Object) -> Map<String, Value> {
    let mut all = Map::new();
    for entry in entries(live).into_iter().flatten() {
        if let Some(fields) = entry["fieldsV1"].as_object() {
            unite(&mut all, fields);
        }
    }
    all
}

/// A manifest over what is live.
pub(crate) fn overlaid(live: &Object, manifest: &Object) -> Object {
    let owned = all_owned(live);
    let mut result = live.clone();
    for (name, value) in manifest.fields() {
        let below = child(&owned, &format!("f:{name}"));
        let value = overlay(live.fields().get(name), value, below);
        result.fields_mut().insert(name.clone(), value);
    }
    result
}

fn overlay(live: Option<&Value>, declared: &Value, owned: Option<&Map<String, Value>>) -> Value {
    // A leaf that holds more is written as a whole.
    let atomic = owned.is_some_and(Map::is_empty);
    match (live, declared) {
        (Some(Value::Object(live)), Value::Object(declared)) if !atomic => {
            let mut merged = live.clone();
            for (name, value) in declared {
                let below = owned.and_then(|owned| child(owned, &format!("f:{name}")));
                merged.insert(name.clone(), overlay(live.get(name), value, below));
            }
            Value::Object(merged)
        }
        (Some(Value::Array(live)), Value::Array(declared)) if !atomic => {
            list(live, declared, owned.unwrap_or(&Map::new()))
        }
        _ => declared.clone(),
    }
}

fn list(live: &[Value], declared: &[Value], owned: &Map<String, Value>) -> Value {
    if owned.keys().any(|step| step.starts_with("v:")) {
        let more = declared.iter().filter(|item| !live.contains(item));
        return live.iter().chain(more).cloned().collect();
    }
    let names = key_names(owned);
    if names.is_empty() {
        return declared.to_vec().into();
    }
    let merged = live.iter().map(|item| {
        let ours = declared.iter().find(|ours| is_same(item, ours, &names));
        let below = item_step(item, &names).and_then(|step| child(owned, &step));
        ours.map_or_else(|| item.clone(), |ours| overlay(Some(item), ours, below))
    });
    let known = |ours: &&Value| live.iter().any(|item| is_same(item, ours, &names));
    let new = declared.iter().filter(|ours| !known(ours)).cloned();
    merged.chain(new).collect()
}

/// The names of the keys by which the items of a list are told apart; none for other lists.
pub(super) fn key_names(owned: &Map<String, Value>) -> Vec<String> {
    let first = owned.keys().find_map(|step| step.strip_prefix("k:"));
    let keys = first.and_then(|keys| serde_json::from_str(keys).ok());
    let keys: Map<String, Value> = keys.unwrap_or_default();
    keys.into_iter().map(|(name, _)| name).collect()
}

/// Whether a declared item is the live one; keys that it leaves out have defaults.
pub(super) fn is_same(live: &Value, declared: &Value, names: &[String]) -> bool {
    let said: Vec<_> = names
        .iter()
        .filter(|name| declared.get(*name).is_some())
        .collect();
    !said.is_empty()
        && said
            .iter()
            .all(|name| declared.get(*name) == live.get(*name))
}

/// The step to an item of a list with keys.
pub(super) fn item_step(item: &Value, names: &[String]) -> Option<String> {
    let mut keys = BTreeMap::new();
    for name in names {
        keys.insert(name, item.get(name)?);
    }
    Some(format!("k:{}", serde_json::to_string(&keys).ok()?))
}

pub(super) fn child<'a>(
    owned: &'a Map<String, Value>,
    step: &str,
) -> Option<&'a Map<String, Value>> {
    owned.get(step)?.as_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_merged_as_their_owners_say() {
        let live = Object::new(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"resourceVersion": "7", "finalizers": ["a"], "managedFields": [
                {"manager": "x", "fieldsV1": {
                    "f:metadata": {"f:finalizers": {"v:\"a\"": {}}},
                    "f:spec": {
                        "f:selector": {}, "f:args": {},
                        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
                    },
                }},
            ]},
            "spec": {
                "selector": {"app": "a"}, "args": ["1"], "type": "ClusterIP",
                "ports": [
                    {"port": 80, "protocol": "TCP", "name": "old"},
                    {"port": 83, "protocol": "TCP", "name": "other"},
                ],
            },
        }))
        .unwrap();
        let manifest = Object::new(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "finalizers": ["b"]},
            "spec": {
                "selector": {"role": "b"}, "args": ["2"],
                "ports": [{"port": 80, "name": "new"}, {"port": 81, "protocol": "TCP"}],
            },
        }))
        .unwrap();
        let merged = overlaid(&live, &manifest);
        let expected = json!({
            "selector": {"role": "b"}, "args": ["2"], "type": "ClusterIP",
            "ports": [
                {"port": 80, "protocol": "TCP", "name": "new"},
                {"port": 83, "protocol": "TCP", "name": "other"},
                {"port": 81, "protocol": "TCP"},
            ],
        });
        assert_eq!(merged.fields()["spec"], expected);
        assert_eq!(merged.get("/metadata/finalizers"), Some(&json!(["a", "b"])));
        assert_eq!(merged.resource_version(), "7");
    }
}
