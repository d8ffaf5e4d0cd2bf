//! What differs between the desired state and what is remembered of the cluster. Asks nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Desired;
use crate::crd::{ApplicationKey, Consent, Ended, Health};
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
    pub(crate) other_owner: Option<ApplicationKey>,
    /// What it says itself about being pruned.
    pub(crate) prune: Option<Consent>,
    /// It asks not to be counted when it is not desired (`IgnoreExtraneous`).
    pub(crate) extraneous: bool,
    /// It asks not to be written.
    pub(crate) left_alone: bool,
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
    /// Those that drifted and are left alone, as somebody changes them again and again.
    pub(crate) fought: Vec<ResourceKey>,
    /// Desired and on their way out: they are created again when they are gone.
    pub(crate) leaving: Vec<ResourceKey>,
    /// In the inventory, not desired, and still there and ours.
    pub(crate) stale: Vec<ResourceKey>,
    /// Those of the stale that ask not to be counted (`IgnoreExtraneous`).
    pub(crate) tolerated: BTreeSet<ResourceKey>,
    /// Those of the stale that are never pruned (`Prune=false`), and why.
    pub(crate) kept: BTreeMap<ResourceKey, String>,
    /// Why some of those are: the project does not let them be touched.
    pub(crate) forbidden: Vec<String>,
    /// Those of the stale that are pruned when a person agreed (`Prune=confirm`).
    pub(crate) unconfirmed: Vec<ResourceKey>,
    /// Desired, and neither compared nor written, as they ask themselves in the source or in the
    /// cluster.
    pub(crate) left_alone: BTreeSet<ResourceKey>,
    /// Desired and gone after they ran to their end, as they do once: nothing is to be done.
    pub(crate) ended: BTreeMap<ResourceKey, Ended>,
    /// Desired or ours, and not known whether or how it is there, with the reason.
    pub(crate) unseen: BTreeMap<ResourceKey, String>,
    /// The destination namespace, where it lacks what the application asks for.
    pub(crate) namespace: Option<ResourceKey>,
    /// Hooks that did not run for this desired state yet.
    pub(crate) hooks: usize,
    /// In the inventory, not desired, and not seen among ours any more: to be forgotten once a
    /// read has confirmed it. What nothing is known of is in neither list and stays ours.
    pub(crate) settled: Vec<ResourceKey>,
    /// Desired here and owned by another application.
    pub(crate) shared: Vec<(ResourceKey, ApplicationKey)>,
    /// Ours, and desired by another application as well.
    pub(crate) claimed: Vec<(ResourceKey, ApplicationKey)>,
}

impl Comparison {
    /// Whether the cluster is as desired. What is stale counts as difference, as in Argo CD.
    pub(crate) fn is_synced(&self) -> bool {
        !self.differs() && self.unseen.is_empty()
    }

    /// Whether nothing is known to differ, and of something nothing is known.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.differs() && !self.unseen.is_empty()
    }

    fn differs(&self) -> bool {
        !(self.changed.is_empty()
            && self.drifted.is_empty()
            && self.fought.is_empty()
            && self.leaving.is_empty()
            && self.stale.iter().all(|key| self.tolerated.contains(key))
            && self.shared.is_empty()
            && self.namespace.is_none()
            && self.hooks == 0)
    }

    /// What may be pruned as far as the objects themselves say.
    pub(crate) fn prunable(&self) -> impl Iterator<Item = &ResourceKey> {
        self.stale
            .iter()
            .filter(|key| !self.kept.contains_key(*key))
    }

    /// Takes everything that seems as desired for touched, so that each object is asked about.
    pub(crate) fn doubt_all(&mut self) {
        self.doubt(|_| true);
    }

    /// Takes what seems as desired for touched where it is `doubted`.
    pub(crate) fn doubt(&mut self, doubted: impl Fn(&ResourceKey) -> bool) {
        for (key, verdict) in &mut self.verdicts {
            let sure = self.unseen.contains_key(key)
                || self.ended.contains_key(key)
                || self.left_alone.contains(key);
            if *verdict == Verdict::Synced && !sure && doubted(key) {
                *verdict = Verdict::Suspect;
                self.drifted.push(key.clone());
            }
        }
    }

    /// Leaves out a stale object.
    pub(crate) fn remove_stale(&mut self, key: &ResourceKey) {
        for keys in [&mut self.stale, &mut self.unconfirmed] {
            keys.retain(|stale| stale != key);
        }
        self.kept.remove(key);
        self.tolerated.remove(key);
    }

    /// Keeps a stale object, whatever it says itself.
    pub(crate) fn forbid(&mut self, key: ResourceKey, why: String) {
        self.forbidden.push(why.clone());
        self.unconfirmed.retain(|stale| *stale != key);
        self.kept.entry(key).or_insert(why);
    }

    /// Takes in a stale object, with what it says about being pruned, or else the application.
    pub(crate) fn add_stale(
        &mut self,
        key: ResourceKey,
        said: Option<Consent>,
        consent: Consent,
        extraneous: bool,
    ) {
        let why = match said {
            Some(_) => "it asks for that (Prune=false, or Helm's or Flux's word for it)",
            None => "the sync options ask for that (Prune=false)",
        };
        match said.unwrap_or(consent) {
            Consent::Yes => {}
            Consent::No => drop(self.kept.insert(key.clone(), why.to_owned())),
            Consent::Confirm => self.unconfirmed.push(key.clone()),
        }
        if extraneous {
            self.tolerated.insert(key.clone());
        }
        self.stale.push(key);
    }
}

/// Why nothing is known of an object, where nothing better is known.
const NOT_READ: &str = "it was not read yet";

/// Compares the desired state with what is remembered of the cluster.
///
/// `inventory` holds the keys that we may have created, hooks apart, `live` answers for one key,
/// `ended` says how what was applied last ran to its end, and `consent` is what the application
/// says about pruning where an object says nothing.
pub(crate) fn compare<'a>(
    desired: &Desired,
    baselines: &HashMap<ResourceKey, Baseline>,
    inventory: impl Iterator<Item = &'a ResourceKey>,
    live: impl Fn(&ResourceKey) -> Lookup,
    ended: impl Fn(&ResourceKey) -> Option<Ended>,
    consent: Consent,
) -> Comparison {
    let mut comparison = Comparison::default();
    for (key, object) in &desired.objects {
        let lookup = live(key);
        let baseline = baselines.get(key);
        let says_so = matches!(&lookup, Lookup::Found(live) if live.ours && live.left_alone);
        if object.options.left_alone || says_so {
            comparison.left_alone.insert(key.clone());
            comparison.verdicts.insert(key.clone(), Verdict::Synced);
            continue;
        }
        if lookup == Lookup::Unknown {
            // Nothing is concluded of not knowing: only a manifest that is new is a change.
            comparison.unseen.insert(key.clone(), NOT_READ.to_owned());
            let verdict = match baseline {
                Some(baseline) if baseline.desired == object.digest => Verdict::Synced,
                _ => {
                    comparison.changed.push(key.clone());
                    Verdict::Changed
                }
            };
            comparison.verdicts.insert(key.clone(), verdict);
            continue;
        }
        let found = lookup.found();
        if let Some(other) = found.as_ref().and_then(|live| live.other_owner.clone()) {
            comparison.shared.push((key.clone(), other));
        }
        let verdict = match &found {
            // It was created once and is left alone since.
            Some(live) if object.options.if_not_present && !live.observation.terminating => {
                Verdict::Synced
            }
            found => {
                let observation = found.as_ref().map(|live| &live.observation);
                let verdict = judge(object.digest, baseline, observation);
                let reverts = object.options.revert_kubectl;
                match observation {
                    Some(live) if verdict == Verdict::Synced && reverts && live.by_kubectl => {
                        Verdict::Suspect
                    }
                    _ => verdict,
                }
            }
        };
        let applied = baseline.is_some_and(|baseline| baseline.desired == object.digest);
        let verdict = match ended(key).filter(|_| verdict == Verdict::Missing && applied) {
            Some(ended) => {
                comparison.ended.insert(key.clone(), ended);
                Verdict::Synced
            }
            None => verdict,
        };
        comparison.verdicts.insert(key.clone(), verdict);
        match verdict {
            Verdict::Synced => {}
            Verdict::Terminating => comparison.leaving.push(key.clone()),
            Verdict::Changed => comparison.changed.push(key.clone()),
            Verdict::Suspect => comparison.drifted.push(key.clone()),
            // Applied before in this form and gone now: somebody deleted it.
            Verdict::Missing if applied => comparison.drifted.push(key.clone()),
            Verdict::Missing => comparison.changed.push(key.clone()),
        }
    }
    for key in inventory.filter(|key| !desired.objects.contains_key(*key)) {
        match live(key) {
            Lookup::Found(found) if found.ours && desired.left.contains(key) => {}
            Lookup::Found(found) if found.ours => {
                comparison.add_stale(key.clone(), found.prune, consent, found.extraneous);
            }
            Lookup::Found(_) | Lookup::Absent => comparison.settled.push(key.clone()),
            Lookup::Unknown => {
                comparison.unseen.insert(key.clone(), NOT_READ.to_owned());
            }
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::{HookPhase, SyncOptions};
    use crate::diff::{Digest, observe};
    use crate::object::{Kind, Object};
    use crate::plan::Place;
    use crate::sync::DesiredObject;

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn other() -> ApplicationKey {
        ApplicationKey {
            namespace: "trimtab".into(),
            name: "other".into(),
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
                place: Place::of_wave(HookPhase::Sync, 0),
                options: SyncOptions {
                    if_not_present: *name == "once",
                    ..SyncOptions::default()
                },
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
        let other_owner = (!ours).then(other);
        Live {
            observation: observe(&object, "trimtab"),
            health: None,
            ours,
            other_owner,
            prune: None,
            extraneous: false,
            left_alone: false,
        }
    }

    fn saying(prune: Consent) -> Lookup {
        Lookup::Found(Live {
            prune: Some(prune),
            ..live("f:data", true)
        })
    }

    #[test]
    fn what_is_being_deleted_differs_and_what_is_skipped_does_not() {
        let mut desired = desired(&["leaving"]);
        desired.left.extend(["skipped", "gone"].map(key));
        let inventory = ["leaving", "skipped", "gone"].map(key);
        let look_up = |key: &ResourceKey| {
            let mut live = live("f:data", true);
            live.observation.terminating = key.name == "leaving";
            match key.name.as_str() {
                "gone" => Lookup::Absent,
                _ => Lookup::Found(live),
            }
        };
        let found = compare(
            &desired,
            &HashMap::new(),
            inventory.iter(),
            look_up,
            |_| None,
            Consent::Yes,
        );
        assert_eq!(found.leaving, [key("leaving")]);
        assert!(!found.is_synced());
        assert_eq!(found.stale, []);
        assert_eq!(found.settled, [key("gone")]);
    }

    #[test]
    fn each_object_ends_in_one_list() {
        let names = [
            "new", "same", "touched", "deleted", "shared", "once", "dark", "hidden", "ran",
            "edited",
        ];
        let desired = desired(&names);
        let applied = live("f:data", true);
        let baselines: HashMap<_, _> = ["same", "touched", "deleted", "dark", "ran"]
            .iter()
            .map(|name| {
                let digest = Digest::of(&json!(name));
                (
                    key(name),
                    Baseline::new(digest, &applied.observation).unwrap(),
                )
            })
            .collect();
        let inventory = ["same", "gone", "stale", "taken", "unseen", "kept", "asks"].map(key);
        let look_up = |key: &ResourceKey| match key.name.as_str() {
            "kept" => saying(Consent::No),
            "asks" => saying(Consent::Confirm),
            "once" => Lookup::Found(live("f:other", true)),
            "same" | "stale" => Lookup::Found(live("f:data", true)),
            "touched" => Lookup::Found(live("f:other", true)),
            "shared" | "taken" => Lookup::Found(live("f:data", false)),
            "unseen" | "dark" | "hidden" => Lookup::Unknown,
            _ => Lookup::Absent,
        };
        let keys = inventory.iter();
        let ended = |key: &ResourceKey| {
            let ran = ["ran", "edited"].contains(&key.name.as_str());
            ran.then_some(Ended::Complete)
        };
        let found = compare(&desired, &baselines, keys, look_up, ended, Consent::Yes);
        let names = |keys: &[ResourceKey]| -> Vec<String> {
            keys.iter().map(|key| key.name.clone()).collect()
        };
        assert_eq!(names(&found.changed), ["edited", "hidden", "new", "shared"]);
        assert!(found.ended.keys().eq([&key("ran")]));
        assert_eq!(found.verdicts[&key("ran")], Verdict::Synced);
        assert!(
            found
                .unseen
                .keys()
                .eq([&key("dark"), &key("hidden"), &key("unseen")])
        );
        assert_eq!(names(&found.drifted), ["deleted", "touched"]);
        assert_eq!(names(&found.stale), ["stale", "kept", "asks"]);
        assert!(found.kept.keys().eq([&key("kept")]));
        assert_eq!(names(&found.unconfirmed), ["asks"]);
        assert_eq!(found.verdicts[&key("once")], Verdict::Synced);
        assert_eq!(names(&found.settled), ["gone", "taken"]);
        assert_eq!(found.shared, [(key("shared"), other())]);
        assert_eq!(found.verdicts[&key("same")], Verdict::Synced);
    }

    #[test]
    fn what_is_kept_counts_as_in_argo_cd() {
        let look_up = |key: &ResourceKey| {
            let mut live = live("f:data", true);
            live.prune = (key.name != "default").then_some(Consent::No);
            live.extraneous = key.name == "extra";
            Lookup::Found(live)
        };
        let found = |names: &[&str]| {
            let inventory: Vec<_> = names.iter().map(|name| key(name)).collect();
            let none = HashMap::new();
            let keys = inventory.iter();
            compare(&desired(&[]), &none, keys, look_up, |_| None, Consent::No)
        };
        assert!(found(&["extra"]).is_synced());
        let mut both = found(&["extra", "kept", "default"]);
        assert!(!both.is_synced());
        assert_eq!(both.prunable().next(), None);
        assert!(both.kept[&key("kept")].starts_with("it asks for that"));
        assert!(both.kept[&key("default")].starts_with("the sync options ask"));
        // What is handed over to another application is nothing of this one any more.
        for name in ["extra", "kept", "default"] {
            both.remove_stale(&key(name));
        }
        assert_eq!(both, Comparison::default());
    }

    #[test]
    fn what_asks_for_it_is_neither_compared_nor_doubted() {
        let mut desired = desired(&["in-git", "in-cluster", "of-another", "usual"]);
        let in_git = desired.objects.get_mut(&key("in-git")).unwrap();
        in_git.options.left_alone = true;
        let says_so = |ours| {
            Lookup::Found(Live {
                left_alone: true,
                ..live("f:data", ours)
            })
        };
        let look_up = |key: &ResourceKey| match key.name.as_str() {
            "in-cluster" => says_so(true),
            "of-another" => says_so(false),
            _ => Lookup::Absent,
        };
        let none = HashMap::new();
        let mut found = compare(&desired, &none, [].iter(), look_up, |_| None, Consent::Yes);
        assert_eq!(found.changed, [key("of-another"), key("usual")]);
        found.doubt_all();
        assert_eq!(found.drifted, []);
    }
}
