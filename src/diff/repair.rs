//! What is done so that a refused apply is taken: fields of others that exclude what the manifest
//! declares become ours, so that the next apply removes them, and what is remembered of versions
//! that mean something else, or are served no more, is said of the version of the manifest.

use serde_json::{Map, Value, json};

use super::adopt::{is_main, unite};
use super::overlay::{Path, all_owned, overlaid};
use super::owned::{entries, entry, follow};
use super::refusal::{By, Refusal};
use super::union::{in_the_way, owns};
use crate::object::Object;

/// What is to be asked and written; each is a JSON patch (RFC 6902) that holds for the version of
/// the object that was read only.
#[derive(Debug, PartialEq)]
pub(crate) struct Repair {
    /// Leads to what the object will be: asked about before anything is written.
    pub(crate) content: Value,
    /// Changes who owns what, and no value.
    pub(crate) ownership: Value,
    /// The paths that will go, for the log; empty where only versions are rewritten.
    pub(crate) dropped: Vec<String>,
}

/// Plans the repair of an apply that was refused in these ways; none where nothing of the live
/// object explains the last.
pub(crate) fn repair(
    live: &Object,
    manifest: &Object,
    refusals: &[Refusal],
    manager: &str,
) -> Option<Repair> {
    let found = entries(live)?;
    let owned = all_owned(live);
    let mut paths: Vec<Path> = Vec::new();
    let mut rewrites = false;
    for refusal in refusals {
        let before = (paths.len(), rewrites);
        match refusal.by() {
            By::Validation => {
                for cause in &refusal.causes {
                    paths.extend(in_the_way(live, manifest, &owned, manager, cause));
                }
                paths.sort_unstable();
                paths.dedup();
            }
            By::Ownership => {
                let version = manifest.api_version();
                rewrites |= found.iter().any(|entry| entry["apiVersion"] != version);
            }
            _ => {}
        }
        if before == (paths.len(), rewrites) {
            return None;
        }
    }
    let version = live.resource_version();
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
    let entries = taken_over(live, manifest, manager, &paths, rewrites);
    Some(Repair {
        content: content(live, manifest, manager, &paths, &test),
        ownership: json!([
            test,
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        ]),
        dropped: paths.iter().map(|path| path.join(" ")).collect(),
    })
}

/// The entries as they are to be: the paths are ours alone, and every entry is of one version.
fn taken_over(
    live: &Object,
    manifest: &Object,
    manager: &str,
    paths: &[Path],
    rewrites: bool,
) -> Vec<Value> {
    let mut result: Vec<Value> = Vec::new();
    for entry in entries(live).into_iter().flatten() {
        let mut entry = entry.clone();
        let ours = is_main(&entry) && entry["manager"] == manager && entry["operation"] == "Apply";
        if let Some(fields) = entry["fieldsV1"].as_object_mut().filter(|_| !ours) {
            for path in paths {
                disown(fields, path);
            }
            if fields.is_empty() {
                continue;
            }
        }
        if rewrites {
            entry["apiVersion"] = manifest.api_version().into();
        }
        let same = |known: &&mut Value| {
            ["manager", "operation", "subresource", "apiVersion"]
                .iter()
                .all(|field| known[*field] == entry[*field])
        };
        // Two versions of one manager become one.
        match result.iter_mut().find(same).filter(|_| rewrites) {
            None => result.push(entry),
            Some(known) => {
                let (known, more) = (known["fieldsV1"].as_object_mut(), entry["fieldsV1"].take());
                if let (Some(known), Value::Object(more)) = (known, more) {
                    unite(known, &more);
                }
            }
        }
    }
    if paths.is_empty() {
        return result;
    }
    let mut fields = Map::new();
    for path in paths {
        let value = find(live.fields(), path);
        unite(&mut fields, &trie_to(path, value));
    }
    let ours = result.iter_mut().find(|entry| {
        is_main(entry) && entry["manager"] == manager && entry["operation"] == "Apply"
    });
    match ours.and_then(|entry| entry["fieldsV1"].as_object_mut()) {
        Some(ours) => unite(ours, &fields),
        None => result.push(json!({
            "manager": manager, "operation": "Apply", "apiVersion": manifest.api_version(),
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })),
    }
    result
}

/// The value at a path.
fn find<'a>(live: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let top = live.get(first.strip_prefix("f:")?)?;
    rest.iter().try_fold(top, |value, step| {
        follow(step, Some(value)).into_iter().next()
    })
}

/// A trie that holds a path and all that is below it.
fn trie_to(path: &[String], value: Option<&Value>) -> Map<String, Value> {
    let mut trie = value.map(whole).unwrap_or_default();
    for step in path.iter().rev() {
        trie = Map::from_iter([(step.clone(), Value::Object(trie))]);
    }
    trie
}

fn whole(value: &Value) -> Map<String, Value> {
    let Value::Object(fields) = value else {
        return Map::new();
    };
    let below = fields
        .iter()
        .map(|(name, value)| (format!("f:{name}"), Value::Object(whole(value))));
    let mut trie: Map<String, Value> = below.collect();
    if !trie.is_empty() {
        trie.insert(".".to_owned(), json!({}));
    }
    trie
}

/// Takes a path out of a trie, with what stands above it for nothing else.
fn disown(fields: &mut Map<String, Value>, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        fields.remove(step);
        return;
    }
    if let Some(below) = fields.get_mut(step).and_then(Value::as_object_mut) {
        // Who owns the whole owns it as a whole.
        if below.is_empty() {
            return;
        }
        disown(below, rest);
        if below.is_empty() {
            fields.remove(step);
        }
    }
}

/// Leads to what the apply will make of the object.
fn content(live: &Object, manifest: &Object, manager: &str, paths: &[Path], test: &Value) -> Value {
    let mut kept = live.clone();
    for path in paths {
        remove(kept.fields_mut(), path);
    }
    for path in given_up(live, manifest, manager) {
        remove(kept.fields_mut(), &path);
    }
    let merged = overlaid(&kept, manifest);
    let mut patch = vec![test.clone()];
    for (name, value) in merged.fields() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for part in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    if let Some(value) = value.get(part) {
                        let path = format!("/metadata/{part}");
                        patch.push(json!({"op": "add", "path": path, "value": value}));
                    }
                }
            }
            name => {
                let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                patch.push(json!({"op": "add", "path": path, "value": value}));
            }
        }
    }
    Value::Array(patch)
}

/// What an earlier apply of ours declared alone and the manifest does not: an apply removes it.
fn given_up(live: &Object, manifest: &Object, manager: &str) -> Vec<Path> {
    let ours = entry(live, manager).and_then(|entry| entry.get("fieldsV1"));
    let Some(ours) = ours.and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for (step, below) in ours {
        let name = step.strip_prefix("f:").unwrap_or_default();
        let declared = manifest.fields().get(name);
        left_out(below, declared, vec![step.clone()], &mut left);
    }
    let others: Vec<_> = entries(live)
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] != manager || entry["operation"] != "Apply")
        .collect();
    left.retain(|path| !others.iter().any(|entry| owns(&entry["fieldsV1"], path)));
    left
}

fn left_out(below: &Value, declared: Option<&Value>, path: Path, left: &mut Vec<Path>) {
    let Some(declared) = declared else {
        left.push(path);
        return;
    };
    for (step, below) in below.as_object().into_iter().flatten() {
        if step == "." {
            continue;
        }
        let mut path = path.clone();
        path.push(step.clone());
        let next = follow(step, Some(declared)).into_iter().next();
        left_out(below, next, path, left);
    }
}

/// Removes the value at a path.
fn remove(fields: &mut Map<String, Value>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let Some(name) = first.strip_prefix("f:") else {
        return;
    };
    match rest {
        [] => drop(fields.remove(name)),
        rest => {
            if let Some(value) = fields.get_mut(name) {
                remove_below(value, rest);
            }
        }
    }
}

fn remove_below(value: &mut Value, path: &[String]) {
    match value {
        Value::Object(fields) => remove(fields, path),
        Value::Array(items) => {
            let Some((step, rest)) = path.split_first() else {
                return;
            };
            let found = {
                let whole = Value::Array(std::mem::take(items));
                let found = follow(step, Some(&whole)).into_iter().next().cloned();
                if let Value::Array(whole) = whole {
                    *items = whole;
                }
                found
            };
            let Some(at) = found.and_then(|it| items.iter().position(|item| *item == it)) else {
                return;
            };
            match rest {
                [] => drop(items.remove(at)),
                rest => remove_below(&mut items[at], rest),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusal::Cause;
    use super::*;

    fn manifest(api_version: &str, spec: &Value) -> Object {
        Object::new(json!({
            "apiVersion": api_version, "kind": "A", "metadata": {"name": "a", "labels": {"l": "1"}},
            "spec": spec,
        }))
        .unwrap()
    }

    fn live(api_version: &str, spec: &Value, entries: &Value) -> Object {
        let mut live = manifest(api_version, spec);
        let metadata = live.metadata_mut();
        metadata.insert("resourceVersion".into(), "7".into());
        metadata.insert("managedFields".into(), entries.clone());
        live
    }

    fn entry(manager: &str, operation: &str, version: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version,
            "fieldsV1": fields})
    }

    fn recreate() -> Refusal {
        let cause = Cause {
            reason: "FieldValueForbidden".into(),
            field: "spec.strategy.rollingUpdate".into(),
            message: "may not be specified when strategy `type` is 'Recreate'".into(),
        };
        Refusal::new(422, "invalid", [cause])
    }

    #[test]
    fn a_default_that_excludes_ours_becomes_ours() {
        let rolling = json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}},
            "f:paused": {}}});
        let ours = json!({"f:spec": {"f:size": {}, "f:old": {}}});
        let live = live(
            "v1",
            &json!({
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
                "size": 1, "old": 2, "paused": true,
            }),
            &json!([
                entry("trimtab", "Apply", "v1", &ours),
                entry("kubectl-edit", "Update", "v1", &rolling),
            ]),
        );
        let manifest = manifest("v1", &json!({"size": 3, "strategy": {"type": "Recreate"}}));
        let found = repair(&live, &manifest, &[recreate()], "trimtab").unwrap();
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"});
        let united = json!({"f:spec": {"f:size": {}, "f:old": {}, "f:strategy": {
            "f:rollingUpdate": {".": {}, "f:maxSurge": {}},
        }}});
        let left = json!({"f:spec": {"f:paused": {}}});
        let entries = json!([
            entry("trimtab", "Apply", "v1", &united),
            entry("kubectl-edit", "Update", "v1", &left),
        ]);
        assert_eq!(
            found.ownership,
            json!([test, {"op": "replace", "path": "/metadata/managedFields", "value": entries}])
        );
        // What the manifest gives up goes as well, what is another's stays.
        let spec = json!({"size": 3, "strategy": {"type": "Recreate"}, "paused": true});
        assert_eq!(
            found.content,
            json!([
                test,
                {"op": "add", "path": "/metadata/labels", "value": {"l": "1"}},
                {"op": "add", "path": "/spec", "value": spec},
            ])
        );
        assert_eq!(found.dropped, ["f:spec f:strategy f:rollingUpdate"]);
    }

    #[test]
    fn without_an_entry_of_ours_there_is_one_after() {
        let created = json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {}}}});
        let spec = json!({"strategy": {"rollingUpdate": {}}});
        let live = live(
            "v1",
            &spec,
            &json!([entry("someone", "Update", "v1", &created)]),
        );
        let manifest = manifest("v1", &json!({"strategy": {"type": "Recreate"}}));
        let found = repair(&live, &manifest, &[recreate()], "trimtab").unwrap();
        let entries = &found.ownership[1]["value"];
        assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
        assert_eq!(entries[0]["manager"], "trimtab");
        assert_eq!(entries[0]["fieldsV1"], created);
    }

    #[test]
    fn what_is_remembered_of_other_versions_is_said_of_ours() {
        let fields = |name: &str| json!({"f:spec": {name: {}}});
        let mut status = entry("prober", "Update", "a.io/v1beta1", &json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let entries = json!([
            entry("trimtab", "Apply", "a.io/v1beta1", &fields("f:port")),
            entry("trimtab", "Apply", "a.io/v1", &fields("f:mode")),
            status,
        ]);
        let live = live("a.io/v1", &json!({"port": 1}), &entries);
        let manifest = manifest("a.io/v1", &json!({"port": 1}));
        let refusal = Refusal::new(500, ".spec.mode: field not declared in schema", []);
        let found = repair(&live, &manifest, &[refusal], "trimtab").unwrap();
        status["apiVersion"] = json!("a.io/v1");
        let united = json!({"f:spec": {"f:port": {}, "f:mode": {}}});
        let ours = entry("trimtab", "Apply", "a.io/v1", &united);
        assert_eq!(found.ownership[1]["value"], json!([ours, status]));
        assert!(found.dropped.is_empty());
    }

    #[test]
    fn what_nothing_explains_is_not_repaired() {
        let spec = json!({"strategy": {"type": "Recreate"}});
        let fields = json!({"f:spec": {}});
        let live = live(
            "v1",
            &spec,
            &json!([entry("trimtab", "Apply", "v1", &fields)]),
        );
        let manifest = manifest("v1", &spec);
        let check = |refusal: Refusal| repair(&live, &manifest, &[refusal], "trimtab");
        assert_eq!(check(recreate()), None);
        for (code, text) in [
            (500, ".spec.mode: field not declared in schema"),
            (500, "etcd leader changed"),
            (403, "may not"),
            (422, "no cause"),
        ] {
            assert_eq!(check(Refusal::new(code, text, [])), None, "{code} {text}");
        }
    }
}
