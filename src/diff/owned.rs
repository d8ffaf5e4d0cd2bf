//! Our entry in `metadata.managedFields` and the live values that it names.
//!
//! The entry is a trie (FieldsV1 of Kubernetes' structured-merge-diff): `f:name` is a field,
//! `k:{...}` a list item by its keys, `v:...` a list item by its value, `i:n` by its place, and
//! `.` the container itself. A node without children stands for everything below it. The trie
//! says what is granular and what is atomic, so no schema is needed to follow it.

use serde_json::{Map, Value};

use super::canonical::Hasher;
use crate::object::Object;

/// What the managed fields say, none where the API server keeps none.
pub(super) fn entries(live: &Object) -> Option<&Vec<Value>> {
    let entries = live.get("/metadata/managedFields")?.as_array()?;
    (!entries.is_empty()).then_some(entries)
}

/// Whether an entry is what a person left by kubectl on the object itself: `kubectl-edit`,
/// `kubectl-label`, `kubectl` and the others of its managers.
pub(super) fn is_by_kubectl(entry: &Value) -> bool {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    text("manager").starts_with("kubectl") && text("subresource").is_empty()
}

/// The entry that our applies left, or none when we never applied or it was taken away.
pub(super) fn entry<'a>(live: &'a Object, manager: &str) -> Option<&'a Map<String, Value>> {
    let entries = entries(live)?;
    entries.iter().filter_map(Value::as_object).find(|entry| {
        entry.get("manager").and_then(Value::as_str) == Some(manager)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry
                .get("subresource")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
    })
}

/// Takes the live values that a trie names into a digest. An absent value counts as such.
pub(super) fn project(hasher: &mut Hasher, trie: &Map<String, Value>, live: Option<&Value>) {
    if trie.is_empty() {
        match live {
            Some(value) => hasher.value(value),
            None => hasher.tag(b'-'),
        }
        return;
    }
    let mut steps: Vec<_> = trie.iter().collect();
    steps.sort_unstable_by_key(|(step, _)| *step);
    for (step, below) in steps {
        hasher.text(b'p', step);
        if step == "." {
            hasher.tag(if live.is_some() { b'+' } else { b'-' });
            continue;
        }
        let empty = Map::new();
        let below = below.as_object().unwrap_or(&empty);
        let found = follow(step, live);
        hasher.count(b'#', found.len());
        for value in &found {
            project(hasher, below, Some(value));
        }
        if found.is_empty() {
            hasher.tag(b'-');
        }
    }
}

/// The live values that one step leads to: none, one, or several where a list holds duplicates.
pub(super) fn follow<'a>(step: &str, live: Option<&'a Value>) -> Vec<&'a Value> {
    let Some(live) = live else { return Vec::new() };
    let Some((kind, rest)) = step.split_once(':') else {
        return Vec::new();
    };
    let items = || live.as_array().into_iter().flatten();
    match kind {
        "f" => live.get(rest).into_iter().collect(),
        "k" => {
            let Ok(Value::Object(keys)) = serde_json::from_str(rest) else {
                return Vec::new();
            };
            let has_keys = |item: &&Value| {
                keys.iter()
                    .all(|(name, value)| item.get(name) == Some(value))
            };
            items().filter(has_keys).collect()
        }
        "v" => {
            let Ok(wanted) = serde_json::from_str::<Value>(rest) else {
                return Vec::new();
            };
            items().filter(|item| **item == wanted).collect()
        }
        "i" => rest
            .parse()
            .ok()
            .and_then(|index: usize| live.get(index))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diff::Digest;

    fn projection(trie: &Value, live: &Value) -> Digest {
        let mut hasher = Hasher::default();
        project(&mut hasher, trie.as_object().unwrap(), Some(live));
        hasher.finish()
    }

    fn trie() -> Value {
        json!({"f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:containers": {"k:{\"name\":\"web\"}": {
                ".": {}, "f:image": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }},
            "f:finalizers": {"v:\"a\"": {}},
        }})
    }

    fn live() -> Value {
        json!({"spec": {
            "replicas": 3, "selector": {"app": "web"}, "other": 1, "finalizers": ["a"],
            "containers": [
                {"name": "sidecar", "image": "s:1"},
                {"name": "web", "image": "web:1", "policy": "Always",
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ],
        }})
    }

    #[test]
    fn what_is_not_ours_may_change() {
        let mut changed = live();
        changed["spec"]["other"] = json!(2);
        changed["status"] = json!({"ready": true});
        changed["spec"]["containers"][0]["image"] = json!("s:2");
        changed["spec"]["containers"][1]["policy"] = json!("Never");
        changed["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .reverse();
        changed["spec"]["finalizers"] = json!(["b", "a"]);
        assert_eq!(projection(&trie(), &live()), projection(&trie(), &changed));
    }

    #[test]
    fn what_is_ours_may_not() {
        for (pointer, value) in [
            ("/spec/replicas", json!(4)),
            ("/spec/selector", json!({"app": "web", "more": "x"})),
            ("/spec/containers/1/image", json!("web:2")),
            ("/spec/containers/1/ports", json!([])),
            ("/spec/containers/1/name", json!("renamed")),
            ("/spec/finalizers", json!([])),
            ("/spec", json!(null)),
        ] {
            let mut changed = live();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_ne!(
                projection(&trie(), &live()),
                projection(&trie(), &changed),
                "{pointer}"
            );
        }
    }

    #[test]
    fn only_our_own_apply_entry_is_ours() {
        let object = |manager, operation, subresource| {
            Object::new(
                json!({"apiVersion": "v1", "kind": "A", "metadata": {"managedFields": [
                    {"manager": manager, "operation": operation, "subresource": subresource},
                ]}}),
            )
            .unwrap()
        };
        let is_ours = |object: &Object| entry(object, "trimtab").is_some();
        assert!(is_ours(&object("trimtab", "Apply", json!(null))));
        assert!(!is_ours(&object("trimtab", "Update", json!(null))));
        assert!(!is_ours(&object("trimtab", "Apply", json!("status"))));
        assert!(!is_ours(&object("kubectl", "Apply", json!(null))));
    }
}
