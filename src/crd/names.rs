//! Every name that others see: group, kind, labels, annotations, finalizers, condition types.

use sha2::{Digest, Sha256};

use crate::object::{Object, ResourceKey};

/// The API group of our own CustomResourceDefinition; `--application-group` chooses another.
pub(crate) const GROUP: &str = "trimtab.dev";
pub(crate) const VERSION: &str = "v1alpha1";
pub(crate) const KIND: &str = "Application";
pub(crate) const PLURAL: &str = "applications";

/// The field manager of every apply.
pub(crate) const FIELD_MANAGER: &str = "trimtab";

/// On the CustomResourceDefinition: the version of the program whose definition it is.
pub(crate) const DEFINITION_VERSION: &str = "trimtab.dev/version";

/// Short label on every managed object: what the watches select. Not proof of ownership.
pub(crate) const TRACKING_LABEL: &str = "trimtab.dev/application";
/// The `info` of an operation under which its requester finds it again.
pub(crate) const REQUEST: &str = "trimtab.dev/request";
/// The `info` of an operation that waits while the sync before it is to end: who asked for that end.
pub(crate) const TERMINATED_BY: &str = "trimtab.dev/terminated-by";
/// On the object of a hook: the run that made it, as in the status. The object of an earlier run of
/// the same name is not taken for it.
pub(crate) const HOOK_RUN: &str = "trimtab.dev/hook-run";
/// Exact annotation on every managed object: whose it is and which object it describes.
pub(crate) const TRACKING_ANNOTATION: &str = "trimtab.dev/tracking-id";

/// An Application with one of these finalizers takes its resources along when it is deleted.
pub(crate) const FINALIZER: &str = "trimtab.dev/resources-finalizer";
pub(crate) const ARGO_FINALIZERS: [&str; 3] = [
    "resources-finalizer.argocd.argoproj.io",
    "resources-finalizer.argocd.argoproj.io/background",
    "resources-finalizer.argocd.argoproj.io/foreground",
];

/// Label of Secrets that hold a repository's credential, and its values.
pub(crate) const SECRET_TYPE_LABELS: [&str; 2] =
    ["trimtab.dev/secret-type", "argocd.argoproj.io/secret-type"];
pub(crate) const SECRET_TYPE_REPOSITORY: &str = "repository";
pub(crate) const SECRET_TYPE_TEMPLATE: &str = "repo-creds";

/// Annotations without their prefix; [`annotation`] looks for both spellings.
pub(crate) const REFRESH: &str = "refresh";
/// On an Application, `true`: nothing is done with it, not even when a person asks.
pub(crate) const SKIP_RECONCILE: &str = "skip-reconcile";
pub(crate) const HOOK: &str = "hook";
pub(crate) const SYNC_WAVE: &str = "sync-wave";
pub(crate) const SYNC_OPTIONS: &str = "sync-options";
pub(crate) const HOOK_DELETE_POLICY: &str = "hook-delete-policy";
pub(crate) const COMPARE_OPTIONS: &str = "compare-options";
/// A time (RFC 3339): what asks for confirmation may be deleted, if that was asked before.
pub(crate) const DELETION_APPROVED: &str = "deletion-approved";
pub(crate) const IGNORE_HEALTHCHECK: &str = "ignore-healthcheck";
pub(crate) const PRUNE_APPROVED: &str = "prune-approved";

/// The value of an annotation that Argo CD knows: ours wins over Argo CD's spelling.
pub(crate) fn annotation<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    annotation_names(name)
        .iter()
        .find_map(|name| object.annotation(name))
}

/// Both spellings of an annotation, ours first.
pub(crate) fn annotation_names(name: &str) -> [String; 2] {
    [
        format!("trimtab.dev/{name}"),
        format!("argocd.argoproj.io/{name}"),
    ]
}

/// Whether a finalizer asks for the resources to be deleted with the Application.
pub(crate) fn is_resources_finalizer(finalizer: &str) -> bool {
    finalizer == FINALIZER || ARGO_FINALIZERS.contains(&finalizer)
}

/// The value of the tracking label: `name` where it is unique enough to read, always followed by
/// a short digest of namespace and name, 63 characters at most (a label's limit).
pub(crate) fn tracking_label(namespace: &str, name: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{namespace}/{name}")));
    let readable: String = name.chars().take(63 - 11).collect();
    format!("{readable}.{}", &digest[..10])
}

/// The value of the tracking annotation: `namespace_name:group/Kind:namespace/name`.
pub(crate) fn tracking_id(namespace: &str, name: &str, key: &ResourceKey) -> String {
    format!("{namespace}_{name}:{}", key.id())
}

/// The Application (namespace, name) that a live object says it belongs to.
///
/// None when the annotation is absent, unreadable or describes another object: copies made by
/// other controllers carry the annotation of the original and are nobody's.
pub(crate) fn tracked_by(live: &Object) -> Option<(String, String)> {
    let (application, id) = live.annotation(TRACKING_ANNOTATION)?.split_once(':')?;
    if ResourceKey::parse(id)? != live.key() {
        return None;
    }
    let (namespace, name) = application.split_once('_')?;
    Some((namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_short_and_differ() {
        let long = "a".repeat(200);
        let label = tracking_label("ns", &long);
        assert_eq!(label.len(), 63);
        assert_ne!(label, tracking_label("other", &long));
        assert!(tracking_label("ns", "web").starts_with("web."));
    }

    #[test]
    fn a_copied_annotation_tracks_nobody() {
        let mut object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "shop", "name": "settings"},
        }))
        .unwrap();
        assert_eq!(tracked_by(&object), None);
        let id = tracking_id("trimtab", "shop", &object.key());
        object.set_annotation(TRACKING_ANNOTATION, &id);
        assert_eq!(tracked_by(&object), Some(("trimtab".into(), "shop".into())));
        object.metadata_mut().insert("name".into(), "copy".into());
        assert_eq!(tracked_by(&object), None);
    }

    /// An object that is served in two groups, such as an Event, has one uid in both: once it is
    /// applied in the new one, nothing that looks at it in the old one takes it for its own.
    #[test]
    fn an_object_that_moved_to_another_group_is_not_ours_in_the_old_one() {
        let mut object = Object::new(json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"namespace": "shop", "name": "a"},
        }))
        .unwrap();
        let id = tracking_id("trimtab", "shop", &object.key());
        object.set_annotation(TRACKING_ANNOTATION, &id);
        assert!(tracked_by(&object).is_some());
        object.fields_mut().insert("apiVersion".into(), "v1".into());
        assert_eq!(tracked_by(&object), None);
    }

    #[test]
    fn our_spelling_wins() {
        let object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"annotations": {
                "argocd.argoproj.io/sync-wave": "1", "trimtab.dev/sync-wave": "2",
                "argocd.argoproj.io/hook": "PreSync",
            }},
        }))
        .unwrap();
        assert_eq!(annotation(&object, SYNC_WAVE), Some("2"));
        assert_eq!(annotation(&object, HOOK), Some("PreSync"));
        assert_eq!(annotation(&object, REFRESH), None);
    }
}
