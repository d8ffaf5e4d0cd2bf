//! Taking over the fields of the tool that kept an object before.
//!
//! A field that leaves the manifest is removed by a server-side apply only when no other manager
//! owns it. `kubectl apply`, Argo CD, Flux and Helm leave such owners behind, and an object that was
//! never applied server-side has one that owns everything. Their fields become ours, once, so that
//! what leaves Git later really goes.

use serde_json::{Map, Value, json};

use super::handover::{HANDOVER, take_back};
use super::owned::is_by_kubectl;
use crate::object::Object;

/// Managers of tools that keep whole objects. People's edits (`kubectl-edit`, `kubectl-label`) and
/// controllers are not among them: their fields stay theirs.
pub(super) const TOOLS: [&str; 6] = [
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "helm",
    "Helm",
];
/// Managers of what `kubectl apply` set, and of what was there before the first server-side apply.
pub(super) const APPLIED: [&str; 2] = ["kubectl-client-side-apply", "before-first-apply"];

/// Holds a copy of the manifest as `kubectl apply` saw it, Secrets included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is to be written to take the fields over.
#[derive(Debug, PartialEq)]
pub(crate) struct Adoption {
    /// A JSON patch (RFC 6902) that holds for the version that was read only.
    pub(crate) patch: Value,
    /// Whose fields become ours.
    pub(crate) managers: Vec<String>,
}

impl Adoption {
    /// The managed fields as they are to be.
    pub(crate) fn entries(&self) -> &Value {
        &self.patch[1]["value"]
    }

    /// Puts other managed fields in place of them.
    pub(crate) fn set_entries(&mut self, entries: Vec<Value>) {
        self.patch[1]["value"] = entries.into();
    }
}

/// How much of what was set by kubectl is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfKubectl {
    Nothing,
    /// What `kubectl apply` keeps; what people edited stays theirs.
    Applied,
    All,
}

/// What there is to take over, seen in the answer to our own apply. None for nearly every object.
///
/// As in Argo CD the fields of entries of another API version are given up instead: their paths may
/// mean nothing in ours.
///
/// `of_kubectl` says how much of what was set by kubectl becomes ours as well.
pub(crate) fn adopt(live: &Object, manager: &str, of_kubectl: OfKubectl) -> Option<Adoption> {
    let entries = live.get("/metadata/managedFields")?.as_array()?;
    let ours = entries.iter().position(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && is_main(entry)
    })?;
    let version = &entries[ours]["apiVersion"];
    let mut fields = entries[ours]["fieldsV1"].as_object()?.clone();
    let mut managers = Vec::new();
    let mut kept = Vec::new();
    let applied = fields.clone();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry["manager"].as_str().unwrap_or_default();
        let of_kubectl = match of_kubectl {
            OfKubectl::Nothing => false,
            OfKubectl::Applied => APPLIED.contains(&name),
            OfKubectl::All => APPLIED.contains(&name) || is_by_kubectl(entry),
        };
        let earlier = of_kubectl
            || TOOLS.contains(&name)
            || (name == manager && entry["operation"] == "Update");
        if name == HANDOVER && is_main(entry) {
            // What was handed over and is in the manifest again needs nobody to stand in.
            let mut entry = entry.clone();
            if let Some(theirs) = entry["fieldsV1"].as_object_mut()
                && take_back(theirs, &applied)
            {
                managers.push(name.to_owned());
            }
            if entry["fieldsV1"]
                .as_object()
                .is_some_and(|it| !it.is_empty())
            {
                kept.push((index, entry));
            }
            continue;
        }
        if index == ours || !earlier || !is_main(entry) {
            kept.push((index, entry.clone()));
            continue;
        }
        if entry["apiVersion"] == *version
            && let Some(theirs) = entry["fieldsV1"].as_object()
        {
            unite(&mut fields, theirs);
        }
        managers.push(name.to_owned());
    }
    if managers.is_empty() {
        return None;
    }
    let kept = kept.into_iter().map(|(index, mut entry)| {
        if index == ours {
            entry["fieldsV1"] = Value::Object(fields.clone());
        }
        entry
    });
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version()}),
        json!({"op": "replace", "path": "/metadata/managedFields", "value": kept.collect::<Vec<_>>()}),
    ];
    if live.annotation(LAST_APPLIED).is_some() {
        let name = LAST_APPLIED.replace('/', "~1");
        patch.push(json!({"op": "remove", "path": format!("/metadata/annotations/{name}")}));
    }
    Some(Adoption {
        patch: Value::Array(patch),
        managers,
    })
}

/// Whether an entry is about the object itself and not about one of its subresources.
pub(super) fn is_main(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// Adds the paths of one trie to another. A node without children stands for itself: beside
/// children it is written as `.`.
pub(super) fn unite(ours: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (step, below) in theirs {
        let Some(known) = ours.get_mut(step) else {
            ours.insert(step.clone(), below.clone());
            continue;
        };
        let (Value::Object(known), Value::Object(below)) = (known, below) else {
            continue;
        };
        if known.is_empty() != below.is_empty() {
            known.insert(".".to_owned(), json!({}));
        }
        unite(known, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields})
    }

    fn live(entries: Vec<Value>) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "resourceVersion": "7", "managedFields": entries,
                "annotations": {LAST_APPLIED: "{}"},
            },
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_an_earlier_tool_become_ours() {
        let ours = || entry("trimtab", "Apply", json!({"f:data": {"f:a": {}}}));
        let theirs = json!({"f:data": {".": {}, "f:b": {}}, "f:immutable": {}});
        let edit = entry("kubectl-edit", "Update", json!({"f:data": {"f:c": {}}}));
        let mut status = entry("helm", "Update", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let entries = vec![
            entry("kubectl-client-side-apply", "Update", theirs),
            ours(),
            edit.clone(),
            status.clone(),
        ];
        let found = adopt(&live(entries), "trimtab", OfKubectl::Applied).unwrap();
        assert_eq!(found.managers, ["kubectl-client-side-apply"]);
        let united = json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:immutable": {}});
        let expected = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "replace", "path": "/metadata/managedFields", "value": [
                entry("trimtab", "Apply", united), edit, status,
            ]},
            {"op": "remove",
             "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"},
        ]);
        assert_eq!(found.patch, expected);
    }

    #[test]
    fn what_was_handed_over_and_came_back_is_ours_alone() {
        let ours = entry("trimtab", "Apply", json!({"f:data": {"f:a": {}}}));
        let theirs = |fields: Value| entry(HANDOVER, "Apply", json!({"f:data": fields}));
        let both = theirs(json!({"f:a": {}, "f:b": {}}));
        let found = adopt(
            &live(vec![ours.clone(), both]),
            "trimtab",
            OfKubectl::Nothing,
        )
        .unwrap();
        let rest = theirs(json!({"f:b": {}}));
        assert_eq!(*found.entries(), json!([ours, rest]));
        assert_eq!(
            adopt(
                &live(vec![ours.clone(), rest]),
                "trimtab",
                OfKubectl::Nothing
            ),
            None
        );
        let all = theirs(json!({"f:a": {}}));
        let found = adopt(
            &live(vec![ours.clone(), all]),
            "trimtab",
            OfKubectl::Nothing,
        )
        .unwrap();
        assert_eq!(*found.entries(), json!([ours]));
    }

    #[test]
    fn where_nothing_is_to_be_taken_over_nothing_is_written() {
        let ours = || entry("trimtab", "Apply", json!({"f:data": {}}));
        let other = |name| entry(name, "Update", json!({"f:data": {}}));
        assert_eq!(
            adopt(&live(vec![ours()]), "trimtab", OfKubectl::Applied),
            None
        );
        assert_eq!(
            adopt(&live(vec![other("helm")]), "trimtab", OfKubectl::Applied),
            None
        );
        for name in ["kubectl-edit", "kube-controller-manager", "Mozilla"] {
            assert_eq!(
                adopt(
                    &live(vec![ours(), other(name)]),
                    "trimtab",
                    OfKubectl::Applied
                ),
                None,
                "{name}"
            );
        }
        // Unless what people set is to go.
        let reverted = adopt(
            &live(vec![ours(), other("kubectl-edit")]),
            "trimtab",
            OfKubectl::All,
        );
        assert_eq!(reverted.unwrap().managers, ["kubectl-edit"]);
        let of_others = adopt(
            &live(vec![ours(), other("kubelet")]),
            "trimtab",
            OfKubectl::All,
        );
        assert_eq!(of_others, None);
        // What we wrote ourselves in another way is ours as well.
        assert!(
            adopt(
                &live(vec![ours(), other("trimtab")]),
                "trimtab",
                OfKubectl::Applied
            )
            .is_some()
        );
    }

    #[test]
    fn fields_of_another_version_are_given_up() {
        let mut old = entry(
            "argocd-controller",
            "Update",
            json!({"f:data": {"f:b": {}}}),
        );
        old["apiVersion"] = json!("v1beta1");
        let ours = entry("trimtab", "Apply", json!({"f:data": {"f:a": {}}}));
        let found = adopt(
            &live(vec![old, ours.clone()]),
            "trimtab",
            OfKubectl::Applied,
        )
        .unwrap();
        assert_eq!(found.patch[1]["value"], json!([ours]));
    }

    #[test]
    fn a_leaf_beside_children_stays_a_leaf() {
        let mut one = json!({"f:a": {}, "f:b": {"f:c": {}}})
            .as_object()
            .unwrap()
            .clone();
        let other = json!({"f:a": {"f:x": {}}, "f:b": {}});
        unite(&mut one, other.as_object().unwrap());
        let expected = json!({"f:a": {".": {}, "f:x": {}}, "f:b": {".": {}, "f:c": {}}});
        assert_eq!(Value::Object(one), expected);
    }
}
