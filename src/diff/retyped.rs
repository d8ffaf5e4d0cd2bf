//! Fields that are live as another type than their kind has by now: no apply reads such an object.
//! A merge patch writes what is declared there; it needs not read what was there before.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use crate::object::Object;

/// The merge patch that gives the fields which a refusal names the values of the manifest; none
/// where it names others, or one within a list, which only goes as a whole. It holds for the version
/// that was read.
pub(crate) fn retyped(live: &Object, manifest: &Object, refusal: &Refusal) -> Option<Value> {
    if !refusal.is_about_live_types() {
        return None;
    }
    let mut patch = Map::new();
    for line in refusal.text().lines() {
        let Some((before, _)) = line.split_once(": expected ") else {
            continue;
        };
        let path = before.rsplit("): ").next().unwrap_or(before).trim();
        if !add(&mut patch, manifest.fields(), path) {
            return None;
        }
    }
    if patch.is_empty() {
        return None;
    }
    let version = json!({"resourceVersion": live.resource_version()});
    patch.insert("metadata".to_owned(), version);
    Some(Value::Object(patch))
}

/// Adds the declared value at a path; false when none is declared there.
fn add(patch: &mut Map<String, Value>, declared: &Map<String, Value>, path: &str) -> bool {
    let Some(path) = path.strip_prefix('.') else {
        return false;
    };
    // A name may have points itself.
    let is_name = |name: &&String| {
        let rest = path.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let Some(name) = declared.keys().filter(is_name).max_by_key(|it| it.len()) else {
        return false;
    };
    match (&declared[name], &path[name.len()..]) {
        (Value::Null, _) => false,
        (value, "") => {
            patch.insert(name.clone(), value.clone());
            true
        }
        (Value::Object(below), rest) => {
            let known = patch.entry(name.clone()).or_insert_with(|| json!({}));
            let known = known.as_object_mut();
            known.is_some_and(|known| add(known, below, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_and_declared_is_written() {
        let object = |spec: Value| {
            let metadata = json!({"name": "a", "resourceVersion": "7"});
            let value = json!({"apiVersion": "a.io/v1", "kind": "A", "metadata": metadata,
                "spec": spec});
            Object::new(value).unwrap()
        };
        let manifest = object(json!({
            "n": "5", "in": {"m": "6", "x.y/z": "8"}, "other": "7", "list": [{"a": "1"}], "no": null,
        }));
        let live = object(json!({"n": 5}));
        let typed = "failed to create typed live object (shop/a; a.io/v1, Kind=A): ";
        let version = json!({"resourceVersion": "7"});
        for (text, expected) in [
            (
                format!("{typed}.spec.n: expected string, got &value.valueUnstructured{{Value:5}}"),
                Some(json!({"metadata": version, "spec": {"n": "5"}})),
            ),
            (
                format!(
                    "{typed}errors:\n  .spec.n: expected string, got 5\n  .spec.in.m: expected \
                     string, got 6\n  .spec.in.x.y/z: expected string, got 8"
                ),
                Some(json!({
                    "metadata": version, "spec": {"n": "5", "in": {"m": "6", "x.y/z": "8"}},
                })),
            ),
            (
                format!("{typed}.spec.list[0].a: expected string, got 1"),
                None,
            ),
            (format!("{typed}.spec.gone: expected string, got 1"), None),
            (format!("{typed}.spec.no: expected string, got 1"), None),
            (
                format!("{typed}.spec.n: field not declared in schema"),
                None,
            ),
            (".spec.n: expected string, got 5".to_owned(), None),
        ] {
            let refusal = Refusal::new(500, &text, []);
            assert_eq!(retyped(&live, &manifest, &refusal), expected, "{text}");
        }
    }
}
