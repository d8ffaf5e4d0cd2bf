//! What is remembered of every live object of one kind, in few bytes: there are as many of these
//! as there are managed objects.

use std::{
    collections::{HashMap, HashSet},
    mem::take,
    sync::Arc,
};

use crate::crd::foreign::is_left_alone;
use crate::crd::names::{FIELD_MANAGER, HOOK_RUN, tracked_by};
use crate::crd::options::{is_extraneous, prune_consent};
use crate::crd::{ApplicationKey, Consent, Ended, Health, HealthCode};
use crate::diff::{Digest, Observation, observe};
use crate::health;
use crate::object::Object;
use crate::sync::Live;

/// One live object as a watch or the answer to an apply showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Seen {
    pub(in crate::controller) owner: Option<ApplicationKey>,
    pub(in crate::controller) prune: Option<Consent>,
    pub(in crate::controller) extraneous: bool,
    pub(in crate::controller) left_alone: bool,
    pub(in crate::controller) observation: Observation,
    pub(in crate::controller) health: Option<Health>,
    /// It runs once and came to its end.
    pub(in crate::controller) ended: Option<Ended>,
    /// Every write to it matters, not only those that show in the observation: what somebody
    /// took from us is out of our sight.
    pub(in crate::controller) suspect: bool,
}

impl Seen {
    pub(in crate::controller) fn of(object: &Object) -> Self {
        let owner = tracked_by(object);
        let is_hook = object.annotation(HOOK_RUN).is_some();
        let counts = owner.is_some() && !is_hook;
        Self {
            owner: owner.map(|(namespace, name)| ApplicationKey { namespace, name }),
            prune: prune_consent(object),
            extraneous: is_extraneous(object),
            left_alone: is_left_alone(object),
            observation: observe(object, FIELD_MANAGER),
            health: health::assess(object),
            ended: health::ended(object).filter(|_| counts),
            suspect: false,
        }
    }
}

impl Seen {
    /// As an application sees it.
    pub(in crate::controller) fn seen_from(self, application: &ApplicationKey) -> Live {
        let ours = self.owner.as_ref() == Some(application);
        Live {
            observation: self.observation,
            health: self.health,
            ours,
            prune: self.prune,
            extraneous: self.extraneous,
            left_alone: self.left_alone,
            other_owner: self.owner.filter(|_| !ours),
        }
    }
}

/// Namespace and name, as a digest: the words themselves are with the application.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::controller) struct Name(Digest);

impl Name {
    pub(in crate::controller) fn new(namespace: &str, name: &str) -> Self {
        Self(Digest::of_texts(&[namespace, name]))
    }

    pub(in crate::controller) fn of(object: &Object) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name())
    }
}

/// The objects of one kind.
#[derive(Default)]
pub(in crate::controller) struct SeenObjects {
    packed: HashMap<Name, Packed>,
    owners: HashSet<Arc<ApplicationKey>>,
    /// Names that the running list did not show yet; none when no list is running.
    unconfirmed: Option<HashSet<Name>>,
    /// What came to its end before it was removed.
    ended: HashMap<Name, Ended>,
    /// The newest resourceVersion that the watch showed since its last list began. All that is older
    /// was shown as well: what was and is not here is gone.
    shown: Option<u128>,
}

/// Objects at most that are remembered as ended and gone.
const MOST_ENDED: usize = 10_000;

impl SeenObjects {
    pub(in crate::controller) fn len(&self) -> usize {
        self.packed.len()
    }

    pub(in crate::controller) fn get(&self, name: Name) -> Option<Seen> {
        self.packed.get(&name).map(Packed::unpack)
    }

    /// How an object that runs once ended, whether it is still there or not.
    pub(in crate::controller) fn ended(&self, name: Name) -> Option<Ended> {
        match self.packed.get(&name) {
            Some(packed) => packed.ended,
            None => self.ended.get(&name).copied(),
        }
    }

    fn end(&mut self, name: Name, ended: Option<Ended>) {
        if let Some(ended) = ended
            && self.ended.len() < MOST_ENDED
        {
            self.ended.insert(name, ended);
        }
    }

    /// Remembers what a watch showed unless something newer is known. Returns whom it matters to.
    pub(in crate::controller) fn insert(&mut self, name: Name, seen: Seen) -> Vec<ApplicationKey> {
        self.note_shown(&seen.observation.resource_version);
        self.take_in(name, seen)
    }

    /// Remembers what the answer to an apply of ours showed, unless the watch is ahead of it: of an
    /// object that was deleted meanwhile no further event would come.
    pub(in crate::controller) fn record(&mut self, name: Name, seen: Seen) {
        let version = seen.observation.resource_version.parse::<u128>().ok();
        let is_gone = version.is_some() && version <= self.shown;
        if !is_gone || self.packed.contains_key(&name) {
            self.take_in(name, seen);
        }
    }

    fn note_shown(&mut self, version: &str) {
        self.shown = self.shown.max(version.parse().ok());
    }

    fn take_in(&mut self, name: Name, mut seen: Seen) -> Vec<ApplicationKey> {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(&name);
        }
        let mut owners: Vec<ApplicationKey> = Vec::new();
        if let Some(before) = self.get(name) {
            if is_newer(&before.observation, &seen.observation.resource_version) {
                return owners;
            }
            let written = before.observation.resource_version != seen.observation.resource_version;
            let same = looks_the_same(&before, &seen) && !(before.suspect && written);
            seen.suspect = before.suspect;
            if seen.observation.terminating && seen.observation.uid == before.observation.uid {
                // It came to its end before somebody deleted it.
                seen.ended = before.ended;
            }
            if !same {
                owners.extend(before.owner);
                owners.extend(seen.owner.clone());
            }
        } else {
            owners.extend(seen.owner.clone());
        }
        self.ended.remove(&name);
        self.put(name, seen);
        owners
    }

    /// Every write to this object matters from now on.
    pub(in crate::controller) fn suspect(&mut self, name: Name) {
        if let Some(packed) = self.packed.get_mut(&name) {
            packed.suspect = true;
        }
    }

    /// Forgets an object that a watch showed as deleted, unless something newer is known. Returns
    /// whom it matters to.
    pub(in crate::controller) fn remove(
        &mut self,
        name: Name,
        version: &str,
    ) -> Option<ApplicationKey> {
        self.note_shown(version);
        let seen = self.get(name)?;
        if is_newer(&seen.observation, version) {
            return None;
        }
        self.packed.remove(&name);
        self.end(name, seen.ended);
        seen.owner
    }

    /// Whatever the next list shows is newer than all that is known.
    pub(in crate::controller) fn forget_versions(&mut self) {
        self.shown = None;
        for packed in self.packed.values_mut() {
            packed.version = 0;
            if let Some(texts) = packed.rare.as_mut().and_then(|rare| rare.texts.as_mut()) {
                texts.1.clear();
            }
        }
    }

    /// A list begins: what it does not show is gone.
    pub(in crate::controller) fn begin_list(&mut self) {
        // After a restore of an older state all versions begin again lower.
        self.shown = None;
        self.unconfirmed = Some(self.packed.keys().copied().collect());
    }

    /// A list is complete. Returns whose objects are gone.
    pub(in crate::controller) fn end_list(&mut self) -> Vec<ApplicationKey> {
        let mut owners = Vec::new();
        for name in self.unconfirmed.take().unwrap_or_default() {
            if let Some(packed) = self.packed.remove(&name) {
                self.end(name, packed.ended);
                owners.extend(packed.unpack().owner);
            }
        }
        self.owners.retain(|owner| Arc::strong_count(owner) > 1);
        owners
    }

    fn put(&mut self, name: Name, mut seen: Seen) {
        let owner = seen
            .owner
            .take()
            .map(|owner| match self.owners.get(&owner) {
                Some(known) => Arc::clone(known),
                None => {
                    let owner = Arc::new(owner);
                    self.owners.insert(Arc::clone(&owner));
                    owner
                }
            });
        self.packed.insert(name, Packed::new(seen, owner));
    }
}

/// Whether two looks at one object tell the same, whatever was written in between.
fn looks_the_same(one: &Seen, other: &Seen) -> bool {
    let (old, new) = (&one.observation, &other.observation);
    one.owner == other.owner
        && one.health == other.health
        && one.ended == other.ended
        && one.prune == other.prune
        && one.extraneous == other.extraneous
        && one.left_alone == other.left_alone
        && old.entry == new.entry
        && old.projection == new.projection
        && old.terminating == new.terminating
        && old.by_kubectl == new.by_kubectl
        && old.replicas == new.replicas
        && old.uid == new.uid
}

/// Whether an observation is surely newer than a resourceVersion. They are compared as numbers,
/// which Kubernetes promises since 1.35 (KEP-5504); anything else counts as not newer.
fn is_newer(observation: &Observation, version: &str) -> bool {
    match (
        observation.resource_version.parse::<u128>(),
        version.parse::<u128>(),
    ) {
        (Ok(one), Ok(other)) => one > other,
        _ => false,
    }
}

#[derive(Clone, Default, PartialEq)]
struct Rare {
    /// uid and resourceVersion where one of them is no such number.
    texts: Option<(String, String)>,
    /// Why it is not well.
    message: String,
}

/// [`Seen`] in few bytes: uid and resourceVersion as the numbers that they are almost always.
struct Packed {
    owner: Option<Arc<ApplicationKey>>,
    uid: [u8; 16],
    version: u64,
    /// What most objects do not have.
    rare: Option<Box<Rare>>,
    health: Option<HealthCode>,
    ended: Option<Ended>,
    entry: Option<Digest>,
    projection: Digest,
    prune: Option<Consent>,
    extraneous: bool,
    left_alone: bool,
    terminating: bool,
    by_kubectl: bool,
    replicas: bool,
    suspect: bool,
}

impl Packed {
    /// `owner` stands for the one of `seen`.
    fn new(mut seen: Seen, owner: Option<Arc<ApplicationKey>>) -> Self {
        let observation = seen.observation;
        let (uid, version) = (&observation.uid, &observation.resource_version);
        let numbers = number_of_uid(uid).zip(number_of_version(version));
        let (uid, version) = numbers.unwrap_or_default();
        let message = seen.health.as_mut().map(|health| take(&mut health.message));
        let rare = Rare {
            texts: match numbers {
                None => Some((observation.uid, observation.resource_version)),
                Some(_) => None,
            },
            message: message.unwrap_or_default(),
        };
        Self {
            owner,
            uid,
            version,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            health: seen.health.map(|health| health.status),
            ended: seen.ended,
            entry: observation.entry,
            projection: observation.projection,
            prune: seen.prune,
            extraneous: seen.extraneous,
            left_alone: seen.left_alone,
            terminating: observation.terminating,
            by_kubectl: observation.by_kubectl,
            replicas: observation.replicas,
            suspect: seen.suspect,
        }
    }

    fn unpack(&self) -> Seen {
        let numbers = || (uid_of_number(&self.uid), self.version.to_string());
        let Rare { texts, message } = self.rare.as_deref().cloned().unwrap_or_default();
        let (uid, resource_version) = texts.unwrap_or_else(numbers);
        Seen {
            owner: self.owner.as_deref().cloned(),
            prune: self.prune,
            extraneous: self.extraneous,
            left_alone: self.left_alone,
            observation: Observation {
                uid,
                resource_version,
                entry: self.entry,
                projection: self.projection,
                terminating: self.terminating,
                by_kubectl: self.by_kubectl,
                replicas: self.replicas,
            },
            health: self.health.map(|status| Health::new(status, message)),
            ended: self.ended,
            suspect: self.suspect,
        }
    }
}

/// The number in a uid of the usual form (RFC 9562, small letters); none for any other.
fn number_of_uid(uid: &str) -> Option<[u8; 16]> {
    let mut number = [0; 16];
    hex::decode_to_slice(uid.replace('-', ""), &mut number).ok()?;
    (uid_of_number(&number) == uid).then_some(number)
}

fn uid_of_number(number: &[u8; 16]) -> String {
    let mut text = hex::encode(number);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

fn number_of_version(version: &str) -> Option<u64> {
    let number: u64 = version.parse().ok()?;
    (number.to_string() == version).then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "5b0c8b43-5c1f-4a07-9a55-0d6a2b3a1f10";

    fn seen(version: &str, health: Option<Health>) -> Seen {
        let object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"uid": UID, "resourceVersion": version},
        }))
        .unwrap();
        let owner = ApplicationKey {
            namespace: "trimtab".into(),
            name: "shop".into(),
        };
        Seen {
            owner: Some(owner),
            health,
            ..Seen::of(&object)
        }
    }

    fn healthy() -> Option<Health> {
        Some(Health::healthy())
    }

    #[test]
    fn only_what_matters_wakes_and_what_is_older_is_dropped() {
        let mut objects = SeenObjects::default();
        let name = Name::new("shop", "a");
        let insert = |objects: &mut SeenObjects, seen| objects.insert(name, seen).len();
        assert_eq!(insert(&mut objects, seen("7", None)), 1, "new");
        assert_eq!(insert(&mut objects, seen("8", None)), 0, "churn");
        assert_eq!(insert(&mut objects, seen("9", healthy())), 2, "health");
        assert_eq!(insert(&mut objects, seen("8", None)), 0, "older");
        let version = objects.get(name).unwrap().observation.resource_version;
        assert_eq!(version, "9");
        objects.suspect(name);
        assert_eq!(insert(&mut objects, seen("10", healthy())), 2, "suspect");
        assert_eq!(objects.remove(name, "9"), None, "deleted before");
        assert!(objects.remove(name, "11").is_some() && objects.len() == 0);
    }

    #[test]
    fn what_was_deleted_before_our_answer_came_is_not_remembered() {
        let mut objects = SeenObjects::default();
        let (gone, other) = (Name::new("shop", "a"), Name::new("shop", "b"));
        objects.insert(gone, seen("5", None));
        objects.remove(gone, "8");
        objects.record(gone, seen("7", None));
        assert!(objects.get(gone).is_none(), "deleted after it was applied");
        objects.insert(other, seen("20", None));
        objects.record(gone, seen("12", None));
        assert!(objects.get(gone).is_none(), "the watch is past it");
        objects.record(gone, seen("21", None));
        assert!(objects.get(gone).is_some(), "the watch is not there yet");
        objects.begin_list();
        objects.record(other, seen("3", None));
        objects.end_list();
        objects.record(Name::new("shop", "c"), seen("4", None));
        assert_eq!(objects.len(), 2, "versions begin again with a list");
    }

    #[test]
    fn after_a_setback_the_next_list_is_the_truth() {
        let mut objects = SeenObjects::default();
        let name = Name::new("shop", "a");
        objects.insert(name, seen("9", healthy()));
        objects.begin_list();
        assert!(objects.insert(name, seen("5", None)).is_empty(), "older");
        objects.end_list();
        objects.forget_versions();
        objects.begin_list();
        assert_eq!(objects.insert(name, seen("5", None)).len(), 2);
        assert_eq!(objects.end_list(), []);
        let version = objects.get(name).unwrap().observation.resource_version;
        assert_eq!(version, "5");
    }

    #[test]
    fn what_a_list_does_not_show_is_gone() {
        let mut objects = SeenObjects::default();
        let (stays, goes) = (Name::new("shop", "a"), Name::new("shop", "b"));
        objects.insert(stays, seen("1", None));
        objects.insert(goes, seen("2", None));
        objects.begin_list();
        objects.insert(stays, seen("1", None));
        assert_eq!(objects.end_list().len(), 1);
        assert!(objects.get(stays).is_some() && objects.get(goes).is_none());
        assert_eq!(objects.owners.len(), 1);
        objects.begin_list();
        objects.end_list();
        assert!(objects.owners.is_empty(), "owners without objects go");
    }

    #[test]
    fn what_ended_before_it_went_is_remembered_until_it_is_there_again() {
        let mut objects = SeenObjects::default();
        let name = Name::new("shop", "a");
        let ended = |version, ended, terminating| {
            let mut seen = seen(version, healthy());
            seen.ended = ended;
            seen.observation.terminating = terminating;
            seen
        };
        objects.insert(name, ended("1", None, false));
        objects.remove(name, "2");
        assert_eq!(objects.ended(name), None, "it was still running");
        objects.insert(name, ended("3", Some(Ended::Complete), false));
        objects.insert(name, ended("4", None, true));
        assert_eq!(objects.ended(name), Some(Ended::Complete));
        objects.remove(name, "5");
        assert_eq!(objects.ended(name), Some(Ended::Complete));
        objects.insert(name, ended("6", None, false));
        assert_eq!(objects.ended(name), None, "it runs anew");
        objects.insert(name, ended("7", Some(Ended::Complete), false));
        objects.begin_list();
        objects.end_list();
        assert_eq!(objects.ended(name), Some(Ended::Complete), "gone unseen");
    }

    #[test]
    fn what_is_packed_unpacks_as_it_was() {
        let mut odd = seen("7", Some(Health::new(HealthCode::Degraded, "why")));
        odd.owner = None;
        odd.prune = Some(Consent::Confirm);
        odd.ended = Some(Ended::Failed);
        for (uid, version) in [
            (UID, "18446744073709551615"),
            (UID, "18446744073709551616"),
            (UID, "007"),
            (UID, ""),
            ("", "7"),
            ("5B0C8B43-5C1F-4A07-9A55-0D6A2B3A1F10", "7"),
            ("5b0c8b435c1f4a079a550d6a2b3a1f10", "7"),
            ("name", "a"),
        ] {
            for mut seen in [odd.clone(), seen("1", healthy()), seen("1", None)] {
                uid.clone_into(&mut seen.observation.uid);
                version.clone_into(&mut seen.observation.resource_version);
                let mut objects = SeenObjects::default();
                let name = Name::new("a", "b");
                objects.insert(name, seen.clone());
                assert_eq!(objects.get(name), Some(seen));
            }
        }
    }

    #[test]
    fn a_healthy_object_of_the_usual_kind_takes_little() {
        assert!(size_of::<(Name, Packed)>() <= 88);
        let packed = Packed::new(seen("7", healthy()), None);
        assert!(packed.rare.is_none());
    }
}
