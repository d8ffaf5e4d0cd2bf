//! Handing over the fields that leave a manifest while somebody else goes on with them.
//!
//! A field that leaves the manifest and has no other owner is removed by a server-side apply, and
//! falls to its default at once: a Deployment that hands `replicas` to an autoscaler would shrink to
//! one pod. Before such an apply another owner is written down, as Kubernetes advises for a transfer
//! of ownership; it loses the field to whoever sets it next.

use serde_json::{Map, Value, json};

use super::owned::entries;
use crate::object::Object;

/// Owns what nobody set yet since it left our manifest.
pub(super) const HANDOVER: &str = "trimtab-handover";

/// A place in an object: names of fields and places in lists.
pub(crate) type Path = Vec<String>;

/// What is to be written before the apply that gives fields up.
#[derive(Debug, PartialEq)]
pub(crate) struct Handover {
    /// The managed fields with the new owner among them.
    pub(crate) entries: Vec<Value>,
    /// What is handed over, for people.
    pub(crate) fields: Vec<String>,
    leaves: Vec<Leaf>,
}

impl Handover {
    /// A JSON patch (RFC 6902) that holds for the version that was read only.
    pub(crate) fn patch(&self, live: &Object) -> Value {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version()},
            {"op": "replace", "path": "/metadata/managedFields", "value": self.entries},
        ])
    }

    /// The manifest with the live values of what is handed over: what a dry run, or a replacement
    /// of the whole object, has to send for them to stay.
    pub(crate) fn carried(&self, manifest: &Object, live: &Object) -> Object {
        let mut carried = Value::Object(manifest.fields().clone());
        let live = Value::Object(live.fields().clone());
        for leaf in &self.leaves {
            put(&mut carried, &live, &leaf.steps);
        }
        Object::new(carried).unwrap_or_else(|_| manifest.clone())
    }
}

/// One field that is ours and not in the manifest any more.
#[derive(Debug, PartialEq)]
struct Leaf {
    /// Its steps in the managed fields.
    steps: Vec<String>,
    /// Where it is live.
    at: Path,
    /// How long the path is to the outermost list item that left the manifest as a whole.
    item: Option<usize>,
}

/// What of an object is handed over when a manifest is applied: the fields that are ours alone, are
/// not in the manifest any more and lie where somebody else goes on (`claims`). None for nearly
/// every apply.
pub(crate) fn hand_over(
    live: &Object,
    manager: &str,
    manifest: &Object,
    claims: &[Path],
) -> Option<Handover> {
    let known = entries(live)?;
    let is_main = |entry: &Value| entry["subresource"].as_str().unwrap_or_default().is_empty();
    let ours = known.iter().find(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && is_main(entry)
    })?;
    let mut walk = Walk::default();
    let (wanted, there) = (object_value(manifest), object_value(live));
    walk.down(ours["fieldsV1"].as_object()?, Some(&wanted), &there);
    let others: Vec<_> = known
        .iter()
        .filter(|entry| !std::ptr::eq(*entry, ours))
        .filter_map(|entry| entry["fieldsV1"].as_object())
        .collect();
    let leaves: Vec<_> = walk
        .given_up
        .into_iter()
        .filter(|leaf| claims.iter().any(|claim| covers(claim, leaf)))
        .filter(|leaf| !others.iter().any(|trie| owns(trie, &leaf.steps)))
        .collect();
    if leaves.is_empty() {
        return None;
    }
    let mut entries = known.clone();
    let place = entries.iter().position(|entry| {
        entry["manager"] == HANDOVER && entry["operation"] == "Apply" && is_main(entry)
    });
    let mut fields = place
        .and_then(|place| entries[place]["fieldsV1"].as_object().cloned())
        .unwrap_or_default();
    for leaf in &leaves {
        insert(&mut fields, &leaf.steps);
    }
    let mut entry = ours.clone();
    entry["manager"] = HANDOVER.into();
    entry["fieldsV1"] = Value::Object(fields);
    match place {
        Some(place) => entries[place] = entry,
        None => entries.push(entry),
    }
    let mut fields: Vec<String> = leaves
        .iter()
        .filter(|leaf| leaf.steps.last().is_some_and(|step| step != "."))
        .map(|leaf| leaf.at.join("."))
        .collect();
    fields.dedup();
    Some(Handover {
        entries,
        fields,
        leaves,
    })
}

/// What is in the manifest again is handed over no longer: the steps of ours are taken out of the
/// entry that stands in. Says whether it had any.
pub(super) fn take_back(standing_in: &mut Map<String, Value>, ours: &Map<String, Value>) -> bool {
    let before = standing_in.len();
    let mut changed = false;
    standing_in.retain(|step, below| {
        let Some(known) = ours.get(step).and_then(Value::as_object) else {
            return true;
        };
        let Some(below) = below.as_object_mut().filter(|below| !below.is_empty()) else {
            return false;
        };
        if known.is_empty() {
            return false;
        }
        changed |= take_back(below, known);
        !below.is_empty()
    });
    changed || standing_in.len() != before
}

fn object_value(object: &Object) -> Value {
    Value::Object(object.fields().clone())
}

/// Follows what is ours through the manifest and the live object.
#[derive(Default)]
struct Walk {
    steps: Vec<String>,
    at: Path,
    item: Option<usize>,
    given_up: Vec<Leaf>,
}

impl Walk {
    fn down(&mut self, trie: &Map<String, Value>, manifest: Option<&Value>, live: &Value) {
        for (step, below) in trie {
            let Some((name, below_live)) = follow(step, live) else {
                continue;
            };
            let below_manifest = manifest.and_then(|it| follow(step, it)).map(|(_, it)| it);
            let empty = Map::new();
            let below = below.as_object().unwrap_or(&empty);
            let item = self.item;
            self.steps.push(step.clone());
            self.at.extend(name);
            if step.starts_with("k:") && below_manifest.is_none() && item.is_none() {
                self.item = Some(self.at.len());
            }
            if below.is_empty() {
                if below_manifest.is_none() {
                    self.given_up.push(Leaf {
                        steps: self.steps.clone(),
                        at: self.at.clone(),
                        item: self.item,
                    });
                }
            } else {
                self.down(below, below_manifest, below_live);
            }
            self.item = item;
            self.steps.pop();
            if step != "." {
                self.at.pop();
            }
        }
    }
}

/// Where one step leads to: how it is called in a path, and the value there.
fn follow<'a>(step: &str, value: &'a Value) -> Option<(Option<String>, &'a Value)> {
    if step == "." {
        return Some((None, value));
    }
    let (kind, rest) = step.split_once(':')?;
    if kind == "f" {
        return Some((Some(rest.to_owned()), value.get(rest)?));
    }
    let items = value.as_array()?;
    let wanted: Value = serde_json::from_str(rest).ok()?;
    let place = match kind {
        "k" => items.iter().position(|item| has_keys(item, &wanted))?,
        "v" => items.iter().position(|item| *item == wanted)?,
        "i" => usize::try_from(wanted.as_u64()?).ok()?,
        _ => return None,
    };
    Some((Some(place.to_string()), items.get(place)?))
}

fn has_keys(item: &Value, keys: &Value) -> bool {
    let keys = keys.as_object().into_iter().flatten();
    let mut keys = keys.map(|(name, value)| item.get(name) == Some(value));
    keys.all(|same| same)
}

/// Whether a claim is about a field. An item that left its list as a whole goes, unless the claim
/// is about the whole of it.
fn covers(claim: &Path, leaf: &Leaf) -> bool {
    let above = leaf.at.starts_with(claim);
    match leaf.item {
        Some(length) => above && claim.len() <= length,
        // A list or map that is one value is handed over as one.
        None => {
            above || (claim.starts_with(&leaf.at) && leaf.steps.last().is_some_and(|it| it != "."))
        }
    }
}

/// Whether an entry owns what some steps lead to. A node without children owns all below it.
fn owns(trie: &Map<String, Value>, steps: &[String]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return true;
    };
    match trie.get(step).and_then(Value::as_object) {
        None => false,
        Some(below) => (below.is_empty() && step != ".") || owns(below, rest),
    }
}

fn insert(trie: &mut Map<String, Value>, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        return;
    };
    let below = trie.entry(step.clone()).or_insert_with(|| json!({}));
    if let Value::Object(below) = below {
        insert(below, rest);
    }
}

/// Gives a manifest the live value that some steps lead to.
fn put(target: &mut Value, live: &Value, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        *target = live.clone();
        return;
    };
    let Some((_, below)) = follow(step, live).filter(|_| step != ".") else {
        return;
    };
    let empty = match below {
        Value::Object(_) => json!({}),
        Value::Array(_) => json!([]),
        other => other.clone(),
    };
    match (step.split_once(':'), target) {
        (Some(("f", name)), Value::Object(fields)) => {
            let field = fields.entry(name.to_owned()).or_insert(empty);
            put(field, below, rest);
        }
        (Some(("k", keys)), Value::Array(items)) => {
            let Ok(keys) = serde_json::from_str::<Value>(keys) else {
                return;
            };
            let place = items.iter().position(|item| has_keys(item, &keys));
            let place = place.unwrap_or_else(|| {
                items.push(keys);
                items.len() - 1
            });
            put(&mut items[place], below, rest);
        }
        (Some(("v", _)), Value::Array(items)) if !items.contains(below) => {
            items.push(below.clone());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }

    fn object(spec: &Value, entries: &[Value]) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "resourceVersion": "7", "managedFields": entries},
            "spec": spec,
        }))
        .unwrap()
    }

    fn path(text: &str) -> Path {
        text.split('.').map(str::to_owned).collect()
    }

    fn ours() -> Value {
        entry(
            "trimtab",
            "Apply",
            json!({"f:spec": {
                "f:replicas": {}, "f:paused": {}, "f:selector": {},
                "f:containers": {
                    "k:{\"name\":\"web\"}": {
                        ".": {}, "f:name": {}, "f:image": {},
                        "f:resources": {"f:limits": {"f:cpu": {}, "f:memory": {}}},
                    },
                    "k:{\"name\":\"log\"}": {".": {}, "f:name": {}, "f:image": {}},
                },
                "f:finalizers": {"v:\"a\"": {}},
            }}),
        )
    }

    fn live_spec() -> Value {
        json!({
            "replicas": 6, "paused": true, "selector": {"app": "web"}, "finalizers": ["b", "a"],
            "containers": [
                {"name": "log", "image": "log:1"},
                {"name": "web", "image": "web:1",
                 "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}},
            ],
        })
    }

    fn web(resources: &Value) -> Value {
        json!({"name": "web", "image": "web:1", "resources": resources})
    }

    fn log() -> Value {
        json!({"name": "log", "image": "log:1"})
    }

    fn full() -> Value {
        json!({"limits": {"cpu": "2", "memory": "1Gi"}})
    }

    /// The manifest that is as live, with one field changed or taken away.
    fn manifest(field: &str, value: Option<Value>) -> Value {
        let mut spec = json!({
            "replicas": 6, "paused": true, "selector": {"app": "web"}, "finalizers": ["a"],
            "containers": [web(&full()), log()],
        });
        let fields = spec.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        spec
    }

    fn check(what: &str, manifest: &Value, others: &[Value], claim: &str, expected: &[&str]) {
        let entries: Vec<_> = [ours()].into_iter().chain(others.to_vec()).collect();
        let live = object(&live_spec(), &entries);
        let manifest = object(manifest, &[]);
        let found = hand_over(&live, "trimtab", &manifest, &[path(claim)]);
        let mut fields = found.as_ref().map(|it| it.fields.clone());
        let fields = fields.get_or_insert_default();
        fields.sort();
        assert_eq!(*fields, expected, "{what}");
        // What a dry run sends is as live where it is handed over.
        if let Some(found) = found {
            let carried = found.carried(&manifest, &live);
            let again = hand_over(&live, "trimtab", &carried, &[path(claim)]);
            assert_eq!(again, None, "{what}");
        }
    }

    #[test]
    fn what_is_given_up_and_claimed_is_handed_over() {
        let others = |fields: Value| [entry("scaler", "Update", fields)];
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let (gone, claim) = (manifest("replicas", None), "spec.replicas");
        check(
            "nothing is given up",
            &manifest("other", None),
            &[],
            claim,
            &[],
        );
        check("claimed", &gone, &[], claim, &[claim]);
        check("not claimed", &gone, &[], "spec.paused", &[]);
        check("claimed from above", &gone, &[], "spec", &[claim]);
        check(
            "another owner",
            &gone,
            &others(replicas.clone()),
            claim,
            &[],
        );
        let all = json!({"f:spec": {}});
        check("an owner of all of it", &gone, &others(all), claim, &[]);
        let before = [entry(HANDOVER, "Apply", replicas)];
        check("handed over before", &gone, &before, claim, &[]);
    }

    #[test]
    fn what_is_below_lists_and_maps_is_handed_over() {
        let cpu = "spec.containers.1.resources.limits.cpu";
        let with = |containers: Value| manifest("containers", Some(containers));
        let less = with(json!([web(&json!({"limits": {"memory": "1Gi"}})), log()]));
        check("a field of an item", &less, &[], cpu, &[cpu]);
        let bare = with(json!([{"name": "web", "image": "web:1"}, log()]));
        check("a field below a map that left", &bare, &[], cpu, &[cpu]);
        let gone = with(json!([log()]));
        check(
            "an item that left goes with its fields",
            &gone,
            &[],
            cpu,
            &[],
        );
        let whole = ["spec.containers.0.image", "spec.containers.0.name"];
        let gone = with(json!([web(&full())]));
        check(
            "a claim of a whole item",
            &gone,
            &[],
            "spec.containers.0",
            &whole,
        );
        let gone = manifest("selector", None);
        check(
            "a map that is one value",
            &gone,
            &[],
            "spec.selector.app",
            &["spec.selector"],
        );
        let gone = manifest("finalizers", None);
        let item = "spec.finalizers.1";
        check("an item of a set", &gone, &[], item, &[item]);
    }

    #[test]
    fn the_new_owner_stands_beside_the_others() {
        let scaler = entry("scaler", "Update", json!({"f:status": {}}));
        let live = object(&live_spec(), &[ours(), scaler.clone()]);
        let mut wanted = live_spec();
        wanted.as_object_mut().unwrap().remove("replicas");
        let manifest = object(&wanted, &[]);
        let found = hand_over(&live, "trimtab", &manifest, &[path("spec.replicas")]).unwrap();
        let theirs = entry(HANDOVER, "Apply", json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(found.entries, [ours(), scaler, theirs]);
        assert_eq!(found.patch(&live)[0]["value"], "7");
        assert_eq!(
            found.carried(&manifest, &live).fields()["spec"]["replicas"],
            6
        );
    }

    #[test]
    fn what_comes_back_is_ours_again() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let mut theirs = map(json!({"f:spec": {"f:replicas": {}, "f:a": {"f:b": {}, "f:c": {}}}}));
        let again = map(json!({"f:spec": {"f:replicas": {}, "f:a": {"f:b": {}}}}));
        assert!(take_back(&mut theirs, &again));
        assert_eq!(theirs, map(json!({"f:spec": {"f:a": {"f:c": {}}}})));
        assert!(!take_back(&mut theirs, &again));
    }
}
