//! Items of a list that an apply refuses because their keys are there twice. Whoever writes the
//! whole object, as most tools do, is not refused: there the last one counts.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::object::Object;

const WORDS: &str = ": duplicate entries for key ";

/// A manifest without the earlier of the items that an apply was refused for; none where the
/// refusal names no such items.
pub(crate) fn without_repeated(manifest: &Object, refusal: &Refusal) -> Option<Object> {
    if !refusal.is_untyped() {
        return None;
    }
    let mut manifest = manifest.clone();
    let mut found = false;
    for (path, key) in named(refusal.text()) {
        if let Some(items) = list_in(manifest.fields_mut(), path) {
            found |= keep_last(items, key);
        }
    }
    found.then_some(manifest)
}

/// The paths of lists and the keys that a refusal names, as it writes them.
fn named(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(WORDS) {
        let line = before.rsplit('\n').next().unwrap_or(before);
        let path = line.rsplit("): ").next().unwrap_or(line).trim();
        let key = step(after).map_or("", |(key, _)| key);
        found.push((path, key));
        rest = after;
    }
    found
}

/// The inside of the brackets that a text begins with, and what follows them.
fn step(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('[')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Some((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    None
}

/// What has to be equal in an item that a step names: `name="a",port=80`, or `="a"` for the item
/// itself.
fn keys(step: &str) -> Vec<(&str, Value)> {
    let mut found = Vec::new();
    let mut rest = step;
    while let Some((name, value)) = rest.split_once('=') {
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let Some(Ok(parsed)) = values.next() else {
            return Vec::new();
        };
        found.push((name, parsed));
        let after = value.get(values.byte_offset()..).unwrap_or_default();
        rest = after.strip_prefix(',').unwrap_or_default();
    }
    found
}

/// Whether a step names this item. A key that it leaves out has a default.
fn is_named(item: &Value, keys: &[(&str, Value)]) -> bool {
    let equal = |(name, value): &(&str, Value)| match *name {
        "" => Some(item == value),
        name => item.get(name).map(|it| it == value),
    };
    let mut said = keys.iter().filter_map(equal).peekable();
    said.peek().is_some() && said.all(|equal| equal)
}

/// Removes the earlier of the items of a key; false when there is only one.
fn keep_last(items: &mut Vec<Value>, key: &str) -> bool {
    let keys = keys(key);
    let count = items.iter().filter(|item| is_named(item, &keys)).count();
    let mut left = count;
    items.retain(|item| {
        let named = is_named(item, &keys);
        left -= usize::from(named);
        !named || left == 0
    });
    count > 1
}

fn list_in<'a>(fields: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Vec<Value>> {
    let path = path.strip_prefix('.')?;
    // A name may have points itself.
    let is_name = |name: &&String| {
        let rest = path.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let name = fields.keys().filter(is_name).max_by_key(|it| it.len())?;
    let name = name.clone();
    list_below(fields.get_mut(&name)?, &path[name.len()..])
}

fn list_below<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Vec<Value>> {
    match value {
        Value::Array(items) => {
            if path.is_empty() {
                return Some(items);
            }
            let (inside, rest) = step(path)?;
            let item = match inside.parse::<usize>() {
                Ok(index) => items.get_mut(index)?,
                Err(_) => {
                    let keys = keys(inside);
                    items.iter_mut().rev().find(|item| is_named(item, &keys))?
                }
            };
            list_below(item, rest)
        }
        Value::Object(fields) => list_in(fields, path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TYPED: &str =
        "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): ";

    fn corrected(spec: &Value, text: &str) -> Option<Value> {
        let manifest = json!({"apiVersion": "v1", "kind": "A", "spec": spec});
        let manifest = Object::new(manifest).unwrap();
        let refusal = Refusal::new(500, text, []);
        let found = without_repeated(&manifest, &refusal)?;
        found.get("/spec").cloned()
    }

    #[test]
    fn the_last_item_of_a_key_stays() {
        for (path, keys, before, after) in [
            (
                ".spec.containers[name=\"a ]\\\"b\"].env",
                "[name=\"A\"]",
                json!({"containers": [{"name": "x", "env": []}, {"name": "a ]\"b", "env": [
                    {"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"},
                    {"name": "A", "value": "3"},
                ]}]}),
                json!({"containers": [{"name": "x", "env": []}, {"name": "a ]\"b", "env": [
                    {"name": "B"}, {"name": "A", "value": "3"},
                ]}]}),
            ),
            (
                ".spec.ports",
                "[containerPort=80,protocol=\"TCP\"]",
                json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81},
                    {"containerPort": 80, "protocol": "UDP"},
                    {"containerPort": 80, "protocol": "TCP", "name": "b"}]}),
                json!({"ports": [{"containerPort": 81}, {"containerPort": 80, "protocol": "UDP"},
                    {"containerPort": 80, "protocol": "TCP", "name": "b"}]}),
            ),
            (
                ".spec.set",
                "[=\"a\"]",
                json!({"set": ["a", "b", "a"]}),
                json!({"set": ["b", "a"]}),
            ),
            (
                ".spec.a.b/c.list[1].in",
                "[k=true]",
                json!({"a": 1, "a.b/c": {"list": [1, {"in": [{"k": true, "v": 1}, {"k": true}]}]}}),
                json!({"a": 1, "a.b/c": {"list": [1, {"in": [{"k": true}]}]}}),
            ),
        ] {
            let text = format!("{TYPED}{path}: duplicate entries for key {keys}");
            assert_eq!(corrected(&before, &text), Some(after), "{path}");
        }
    }

    #[test]
    fn all_that_a_refusal_names_goes_and_nothing_else() {
        let spec = json!({"a": [{"n": 1}, {"n": 1}], "b": [{"n": 2}, {"n": 2}], "c": [1, 1]});
        let text = format!(
            "{TYPED}errors:\n  .spec.a: duplicate entries for key [n=1]\n  .spec.b: duplicate \
             entries for key [n=2]"
        );
        let expected = json!({"a": [{"n": 1}], "b": [{"n": 2}], "c": [1, 1]});
        assert_eq!(corrected(&spec, &text), Some(expected));
        for text in [
            format!("{TYPED}.spec.a: duplicate entries for key [n=3]"),
            format!("{TYPED}.spec.d: duplicate entries for key [n=1]"),
            format!("{TYPED}.spec.a: duplicate entries for key [n="),
            format!("{TYPED}.spec.a[0].n: duplicate entries for key [n=1]"),
            format!("{TYPED}.spec.a: field not declared in schema"),
            ".spec.a: duplicate entries for key [n=1]".to_owned(),
        ] {
            assert_eq!(corrected(&spec, &text), None, "{text}");
        }
    }
}
