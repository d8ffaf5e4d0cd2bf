//! What is remembered of a live object, and what follows when it changes.

use serde_json::Value;

use super::canonical::{Digest, Hasher};
use super::owned::{entries, entry, is_by_kubectl, project};
use crate::object::Object;

/// What one look at a live object leaves behind; the object itself is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// Digest of our entry in the managed fields, none when we own nothing. Where the API server
    /// keeps no managed fields at all this is the same for every object.
    pub(crate) entry: Option<Digest>,
    /// Digest of the live values that our entry names; without managed fields of everything but
    /// the status and bookkeeping.
    pub(crate) projection: Digest,
    pub(crate) terminating: bool,
    /// Somebody owns fields of it by kubectl.
    pub(crate) by_kubectl: bool,
    /// `spec.replicas` is ours: an autoscaler may want it when it leaves the manifest.
    pub(crate) replicas: bool,
}

/// What a successful apply established: the desired state and how it looks in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Digest of the manifest that was applied.
    pub(crate) desired: Digest,
    pub(crate) entry: Digest,
    pub(crate) projection: Digest,
}

impl Baseline {
    /// The baseline from the answer to our own apply. None where the answer does not show that we
    /// own something.
    pub(crate) fn new(desired: Digest, answer: &Observation) -> Option<Self> {
        let entry = answer.entry?;
        Some(Self {
            desired,
            entry,
            projection: answer.projection,
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; 30] {
        let mut bytes = [0; 30];
        for (part, digest) in [self.desired, self.entry, self.projection]
            .iter()
            .enumerate()
        {
            bytes[part * 10..(part + 1) * 10].copy_from_slice(&digest.0);
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 30 {
            return None;
        }
        Some(Self {
            desired: Digest::from_slice(&bytes[..10])?,
            entry: Digest::from_slice(&bytes[10..20])?,
            projection: Digest::from_slice(&bytes[20..])?,
        })
    }
}

/// What is to be thought of one desired object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As desired; nothing to ask and nothing to do.
    Synced,
    /// Not there.
    Missing,
    /// On its way out; it is created again when it is gone.
    Terminating,
    /// The manifest changed since it was applied, or it was never applied.
    Changed,
    /// Somebody touched what is ours; a dry run tells whether it matters.
    Suspect,
}

/// Looks at a live object once.
pub(crate) fn observe(live: &Object, manager: &str) -> Observation {
    let Some(entries) = entries(live) else {
        return without_ownership(live);
    };
    let ours = entry(live, manager);
    let mut hasher = Hasher::default();
    if let Some(trie) = ours
        .and_then(|entry| entry.get("fieldsV1"))
        .and_then(Value::as_object)
    {
        for step in trie.iter().collect::<std::collections::BTreeMap<_, _>>() {
            let (name, below) = step;
            hasher.text(b'p', name);
            let empty = serde_json::Map::new();
            let field = name
                .strip_prefix("f:")
                .and_then(|field| live.fields().get(field));
            project(&mut hasher, below.as_object().unwrap_or(&empty), field);
        }
    }
    Observation {
        uid: live.uid().to_owned(),
        resource_version: live.resource_version().to_owned(),
        entry: ours.map(|entry| {
            let mut hasher = Hasher::default();
            hasher.value(entry.get("fieldsV1").unwrap_or(&Value::Null));
            hasher.value(entry.get("apiVersion").unwrap_or(&Value::Null));
            hasher.finish()
        }),
        projection: hasher.finish(),
        terminating: live.is_terminating(),
        by_kubectl: entries.iter().any(is_by_kubectl),
        replicas: ours.is_some_and(|entry| {
            let spec = entry
                .get("fieldsV1")
                .and_then(|fields| fields.get("f:spec"));
            spec.is_some_and(|spec| spec.get("f:replicas").is_some())
        }),
    }
}

/// For kinds whose API server keeps no managed fields, as some aggregated ones do: without
/// ownership every field counts, and a foreign one is taken for drift once.
fn without_ownership(live: &Object) -> Observation {
    let mut all = without_bookkeeping(live);
    all.fields_mut().remove("status");
    Observation {
        uid: live.uid().to_owned(),
        resource_version: live.resource_version().to_owned(),
        entry: Some(Hasher::default().finish()),
        projection: Digest::of_map(all.fields()),
        terminating: live.is_terminating(),
        by_kubectl: false,
        replicas: false,
    }
}

/// Judges one desired object by what is remembered of it.
pub(crate) fn judge(
    desired: Digest,
    baseline: Option<&Baseline>,
    live: Option<&Observation>,
) -> Verdict {
    let Some(live) = live else {
        return Verdict::Missing;
    };
    if live.terminating {
        return Verdict::Terminating;
    }
    let Some(baseline) = baseline else {
        return Verdict::Changed;
    };
    if baseline.desired != desired {
        return Verdict::Changed;
    }
    if live.entry == Some(baseline.entry) && live.projection == baseline.projection {
        Verdict::Synced
    } else {
        Verdict::Suspect
    }
}

/// Whether the answer to a dry run differs from what is live, apart from bookkeeping.
pub(crate) fn differs(predicted: &Object, live: &Object) -> bool {
    let digest = |object: &Object| Digest::of_map(without_bookkeeping(object).fields());
    digest(predicted) != digest(live)
}

/// An object without what the API server writes down about every write.
fn without_bookkeeping(object: &Object) -> Object {
    let mut object = object.clone();
    let metadata = object.metadata_mut();
    for field in ["managedFields", "resourceVersion", "generation"] {
        metadata.remove(field);
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(replicas: i64, entry: Value) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"uid": "u", "resourceVersion": "7", "managedFields": [entry]},
            "spec": {"replicas": replicas}, "status": {"replicas": replicas},
        }))
        .unwrap()
    }

    fn ours(fields: Value) -> Value {
        json!({"manager": "trimtab", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields})
    }

    #[test]
    fn verdicts() {
        let desired = Digest::of(&json!("desired"));
        let replicas = ours(json!({"f:spec": {"f:replicas": {}}}));
        let applied = observe(&live(3, replicas.clone()), "trimtab");
        let baseline = Baseline::new(desired, &applied).unwrap();
        let check = |live: Option<&Object>, expected| {
            let seen = live.map(|live| observe(live, "trimtab"));
            assert_eq!(judge(desired, Some(&baseline), seen.as_ref()), expected);
        };
        check(None, Verdict::Missing);
        check(Some(&live(3, replicas.clone())), Verdict::Synced);
        let mut churned = live(3, replicas.clone());
        churned.fields_mut()["status"] = json!({"replicas": 9});
        check(Some(&churned), Verdict::Synced);
        // A foreign apply under our name changes the value alone, theft the entry alone.
        check(Some(&live(4, replicas.clone())), Verdict::Suspect);
        check(
            Some(&live(3, ours(json!({"f:spec": {}})))),
            Verdict::Suspect,
        );
        check(
            Some(&live(3, json!({"manager": "other"}))),
            Verdict::Suspect,
        );
        let mut leaving = live(3, replicas);
        leaving
            .metadata_mut()
            .insert("deletionTimestamp".into(), "now".into());
        check(Some(&leaving), Verdict::Terminating);

        let other = Digest::of(&json!("other"));
        assert_eq!(
            judge(other, Some(&baseline), Some(&applied)),
            Verdict::Changed
        );
        assert_eq!(judge(desired, None, Some(&applied)), Verdict::Changed);
    }

    #[test]
    fn without_an_entry_of_ours_there_is_no_baseline() {
        let seen = observe(&live(3, json!({"manager": "other"})), "trimtab");
        assert_eq!(Baseline::new(seen.projection, &seen), None);
    }

    #[test]
    fn where_no_managed_fields_are_kept_every_field_but_the_status_counts() {
        let desired = Digest::of(&json!("desired"));
        let bare = |replicas: i64, version: &str, status: i64| {
            let mut object = live(replicas, json!({}));
            let metadata = object.metadata_mut();
            metadata.remove("managedFields");
            metadata.insert("resourceVersion".into(), version.into());
            object.fields_mut()["status"] = json!({"replicas": status});
            observe(&object, "trimtab")
        };
        let baseline = Baseline::new(desired, &bare(3, "7", 3)).unwrap();
        let judge = |live: &Observation| judge(desired, Some(&baseline), Some(live));
        assert_eq!(judge(&bare(3, "8", 1)), Verdict::Synced);
        assert_eq!(judge(&bare(4, "8", 3)), Verdict::Suspect);
        // An object that had an entry of ours and lost all of them is not such a one.
        let owned = observe(
            &live(3, ours(json!({"f:spec": {"f:replicas": {}}}))),
            "trimtab",
        );
        let owned = Baseline::new(desired, &owned).unwrap();
        let cleared = super::judge(desired, Some(&owned), Some(&bare(3, "8", 3)));
        assert_eq!(cleared, Verdict::Suspect);
    }

    #[test]
    fn what_kubectl_left_is_seen() {
        for (entry, expected) in [
            (
                json!({"manager": "kubectl-label", "operation": "Update"}),
                true,
            ),
            (json!({"manager": "kubectl", "operation": "Apply"}), true),
            (
                json!({"manager": "kubectl-edit", "operation": "Update", "subresource": "status"}),
                false,
            ),
            (
                json!({"manager": "kube-controller-manager", "operation": "Update"}),
                false,
            ),
            (ours(json!({})), false),
        ] {
            let seen = observe(&live(3, entry.clone()), "trimtab");
            assert_eq!(seen.by_kubectl, expected, "{entry}");
        }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let digest = |text: &str| Digest::of(&json!(text));
        let baseline = Baseline {
            desired: digest("a"),
            entry: digest("b"),
            projection: digest("c"),
        };
        assert_eq!(Baseline::from_bytes(&baseline.to_bytes()), Some(baseline));
        assert_eq!(Baseline::from_bytes(&[0; 29]), None);
    }

    #[test]
    fn bookkeeping_is_no_difference() {
        let a = live(3, ours(json!({})));
        let mut b = live(3, json!({}));
        b.metadata_mut()
            .insert("resourceVersion".into(), "8".into());
        assert!(!differs(&a, &b));
        assert!(differs(&a, &live(4, json!({}))));
    }
}
