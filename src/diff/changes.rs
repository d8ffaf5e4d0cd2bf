//! What an apply would change of an object, field by field, and who wrote what is there.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::object::Object;

/// One field that differs. Values of Secrets are masked where the objects were.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// Where, for people: `spec.template.spec.containers[name=web].image`.
    pub(crate) path: String,
    /// What is live; none where the field would be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<Value>,
    /// What it would become; none where the field would be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desired: Option<Value>,
    /// Who wrote what is live, as its managed fields say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<Author>,
}

/// A field manager.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Author {
    pub(crate) manager: String,
    /// When it wrote to the object last, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) time: String,
}

/// Fields that the API server keeps, which no manifest decides.
const BOOKKEEPING: [&str; 7] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
    "deletionGracePeriodSeconds",
];

/// The object as a manifest: without bookkeeping and status.
pub(crate) fn as_manifest(object: &Object) -> Object {
    let mut object = object.clone();
    for field in BOOKKEEPING {
        object.metadata_mut().remove(field);
    }
    object.fields_mut().remove("status");
    object
}

/// The fields in which two states of one object differ, in the order of their paths.
pub(crate) fn changes(live: &Object, desired: &Object) -> Vec<Change> {
    let entries = entries(live);
    let tries: Vec<Trie<'_>> = entries
        .iter()
        .map(|(author, trie)| (author, *trie))
        .collect();
    let mut keyed: Vec<Trie<'_>> = tries.clone();
    let of_desired = self::entries(desired);
    keyed.extend(of_desired.iter().map(|(author, trie)| (author, *trie)));
    let mut found = Vec::new();
    let (before, after) = (as_manifest(live), as_manifest(desired));
    let both = Pair {
        live: Some(before.fields()),
        desired: Some(after.fields()),
    };
    compare_maps("", both, &tries, &keyed, &mut found);
    found
}

/// What one manager owns below some field.
pub(super) type Trie<'a> = (&'a Author, &'a Map<String, Value>);

struct Pair<'a, T> {
    live: Option<&'a T>,
    desired: Option<&'a T>,
}

// A derive would ask the same of the values.
impl<T> Clone for Pair<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pair<'_, T> {}

pub(super) fn entries(object: &Object) -> Vec<(Author, &Map<String, Value>)> {
    let entries = object.get("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let author = Author {
                manager: entry["manager"].as_str()?.to_owned(),
                time: entry["time"].as_str().unwrap_or_default().to_owned(),
            };
            Some((author, entry["fieldsV1"].as_object()?))
        })
        .collect()
}

fn compare(
    path: &str,
    both: Pair<'_, Value>,
    tries: &[Trie<'_>],
    keyed: &[Trie<'_>],
    found: &mut Vec<Change>,
) {
    match (both.live, both.desired) {
        (live, desired) if live == desired => {}
        (Some(Value::Object(live)), Some(Value::Object(desired))) => {
            let both = Pair {
                live: Some(live),
                desired: Some(desired),
            };
            compare_maps(path, both, tries, keyed, found);
        }
        (Some(Value::Array(live)), Some(Value::Array(desired))) if key_names(keyed).is_some() => {
            let names = key_names(keyed).unwrap_or_default();
            compare_lists(path, &names, (live, desired), tries, keyed, found);
        }
        (live, desired) => found.push(Change {
            path: path.to_owned(),
            live: live.cloned(),
            desired: desired.cloned(),
            by: live.and_then(|_| author(tries)),
        }),
    }
}

fn compare_maps(
    path: &str,
    both: Pair<'_, Map<String, Value>>,
    tries: &[Trie<'_>],
    keyed: &[Trie<'_>],
    found: &mut Vec<Change>,
) {
    let empty = Map::new();
    let (live, desired) = (both.live.unwrap_or(&empty), both.desired.unwrap_or(&empty));
    let mut names: Vec<&String> = live.keys().chain(desired.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let both = Pair {
            live: live.get(name),
            desired: desired.get(name),
        };
        let step = format!("f:{name}");
        let (tries, keyed) = (below(tries, &step), below(keyed, &step));
        compare(&joined(path, name), both, &tries, &keyed, found);
    }
}

fn compare_lists(
    path: &str,
    names: &[String],
    (live, desired): (&[Value], &[Value]),
    tries: &[Trie<'_>],
    keyed: &[Trie<'_>],
    found: &mut Vec<Change>,
) {
    let key = |item: &Value| -> Map<String, Value> {
        let keys = names.iter();
        keys.filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
            .collect()
    };
    let of = |items: &'_ [Value], wanted: &Map<String, Value>| {
        items.iter().position(|item| key(item) == *wanted)
    };
    let mut keys: Vec<Map<String, Value>> = Vec::new();
    for item in live.iter().chain(desired) {
        let key = key(item);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for wanted in keys {
        let both = Pair {
            live: of(live, &wanted).map(|index| &live[index]),
            desired: of(desired, &wanted).map(|index| &desired[index]),
        };
        let step = format!("k:{}", Value::Object(wanted.clone()));
        let shown: Vec<_> = wanted
            .iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect();
        let path = format!("{path}[{}]", shown.join(","));
        let (tries, keyed) = (below(tries, &step), below(keyed, &step));
        compare(&path, both, &tries, &keyed, found);
    }
}

/// The fields by which the items of a list are known: as the API server's schema says, since they
/// are in the managed fields. None for lists that are one value.
pub(super) fn key_names(tries: &[Trie<'_>]) -> Option<Vec<String>> {
    let mut steps = tries.iter().flat_map(|(_, trie)| trie.keys());
    let keys = steps.find_map(|step| step.strip_prefix("k:"))?;
    let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
    Some(keys.keys().cloned().collect())
}

/// What is owned one step further down. A leaf owns everything below it.
pub(super) fn below<'a>(tries: &[Trie<'a>], step: &str) -> Vec<Trie<'a>> {
    tries
        .iter()
        .filter_map(
            |(author, trie)| match trie.get(step).and_then(Value::as_object) {
                Some(below) => Some((*author, below)),
                None => trie.is_empty().then_some((*author, *trie)),
            },
        )
        .collect()
}

/// Who wrote last of those that own a field.
fn author(tries: &[Trie<'_>]) -> Option<Author> {
    let newest = tries
        .iter()
        .max_by(|(one, _), (other, _)| one.time.cmp(&other.time));
    newest.map(|(author, _)| (*author).clone())
}

/// A path one step longer. Names that are no plain words are quoted.
pub(super) fn joined(path: &str, name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (
        path.is_empty(),
        name.chars().all(is_plain) && !name.is_empty(),
    ) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{}]", Value::from(name)),
    }
}

pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: Value, managed_fields: Value) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "resourceVersion": spec.to_string(), "generation": 1,
                "managedFields": managed_fields, "annotations": {"a.b/c": "1"},
            },
            "spec": spec, "status": {"spec": spec},
        }))
        .unwrap()
    }

    fn managed() -> Value {
        json!([
            {"manager": "trimtab", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}},
            }}},
            {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {
                "f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}}},
            }}},
        ])
    }

    #[test]
    fn each_field_is_told_with_its_author() {
        let live = json!({
            "replicas": 3, "selector": {"app": "web"}, "list": [1, 2],
            "containers": [{"name": "log", "image": "l"}, {"name": "web", "image": "web:2"}],
        });
        let desired = json!({
            "replicas": 3, "selector": {"app": "shop"}, "list": [1], "paused": true,
            "containers": [{"name": "web", "image": "web:1"}, {"name": "new", "image": "n"}],
        });
        let found = changes(
            &deployment(live, managed()),
            &deployment(desired, managed()),
        );
        let found: Vec<_> = found
            .iter()
            .map(|change| {
                let by = change.by.as_ref().map_or("-", |by| by.manager.as_str());
                (
                    change.path.as_str(),
                    change.live.clone(),
                    change.desired.clone(),
                    by,
                )
            })
            .collect();
        let expected = [
            (
                "spec.containers[name=log]",
                Some(json!({"name": "log", "image": "l"})),
                None,
                "-",
            ),
            (
                "spec.containers[name=web].image",
                Some(json!("web:2")),
                Some(json!("web:1")),
                "kubectl-edit",
            ),
            (
                "spec.containers[name=new]",
                None,
                Some(json!({"name": "new", "image": "n"})),
                "-",
            ),
            ("spec.list", Some(json!([1, 2])), Some(json!([1])), "-"),
            ("spec.paused", None, Some(json!(true)), "-"),
            (
                "spec.selector.app",
                Some(json!("web")),
                Some(json!("shop")),
                "trimtab",
            ),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn bookkeeping_is_no_difference() {
        let object = deployment(json!({"replicas": 1}), managed());
        let mut other = object.clone();
        other
            .metadata_mut()
            .insert("resourceVersion".into(), json!("9"));
        other
            .fields_mut()
            .insert("status".into(), json!({"ready": 1}));
        assert_eq!(changes(&object, &other), []);
    }

    #[test]
    fn names_that_are_no_words_are_quoted() {
        let object = deployment(json!({}), json!([]));
        let mut other = object.clone();
        other.set_annotation("a.b/c", "2");
        assert_eq!(
            changes(&object, &other)[0].path,
            "metadata.annotations[\"a.b/c\"]"
        );
    }
}
