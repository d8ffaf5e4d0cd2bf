//! Argo CD's own words: an Application stays nearly as it is.

use serde_json::{Value, json};

use super::{Imported, made, unknown};
use crate::object::Object;

/// Fields of an AppProject that our projects have as well.
const CARRIED: [&str; 8] = [
    "description",
    "sourceRepos",
    "destinations",
    "clusterResourceWhitelist",
    "clusterResourceBlacklist",
    "namespaceResourceWhitelist",
    "namespaceResourceBlacklist",
    "sourceNamespaces",
];

pub(super) fn application(object: &Object, into: &str, imported: &mut Imported) {
    let spec = object.get("/spec").cloned().unwrap_or_default();
    let mut application = made(object.name(), into, &spec);
    for field in ["labels", "finalizers"] {
        if let Some(value) = object.get(&format!("/metadata/{field}")) {
            application["metadata"][field] = value.clone();
        }
    }
    let annotations = object
        .get("/metadata/annotations")
        .and_then(Value::as_object);
    let kept: serde_json::Map<_, _> = annotations
        .into_iter()
        .flatten()
        .filter(|(name, _)| {
            !name.starts_with("kubectl.kubernetes.io/") && !name.ends_with("/refresh")
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if kept
        .keys()
        .any(|name| name.starts_with("notifications.argoproj.io/"))
    {
        imported.warn(object, "notifications are not sent by us");
    }
    if !kept.is_empty() {
        application["metadata"]["annotations"] = kept.into();
    }
    imported.applications.push(application);
}

pub(super) fn project(object: &Object, imported: &mut Imported) {
    let mut project = json!({"name": object.name()});
    for field in CARRIED {
        if let Some(value) = object.get(&format!("/spec/{field}")) {
            project[field] = value.clone();
        }
    }
    // Argo CD forbids kinds of the cluster unless they are listed, as we do, and lists every one in
    // its own `default`.
    if let Some(windows) = object.get("/spec/syncWindows") {
        project["syncWindows"] = windows.clone();
    }
    let known = [&CARRIED[..], &["syncWindows"]].concat();
    for field in unknown(object, "/spec", &known) {
        imported.warn(object, &format!("{field} does not carry over"));
    }
    imported.projects.push(project);
}
