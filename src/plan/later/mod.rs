//! Whether a refusal can come from what the same sync creates or changes: then it is no fault yet,
//! and the object is written after what it needs.

mod leaving;

use serde_json::Value;

pub(crate) use leaving::{enough, is_judged_by_content, stands_in_the_way, without};

use crate::diff::{By, Refusal};
use crate::object::{Kind, Object, ResourceKey};

/// Why an object cannot be written as things are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Obstacle<'a> {
    /// The cluster does not serve its kind.
    UnknownKind(&'a Kind),
    Refused(&'a Refusal),
}

/// One object that the sync creates or changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coming<'a> {
    pub(crate) object: &'a Object,
    /// Whether it is there already and is changed.
    pub(crate) exists: bool,
}

/// What is to be thought of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It may be over when these were written.
    Later(Vec<ResourceKey>),
    Never,
}

/// Judges a refusal by what the sync creates or changes. `manifests` are all that the application
/// desires: what is not changed tells what belongs together.
pub(crate) fn later<'a>(
    obstacle: Obstacle<'_>,
    key: &ResourceKey,
    coming: impl IntoIterator<Item = Coming<'a>>,
    manifests: &[&Object],
) -> When {
    let helps = |other: &Coming<'_>| match obstacle {
        Obstacle::UnknownKind(kind) => serves(other.object, &kind.group, &kind.kind),
        Obstacle::Refused(refusal) => lifts(refusal, key, *other, manifests),
    };
    let needs: Vec<_> = coming
        .into_iter()
        .filter(helps)
        .map(|other| other.object.key())
        .filter(|other| other != key)
        .collect();
    match needs.is_empty() {
        true => When::Never,
        false => When::Later(needs),
    }
}

/// Whether an object makes the API server serve a kind.
fn serves(other: &Object, group: &str, kind: &str) -> bool {
    match (other.group(), other.kind()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            text(other, "/spec/group") == group && text(other, "/spec/names/kind") == kind
        }
        ("apiregistration.k8s.io", "APIService") => text(other, "/spec/group") == group,
        _ => false,
    }
}

/// Whether one object, written, may lift a refusal of another.
fn lifts(refusal: &Refusal, key: &ResourceKey, other: Coming<'_>, manifests: &[&Object]) -> bool {
    let object = other.object;
    let of_namespace =
        key.kind != "Namespace" && is(object, "", "Namespace") && object.name() == key.namespace;
    match refusal.by() {
        By::Authoriser => gives_rights(refusal, key, object),
        By::Policy => {
            of_namespace || decides(refusal, object, manifests) || is_named(refusal, key, object)
        }
        By::Unreachable => answers(refusal, key, object, manifests),
        By::Admission => {
            of_namespace || is_named(refusal, key, object) || limits(refusal, key, other)
        }
        By::Missing if refusal.says("namespaces \"") => of_namespace,
        By::Missing => {
            is_named(refusal, key, object)
                || serves(object, &key.group, &key.kind)
                || is_role_of(refusal, key, object)
        }
        By::Validation => {
            (serves(object, &key.group, &key.kind) && refusal.is_about_more_than_metadata())
                || frees(refusal, key, other)
        }
        By::Ownership => serves(object, &key.group, &key.kind),
        By::Other => false,
    }
}

/// The refusal names it, and it can be meant.
fn is_named(refusal: &Refusal, key: &ResourceKey, other: &Object) -> bool {
    let namespace = other.namespace().unwrap_or_default();
    let reached = namespace.is_empty() || namespace == key.namespace || refusal.names(namespace);
    reached && other.key() != *key && refusal.names_object(other.kind(), other.name())
}

/// Of a binding whose role is missing the API server says that the binding is not found.
fn is_role_of(refusal: &Refusal, key: &ResourceKey, other: &Object) -> bool {
    let here = other
        .namespace()
        .is_none_or(|namespace| namespace == key.namespace);
    here && refusal.says("rolebindings.rbac.authorization.k8s.io")
        && key.kind.ends_with("RoleBinding")
        && other.group() == "rbac.authorization.k8s.io"
        && matches!(other.kind(), "Role" | "ClusterRole")
}

/// Roles and bindings that may give the account what it lacks.
fn gives_rights(refusal: &Refusal, key: &ResourceKey, other: &Object) -> bool {
    if other.group() != "rbac.authorization.k8s.io" {
        return false;
    }
    let here = other.namespace() == Some(key.namespace.as_str());
    match other.kind() {
        "ClusterRole" => true,
        "Role" => here,
        "ClusterRoleBinding" => binds(refusal, other),
        "RoleBinding" => here && binds(refusal, other),
        _ => false,
    }
}

/// Whether a binding is about the account that the refusal names.
fn binds(refusal: &Refusal, binding: &Object) -> bool {
    let subjects = binding.get("/subjects").and_then(Value::as_array);
    subjects.into_iter().flatten().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        let namespace = subject["namespace"].as_str();
        let account = namespace.or(binding.namespace()).unwrap_or_default();
        match subject["kind"].as_str() {
            Some("ServiceAccount") => {
                refusal.says(&format!("\"system:serviceaccount:{account}:{name}\""))
            }
            Some("User") => refusal.says(&format!("\"{name}\"")),
            // Which groups an account is in is not always said.
            Some("Group") => name.starts_with("system:") || refusal.says(&format!("\"{name}\"")),
            _ => false,
        }
    })
}

/// Policies, their bindings and parameters, and webhooks that said no.
fn decides(refusal: &Refusal, other: &Object, manifests: &[&Object]) -> bool {
    let policy = |name: &str| refusal.says(&format!("AdmissionPolicy '{name}'"));
    match other.kind() {
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => policy(other.name()),
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            refusal.says(&format!("binding '{}'", other.name()))
        }
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            has_webhook(refusal, other)
        }
        kind => manifests.iter().any(|manifest| {
            manifest.kind().ends_with("AdmissionPolicy")
                && policy(manifest.name())
                && text(manifest, "/spec/paramKind/kind") == kind
                && text(manifest, "/spec/paramKind/apiVersion") == other.api_version()
        }),
    }
}

fn has_webhook(refusal: &Refusal, configuration: &Object) -> bool {
    let hooks = configuration.get("/webhooks").and_then(Value::as_array);
    hooks.into_iter().flatten().any(|hook| {
        let name = hook["name"].as_str().unwrap_or_default();
        refusal.says(&format!("webhook \"{name}\""))
    })
}

/// What stands behind a webhook or a served group that does not answer.
fn answers(refusal: &Refusal, key: &ResourceKey, other: &Object, manifests: &[&Object]) -> bool {
    if serves(other, &key.group, &key.kind) || has_webhook(refusal, other) {
        return true;
    }
    let Some(namespace) = other.namespace() else {
        return false;
    };
    let runs = matches!(
        other.kind(),
        "Service"
            | "Endpoints"
            | "EndpointSlice"
            | "Deployment"
            | "StatefulSet"
            | "DaemonSet"
            | "ReplicaSet"
            | "Pod"
            | "Job"
            | "Secret"
            | "ConfigMap"
            | "ServiceAccount"
            | "NetworkPolicy"
    );
    let aggregated = manifests.iter().any(|manifest| {
        is(manifest, "apiregistration.k8s.io", "APIService")
            && text(manifest, "/spec/group") == key.group
            && text(manifest, "/spec/service/namespace") == namespace
    });
    runs && (aggregated || refusal.says(&format!(".{namespace}.svc")))
}

/// Quotas and limits of its namespace, and classes that decide what it may ask for.
fn limits(refusal: &Refusal, key: &ResourceKey, other: Coming<'_>) -> bool {
    let object = other.object;
    let here = object.namespace() == Some(key.namespace.as_str());
    let quota = refusal.says("quota");
    match object.kind() {
        "ResourceQuota" => here && quota,
        "LimitRange" => {
            let limited = ["usage per ", "limit to request ratio"];
            here && (quota || limited.iter().any(|words| refusal.says(words)))
        }
        "StorageClass" => key.kind == "PersistentVolumeClaim",
        // What it gives up may be what is missing.
        kind => here && quota && other.exists && kind == key.kind && object.key() != *key,
    }
}

/// Another Service of the sync that may give up the address or port that is taken.
fn frees(refusal: &Refusal, key: &ResourceKey, other: Coming<'_>) -> bool {
    other.exists
        && key.kind == "Service"
        && is(other.object, "", "Service")
        && refusal.says("already allocated")
}

fn is(object: &Object, group: &str, kind: &str) -> bool {
    object.group() == group && object.kind() == kind
}

fn text<'a>(object: &'a Object, pointer: &str) -> &'a str {
    object
        .get(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
