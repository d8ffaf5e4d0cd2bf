//! Argo CD's own words: an Application stays nearly as it is.

use serde_json::{Value, json};

use super::{Imported, carried_metadata, given, made};
use crate::crd::names::is_resources_finalizer;
use crate::object::Object;

/// Fields of an AppProject that our projects have as well. Argo CD forbids kinds of the cluster unless
/// they are listed, as we do, and lists every one in its own `default`.
const CARRIED: [&str; 9] = [
    "description",
    "sourceRepos",
    "destinations",
    "clusterResourceWhitelist",
    "clusterResourceBlacklist",
    "namespaceResourceWhitelist",
    "namespaceResourceBlacklist",
    "sourceNamespaces",
    "syncWindows",
];

/// Annotations that are honoured here as well.
const ANNOTATIONS: [&str; 8] = [
    "skip-reconcile",
    "deletion-approved",
    "compare-options",
    "sync-options",
    "sync-wave",
    "hook",
    "hook-delete-policy",
    "ignore-healthcheck",
];
/// Annotations that end with the old controller: requests and bookkeeping.
const ENDING: [&str; 3] = ["refresh", "tracking-id", "installation-id"];

pub(super) fn application(object: &Object, into: &str, imported: &mut Imported) {
    let spec = object.get("/spec").cloned().unwrap_or_default();
    let mut application = made(object.name(), into, &spec);
    carried_metadata(object, &mut application, |name| {
        let word = name.strip_prefix("argocd.argoproj.io/");
        !word.is_some_and(|word| ENDING.contains(&word))
    });
    let finalizers = object.get("/metadata/finalizers").and_then(Value::as_array);
    let mut kept = Vec::new();
    for finalizer in finalizers.into_iter().flatten().filter_map(Value::as_str) {
        match is_resources_finalizer(finalizer) {
            true => kept.push(finalizer),
            // Nobody would take it off again.
            false => imported.warn(
                object,
                &format!("finalizer {finalizer} does not carry over"),
            ),
        }
    }
    if !kept.is_empty() {
        application["metadata"]["finalizers"] = json!(kept);
    }
    warn_of_metadata(object, imported);
    if object.get("/operation").is_some() {
        imported.warn(
            object,
            "operation does not carry over: ask for the sync again",
        );
    }
    imported.applications.push(application);
}

/// Names the annotations that Argo CD and its companions act on and we do not, and the one who made
/// the Application.
fn warn_of_metadata(object: &Object, imported: &mut Imported) {
    let annotations = object.get("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    for (name, _) in annotations {
        let (prefix, word) = name.split_once('/').unwrap_or_default();
        let what = match prefix {
            "notifications.argoproj.io" => "notifications are not sent by us",
            "argocd.argoproj.io" if [&ANNOTATIONS[..], &ENDING].concat().contains(&word) => {
                continue;
            }
            prefix if prefix.ends_with("argoproj.io") => "it changes nothing here",
            _ => continue,
        };
        imported.warn(object, &format!("annotation {name}: {what}"));
    }
    let owners = object.get("/metadata/ownerReferences");
    for owner in owners.and_then(Value::as_array).into_iter().flatten() {
        let (kind, name) = (&owner["kind"], &owner["name"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(kind), text(name));
        let what = format!("metadata.ownerReferences does not carry over: {kind} {name} made it");
        imported.warn(object, &what);
    }
}

pub(super) fn project(object: &Object, imported: &mut Imported) {
    let mut project = json!({"name": object.name()});
    for field in CARRIED {
        if let Some(value) = object.get(&format!("/spec/{field}")) {
            project[field] = value.clone();
        }
    }
    for field in given(object, "/spec") {
        if !CARRIED.contains(&field.as_str()) {
            imported.warn(object, &format!("spec.{field} does not carry over"));
        }
    }
    imported.projects.push(project);
}
