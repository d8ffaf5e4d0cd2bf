//! What differs between the desired state and what is remembered of the cluster. Asks nobody.

use std::collections::{BTreeMap, HashMap};

use super::Desired;
use crate::crd::Health;
use crate::diff::{Baseline, Observation, Verdict, judge};
use crate::object::ResourceKey;

/// What is remembered of a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) observation: Observation,
    /// None where the kind has no rule.
    pub(crate) health: Option<Health>,
    /// Whether it says itself that it belongs to the application it was looked up for.
    pub(crate) ours: bool,
    /// The application that it says it belongs to, when that is another one.
    pub(crate) other_owner: Option<String>,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found(Live),
    /// It is not there, or does not carry our label.
    Absent,
    /// Its kind is not watched, or the first list is not complete.
    Unknown,
}

impl Lookup {
    pub(crate) fn found(self) -> Option<Live> {
        match self {
            Self::Found(live) => Some(live),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) verdicts: BTreeMap<ResourceKey, Verdict>,
    /// To be applied because the manifest is new.
    pub(crate) changed: Vec<ResourceKey>,
    /// To be applied because it was touched or deleted after our apply.
    pub(crate) drifted: Vec<ResourceKey>,
    /// In the inventory, not desired, and still there and ours.
    pub(crate) stale: Vec<ResourceKey>,
    /// In the inventory, not desired, and not seen among ours any more: to be forgotten once a
    /// read has confirmed it. What nothing is known of is in neither list and stays ours.
    pub(crate) settled: Vec<ResourceKey>,
    /// Desired here and owned by another application, with its name.
    pub(crate) shared: Vec<(ResourceKey, String)>,
}

impl Comparison {
    /// Whether the cluster is as desired. What is stale counts as difference, as in Argo CD.
    pub(crate) fn is_synced(&self) -> bool {
        self.changed.is_empty()
            && self.drifted.is_empty()
            && self.stale.is_empty()
            && self.shared.is_empty()
    }
}

/// Compares the desired state with what is remembered of the cluster.
///
/// `inventory` holds the keys that we may have created, `live` answers for one key.
pub(crate) fn compare<'a>(
    desired: &Desired,
    baselines: &HashMap<ResourceKey, Baseline>,
    inventory: impl Iterator<Item = &'a ResourceKey>,
    live: impl Fn(&ResourceKey) -> Lookup,
) -> Comparison {
    let mut comparison = Comparison::default();
    for (key, object) in &desired.objects {
        let found = live(key).found();
        if let Some(other) = found.as_ref().and_then(|live| live.other_owner.clone()) {
            comparison.shared.push((key.clone(), other));
        }
        let baseline = baselines.get(key);
        let verdict = judge(
            object.digest,
            baseline,
            found.as_ref().map(|live| &live.observation),
        );
        comparison.verdicts.insert(key.clone(), verdict);
        match verdict {
            Verdict::Synced | Verdict::Terminating => {}
            Verdict::Changed => comparison.changed.push(key.clone()),
            Verdict::Suspect => comparison.drifted.push(key.clone()),
            // Applied before in this form and gone now: somebody deleted it.
            Verdict::Missing if baseline.is_some_and(|b| b.desired == object.digest) => {
                comparison.drifted.push(key.clone());
            }
            Verdict::Missing => comparison.changed.push(key.clone()),
        }
    }
    for key in inventory.filter(|key| !desired.objects.contains_key(*key)) {
        match live(key) {
            Lookup::Found(found) if found.ours => comparison.stale.push(key.clone()),
            Lookup::Found(_) | Lookup::Absent => comparison.settled.push(key.clone()),
            Lookup::Unknown => {}
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diff::{Digest, observe};
    use crate::object::{Kind, Object};
    use crate::sync::DesiredObject;

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn desired(names: &[&str]) -> Desired {
        let object = |name: &&str| {
            let kind = Kind {
                group: String::new(),
                version: "v1".into(),
                kind: "ConfigMap".into(),
            };
            let object = DesiredObject {
                kind,
                digest: Digest::of(&json!(name)),
                ignores_health: false,
            };
            (key(name), object)
        };
        Desired {
            objects: names.iter().map(object).collect(),
            ..Desired::default()
        }
    }

    fn live(entry: &str, ours: bool) -> Live {
        let object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{
                "manager": "trimtab", "operation": "Apply", "fieldsV1": {entry: {}},
            }]},
        }))
        .unwrap();
        let other_owner = (!ours).then(|| "trimtab/other".to_owned());
        Live {
            observation: observe(&object, "trimtab"),
            health: None,
            ours,
            other_owner,
        }
    }

    #[test]
    fn each_object_ends_in_one_list() {
        let desired = desired(&["new", "same", "touched", "deleted", "shared"]);
        let applied = live("f:data", true);
        let baselines: HashMap<_, _> = ["same", "touched", "deleted"]
            .iter()
            .map(|name| {
                let digest = Digest::of(&json!(name));
                (
                    key(name),
                    Baseline::new(digest, &applied.observation).unwrap(),
                )
            })
            .collect();
        let inventory = ["same", "gone", "stale", "taken", "unseen"].map(key);
        let found = compare(&desired, &baselines, inventory.iter(), |key| {
            match key.name.as_str() {
                "same" | "stale" => Lookup::Found(live("f:data", true)),
                "touched" => Lookup::Found(live("f:other", true)),
                "shared" | "taken" => Lookup::Found(live("f:data", false)),
                "unseen" => Lookup::Unknown,
                _ => Lookup::Absent,
            }
        });
        let names = |keys: &[ResourceKey]| -> Vec<String> {
            keys.iter().map(|key| key.name.clone()).collect()
        };
        assert_eq!(names(&found.changed), ["new", "shared"]);
        assert_eq!(names(&found.drifted), ["deleted", "touched"]);
        assert_eq!(names(&found.stale), ["stale"]);
        assert_eq!(names(&found.settled), ["gone", "taken"]);
        assert_eq!(found.shared, [(key("shared"), "trimtab/other".to_owned())]);
        assert_eq!(found.verdicts[&key("same")], Verdict::Synced);
    }
}
