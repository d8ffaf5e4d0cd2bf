//! Flux's Kustomization and the GitRepository that it reads.

use serde_json::{Value, json};

use super::{Imported, made, unknown};
use crate::object::Object;

/// Fields of a Kustomization that are read here, or that change nothing.
const KNOWN: [&str; 13] = [
    "sourceRef",
    "path",
    "prune",
    "targetNamespace",
    "suspend",
    "serviceAccountName",
    "dependsOn",
    // Every application has these: objects are asked about as they change, synced in waves that
    // wait for health, and tried again for as long as something differs.
    "interval",
    "retryInterval",
    "timeout",
    "wait",
    "deletionPolicy",
    "force",
];

pub(super) fn kustomization(object: &Object, all: &[Object], into: &str, imported: &mut Imported) {
    for field in unknown(object, "/spec", &KNOWN) {
        imported.warn(object, &format!("{field} does not carry over"));
    }
    let text = |pointer: &str| {
        object
            .get(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let flag = |pointer: &str| object.get(pointer) == Some(&Value::Bool(true));
    let Some(mut source) = source(object, all) else {
        let what = "the source that it reads is not here, or not a GitRepository";
        return imported.warn(object, what);
    };
    let path = text("/spec/path")
        .trim_start_matches("./")
        .trim_matches('/');
    if !path.is_empty() {
        source["path"] = json!(path);
    }
    let namespace = match text("/spec/targetNamespace") {
        "" => object.namespace().unwrap_or("default"),
        namespace => namespace,
    };
    let mut automated = json!({"prune": flag("/spec/prune"), "selfHeal": true});
    if text("/spec/deletionPolicy") == "Orphan" {
        imported.warn(
            object,
            "delete it with --cascade orphan: deletionPolicy is not kept",
        );
    }
    let mut spec = json!({
        "project": "default", "source": source,
        "destination": {"name": "in-cluster", "namespace": namespace},
    });
    if flag("/spec/force") {
        spec["syncPolicy"]["syncOptions"] = json!(["Force=true"]);
    }
    spec["syncPolicy"]["automated"] = automated.take();
    if flag("/spec/suspend") {
        spec["pause"] = json!({"by": "import", "reason": "it was suspended in Flux"});
    }
    if !text("/spec/serviceAccountName").is_empty() {
        spec["serviceAccountName"] = json!(text("/spec/serviceAccountName"));
    }
    let needed = object.get("/spec/dependsOn").and_then(Value::as_array);
    let needed: Vec<_> = needed
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .map(|name| json!({"name": name}))
        .collect();
    if !needed.is_empty() {
        spec["dependsOn"] = json!(needed);
    }
    imported.applications.push(made(object.name(), into, &spec));
}

/// The source of an Application, from the GitRepository of this name.
fn source(object: &Object, all: &[Object]) -> Option<Value> {
    let reference = object.get("/spec/sourceRef")?;
    let own = object.namespace().unwrap_or_default();
    let namespace = reference["namespace"].as_str().unwrap_or(own);
    let found = all.iter().find(|it| {
        it.kind() == "GitRepository"
            && reference["kind"] == "GitRepository"
            && reference["name"] == it.name()
            && it.namespace().unwrap_or_default() == namespace
    })?;
    let url = found.get("/spec/url")?.as_str()?;
    let mut source = json!({"repoURL": url});
    // As Flux chooses: a commit before a name before a tag before a branch.
    let reference = ["commit", "name", "tag", "branch"]
        .iter()
        .find_map(|kind| found.get(&format!("/spec/ref/{kind}"))?.as_str());
    source["targetRevision"] = match reference {
        Some(reference) => json!(reference),
        // Flux's own default.
        None => json!("master"),
    };
    if let Some(range) = found.get("/spec/ref/semver").and_then(Value::as_str) {
        source["targetRevision"] = json!(range);
    }
    Some(source)
}
