//! What the API server stores otherwise than it was sent: seen in the answer to our own apply.
//!
//! An admission policy or webhook may rewrite a field, the API server may drop one, and it may keep
//! one that left the manifest. None of it is drift, as the next apply would end the same way; but a
//! person should know. What the API server or others add beside what was sent is not told.

use serde_json::{Map, Value};

use super::changes::{Author, Trie, below, entries, joined, key_names, plain};
use super::handover::{HANDOVER, Path};
use super::same::{Meaning, is_empty, same};
use crate::object::Object;

/// One field that is stored otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// Where, for people.
    pub(crate) path: String,
    /// What was sent; none for a field that left the manifest and is still there.
    pub(crate) sent: Option<Value>,
    /// What is stored; none for a field that was dropped.
    pub(crate) stored: Option<Value>,
    /// Who owns it as it is stored, apart from us.
    pub(crate) by: Option<String>,
    /// An item that comes again after it in the manifest.
    pub(crate) repeated: bool,
    at: Path,
}

/// The fields of a manifest that are stored otherwise, given the answer to its apply by `manager`.
pub(crate) fn rewritten(manifest: &Object, answer: &Object, manager: &str) -> Vec<Stored> {
    let owners = entries(answer);
    let tries: Vec<Trie<'_>> = owners
        .iter()
        .map(|(author, trie)| (author, *trie))
        .collect();
    let mut walk = Walk::new(manifest, manager);
    let (sent, stored) = (manifest.fields(), answer.fields());
    for (name, value) in sent {
        if matches!(name.as_str(), "apiVersion" | "kind" | "status") {
            continue;
        }
        let below = below(&tries, &format!("f:{name}"));
        walk.enter(name, |walk| {
            walk.compare(name, value, stored.get(name), &below);
        });
    }
    walk.sorted()
}

/// The fields that were in the manifest which was applied before, are not in this one, and are
/// still there as they were. Those that became a default of the API server are among them.
pub(crate) fn still_live(
    before: &Object,
    manifest: &Object,
    answer: &Object,
    manager: &str,
) -> Vec<Stored> {
    let owners = entries(answer);
    let tries: Vec<Trie<'_>> = owners
        .iter()
        .map(|(author, trie)| (author, *trie))
        .collect();
    let mut walk = Walk::new(manifest, manager);
    for (name, value) in before.fields() {
        let there = answer.fields().get(name);
        let below = below(&tries, &format!("f:{name}"));
        walk.enter(name, |walk| {
            walk.left(name, value, manifest.fields().get(name), there, &below);
        });
    }
    walk.sorted()
}

/// Those that are still there though nothing else explains it: not handed over, not left to others
/// by a rule (`claims`), and not the default that `fresh` shows, the same manifest as a new object.
pub(crate) fn unexplained(
    found: Vec<Stored>,
    claims: &[Path],
    fresh: Option<&Object>,
) -> Vec<Stored> {
    let is_default = |it: &Stored| {
        let value =
            fresh.and_then(|fresh| value_at(&Value::Object(fresh.fields().clone()), &it.path));
        it.by.is_none() && value.is_some() && value == it.stored
    };
    let mut found = found;
    found.retain(|it| {
        it.by.as_deref() != Some(HANDOVER)
            && !claims.iter().any(|claim| it.at.starts_with(claim))
            && !is_default(it)
    });
    found
}

/// The value at a path for people, as [`Stored::path`] is.
pub(crate) fn value_at(value: &Value, path: &str) -> Option<Value> {
    if path.is_empty() {
        return Some(value.clone());
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, below)| {
            let rest = path.strip_prefix(&joined("", name))?;
            match rest.strip_prefix('.') {
                Some(rest) => value_at(below, rest),
                None if rest.is_empty() || rest.starts_with('[') => value_at(below, rest),
                None => None,
            }
        }),
        Value::Array(items) => {
            let (step, rest) = path.strip_prefix('[')?.split_once(']')?;
            let has = |item: &Value| {
                step.split(',').all(|pair| {
                    pair.split_once('=').is_some_and(|(name, value)| {
                        item.get(name).map(plain).as_deref() == Some(value)
                    })
                })
            };
            let item = match step.parse::<usize>() {
                Ok(index) => items.get(index)?,
                Err(_) => items.iter().find(|item| has(item))?,
            };
            value_at(item, rest.strip_prefix('.').unwrap_or(rest))
        }
        _ => None,
    }
}

struct Walk<'a> {
    manager: &'a str,
    /// It is a Secret or ConfigMap, whose data is the user's.
    data: Option<Meaning>,
    at: Path,
    found: Vec<Stored>,
}

impl<'a> Walk<'a> {
    fn new(manifest: &Object, manager: &'a str) -> Self {
        let data = match (manifest.group(), manifest.kind()) {
            ("", "Secret") => Some(Meaning::Bytes),
            ("", "ConfigMap") => Some(Meaning::Text),
            _ => None,
        };
        Self {
            manager,
            data,
            at: Path::new(),
            found: Vec::new(),
        }
    }

    fn sorted(mut self) -> Vec<Stored> {
        self.found.sort_by(|one, other| one.path.cmp(&other.path));
        self.found
    }

    fn enter(&mut self, step: &str, then: impl FnOnce(&mut Self)) {
        self.at.push(step.to_owned());
        then(self);
        self.at.pop();
    }

    fn meaning(&self) -> Meaning {
        let is = |place: usize, name: &str| self.at.get(place).is_some_and(|it| it == name);
        let metadata = self
            .at
            .iter()
            .rev()
            .skip(1)
            .any(|it| it == "labels" || it == "annotations");
        if metadata && self.at.iter().any(|it| it == "metadata") {
            return Meaning::Text;
        }
        if is(0, "binaryData") || self.at.last().is_some_and(|it| it == "caBundle") {
            return Meaning::Bytes;
        }
        match self.data {
            Some(meaning) if is(0, "data") => meaning,
            _ => Meaning::Field,
        }
    }

    fn report(
        &mut self,
        path: &str,
        sent: Option<&Value>,
        stored: Option<&Value>,
        tries: &[Trie<'_>],
    ) {
        let others = tries.iter().map(|(author, _)| *author);
        let newest = others
            .filter(|author: &&Author| author.manager != self.manager)
            .max_by(|one, other| one.time.cmp(&other.time));
        self.found.push(Stored {
            path: path.to_owned(),
            sent: sent.cloned(),
            stored: stored.cloned(),
            by: newest.map(|author| author.manager.clone()),
            repeated: false,
            at: self.at.clone(),
        });
    }

    fn compare(&mut self, path: &str, sent: &Value, stored: Option<&Value>, tries: &[Trie<'_>]) {
        match (sent, stored) {
            // A null that its kind takes is stored as one.
            (Value::Null, None) => self.report(path, Some(sent), None, tries),
            (sent, None) if is_empty(sent) => {}
            (Value::Object(sent), Some(Value::Object(stored))) => {
                for (name, value) in sent {
                    if path == "metadata" && SERVERS.contains(&name.as_str()) {
                        continue;
                    }
                    let below = below(tries, &format!("f:{name}"));
                    self.enter(name, |walk| {
                        let path = joined(path, name);
                        walk.compare(&path, value, stored.get(name), &below);
                    });
                }
            }
            (Value::Array(sent), Some(Value::Array(stored))) => {
                self.compare_lists(path, sent, stored, tries);
            }
            (sent, Some(stored)) => {
                let name = self.at.last().map_or("", String::as_str);
                if !same(sent, stored, self.meaning(), name) {
                    self.report(path, Some(sent), Some(stored), tries);
                }
            }
            (sent, None) => self.report(path, Some(sent), None, tries),
        }
    }

    fn compare_lists(&mut self, path: &str, sent: &[Value], stored: &[Value], tries: &[Trie<'_>]) {
        if let Some(names) = names_of_keys(tries, sent) {
            for (at, item) in sent.iter().enumerate() {
                let keys = keys_of(&names, item);
                let place = stored.iter().position(|it| has_keys(it, &keys));
                let path = item_path(path, &keys);
                if !keys.is_empty() && sent[at + 1..].iter().any(|it| keys_of(&names, it) == keys) {
                    let there = place.and_then(|place| stored.get(place));
                    self.report(&path, Some(item), there, tries);
                    if let Some(found) = self.found.last_mut() {
                        found.repeated = true;
                    }
                    continue;
                }
                let Some(place) = place else {
                    self.report(&path, Some(item), None, tries);
                    continue;
                };
                let step = Value::Object(keys_of(&names, &stored[place]));
                let below = below(tries, &format!("k:{step}"));
                self.enter(&place.to_string(), |walk| {
                    walk.compare(&path, item, Some(&stored[place]), &below);
                });
            }
            return;
        }
        let is_set = tries
            .iter()
            .any(|(_, trie)| trie.keys().any(|it| it.starts_with("v:")));
        if is_set {
            let meaning = self.meaning();
            let missing = |item: &&Value| !stored.iter().any(|it| same(item, it, meaning, ""));
            for item in sent.iter().filter(missing) {
                let path = format!("{path}[{}]", plain(item));
                self.report(&path, Some(item), None, tries);
            }
            return;
        }
        // Every pod gets some that nobody asked for.
        let added = self.at.last().is_some_and(|it| it == "tolerations");
        if sent.len() > stored.len() || (sent.len() < stored.len() && !added) {
            let (sent, stored) = (Value::from(sent.to_vec()), Value::from(stored.to_vec()));
            return self.report(path, Some(&sent), Some(&stored), tries);
        }
        for (place, (item, there)) in sent.iter().zip(stored).enumerate() {
            let path = format!("{path}[{place}]");
            self.enter(&place.to_string(), |walk| {
                walk.compare(&path, item, Some(there), tries);
            });
        }
    }

    fn left(
        &mut self,
        path: &str,
        before: &Value,
        manifest: Option<&Value>,
        there: Option<&Value>,
        tries: &[Trie<'_>],
    ) {
        let Some(there) = there else { return };
        match (before, manifest, there) {
            (Value::Object(before), None | Some(Value::Object(_)), Value::Object(there)) => {
                for (name, value) in before {
                    let below = below(tries, &format!("f:{name}"));
                    self.enter(name, |walk| {
                        let manifest = manifest.and_then(|it| it.get(name));
                        let path = joined(path, name);
                        walk.left(&path, value, manifest, there.get(name), &below);
                    });
                }
            }
            (Value::Array(before), None | Some(Value::Array(_)), Value::Array(there))
                if names_of_keys(tries, before).is_some() =>
            {
                let names = names_of_keys(tries, before).unwrap_or_default();
                for item in before {
                    let keys = keys_of(&names, item);
                    let wanted = manifest.and_then(Value::as_array).into_iter().flatten();
                    let wanted = wanted.into_iter().find(|it| has_keys(it, &keys));
                    let Some(place) = there.iter().position(|it| has_keys(it, &keys)) else {
                        continue;
                    };
                    let path = item_path(path, &keys);
                    let step = Value::Object(keys_of(&names, &there[place]));
                    let below = below(tries, &format!("k:{step}"));
                    self.enter(&place.to_string(), |walk| match wanted {
                        Some(_) => walk.left(&path, item, wanted, Some(&there[place]), &below),
                        None => walk.report(&path, None, Some(&there[place]), &below),
                    });
                }
            }
            (before, None, there) if !is_empty(before) => {
                let name = self.at.last().map_or("", String::as_str);
                if same(before, there, self.meaning(), name) {
                    self.report(path, None, Some(there), tries);
                }
            }
            _ => {}
        }
    }
}

/// Fields of the metadata that the API server decides.
const SERVERS: [&str; 8] = [
    "name",
    "namespace",
    "generateName",
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
];

/// The fields by which the items of a list are known: as the managed fields say, else by their
/// names where all have one and the list is known to be no single value.
fn names_of_keys(tries: &[Trie<'_>], items: &[Value]) -> Option<Vec<String>> {
    let of_schema = key_names(tries);
    let named = || !items.is_empty() && items.iter().all(|item| item.get("name").is_some());
    of_schema.or_else(|| (tries.is_empty() && named()).then(|| vec!["name".to_owned()]))
}

fn keys_of(names: &[String], item: &Value) -> Map<String, Value> {
    let names = names.iter();
    names
        .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
        .collect()
}

fn has_keys(item: &Value, keys: &Map<String, Value>) -> bool {
    !keys.is_empty()
        && keys
            .iter()
            .all(|(name, value)| item.get(name) == Some(value))
}

fn item_path(path: &str, keys: &Map<String, Value>) -> String {
    let shown: Vec<_> = keys
        .iter()
        .map(|(name, value)| format!("{name}={}", plain(value)))
        .collect();
    format!("{path}[{}]", shown.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, rest: Value, entries: Value) -> Object {
        let mut object = json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": "a", "managedFields": entries},
        });
        for (name, value) in rest.as_object().unwrap() {
            match name.as_str() {
                "labels" => object["metadata"]["labels"] = value.clone(),
                name => object[name] = value.clone(),
            }
        }
        Object::new(object).unwrap()
    }

    fn ours() -> Value {
        json!([
            {"manager": "trimtab", "operation": "Apply", "fieldsV1": {
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {
                    "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
                    "f:set": {"v:\"a\"": {}}, "f:args": {},
                },
            }},
            {"manager": "hand", "operation": "Update", "time": "2026-01-01T00:00:00Z",
             "fieldsV1": {"f:spec": {"f:type": {}}}},
        ])
    }

    fn shown(found: &[Stored]) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        found
            .iter()
            .map(|it| {
                let by = it.by.as_deref().unwrap_or("-");
                format!("{} {} {} {by}", it.path, text(&it.sent), text(&it.stored))
            })
            .collect()
    }

    #[test]
    fn what_is_stored_otherwise_is_found() {
        let none: &[&str] = &[];
        for (kind, sent, stored, expected) in [
            // What others and the API server add is none of it.
            (
                "Service",
                json!({"spec": {"ports": [{"port": 80}], "type": ""}}),
                json!({"spec": {
                    "ports": [{"port": 443, "protocol": "TCP"}, {"port": 80, "protocol": "TCP", "targetPort": 80}],
                    "type": "ClusterIP", "clusterIP": "10.0.0.1",
                }, "status": {}}),
                none,
            ),
            (
                "Service",
                json!({"labels": {"a": "1"}, "spec": {"type": "NodePort", "set": ["a", "b"]}}),
                json!({"labels": {"a": "2"}, "spec": {"type": "ClusterIP", "set": ["b"]}}),
                &[
                    "metadata.labels.a \"1\" \"2\" -",
                    "spec.set[a] \"a\" - -",
                    "spec.type \"NodePort\" \"ClusterIP\" hand",
                ],
            ),
            (
                "Service",
                json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}], "gone": {"a": 1}, "empty": {"a": 0}}}),
                json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "other"}]}}),
                &[
                    "spec.gone {\"a\":1} - -",
                    "spec.ports[port=80].name \"web\" \"other\" -",
                    "spec.ports[port=81] {\"port\":81} - -",
                ],
            ),
            (
                "Pod",
                json!({"spec": {"args": ["a", {"cpu": "1000m"}]}}),
                json!({"spec": {"args": ["a", {"cpu": "1", "default": true}]}}),
                none,
            ),
            (
                "Pod",
                json!({"spec": {"args": ["a"]}}),
                json!({"spec": {"args": ["b", "a"]}}),
                &["spec.args [\"a\"] [\"b\",\"a\"] -"],
            ),
            (
                "Secret",
                json!({"data": {"a": "eHk=", "b": "eHk="}}),
                json!({"data": {"a": "eHk=", "b": "eHo="}}),
                &["data.b \"eHk=\" \"eHo=\" -"],
            ),
            (
                "ConfigMap",
                json!({"data": {"a": "1000m"}}),
                json!({"data": {"a": "1"}}),
                &["data.a \"1000m\" \"1\" -"],
            ),
        ] {
            let manifest = object(kind, sent.clone(), json!([]));
            let found = rewritten(&manifest, &object(kind, stored, ours()), "trimtab");
            assert_eq!(shown(&found), expected, "{sent}");
        }
    }

    #[test]
    fn what_left_the_manifest_and_is_still_there_is_found() {
        let before = json!({"spec": {
            "clusterIP": "None", "type": "ClusterIP", "gone": 1, "other": 1, "args": ["x"],
            "ports": [{"port": 80, "name": "web"}, {"port": 81}],
        }});
        let after = json!({"spec": {"ports": [{"port": 80}]}});
        let stored = json!({"spec": {
            "clusterIP": "None", "type": "ClusterIP", "other": 2, "args": ["x"],
            "ports": [{"port": 80, "name": "web", "protocol": "TCP"}, {"port": 81}],
        }});
        let empty = || json!([]);
        let (before, after) = (
            object("Service", before, empty()),
            object("Service", after, empty()),
        );
        let found = still_live(
            &before,
            &after,
            &object("Service", stored, ours()),
            "trimtab",
        );
        assert_eq!(
            shown(&found),
            [
                "spec.args - [\"x\"] -",
                "spec.clusterIP - \"None\" -",
                "spec.ports[port=80].name - \"web\" -",
                "spec.ports[port=81] - {\"port\":81} -",
                "spec.type - \"ClusterIP\" hand",
            ]
        );
        // As a new object it would have some of it as well, and some is left to others.
        let fresh = json!({"spec": {"clusterIP": "10.0.0.1", "args": ["x"], "type": "ClusterIP"}});
        let fresh = object("Service", fresh, empty());
        let claims = [vec!["spec".to_owned(), "ports".to_owned()]];
        let left = unexplained(found, &claims, Some(&fresh));
        let left: Vec<_> = left.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(left, ["spec.clusterIP", "spec.type"]);
    }

    #[test]
    fn a_path_leads_to_its_value() {
        let value = json!({"a": {"b.c/d": [{"n": "x", "p": 80, "v": 1}], "l": [5]}, "ab": 2});
        for (path, expected) in [
            ("ab", Some(json!(2))),
            ("a[\"b.c/d\"][n=x,p=80].v", Some(json!(1))),
            ("a.l[0]", Some(json!(5))),
            ("a.gone", None),
            ("a[\"b.c/d\"][n=y].v", None),
        ] {
            assert_eq!(value_at(&value, path), expected, "{path}");
        }
    }
}
