//! Who desires which object, over all applications: an object that moves from one application to
//! another is handed over instead of deleted, in whatever order the two look at the commit.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::crd::ApplicationKey;
use crate::object::ResourceKey;

/// What every application desires, as digests: 8 bytes an object.
#[derive(Default)]
pub(crate) struct Claims(Mutex<State>);

#[derive(Default)]
struct State {
    desired: HashMap<ApplicationKey, Box<[u64]>>,
    /// Applications that heard of a revision and did not render it yet.
    expected: HashSet<ApplicationKey>,
    /// By owner: objects of it that another application desires as well.
    contested: HashMap<ApplicationKey, BTreeSet<(ResourceKey, ApplicationKey)>>,
}

impl Claims {
    /// An application heard of a revision: what it will desire is not known until [`Self::set`].
    pub(in crate::controller) fn expect(&self, application: &ApplicationKey) {
        self.lock().expected.insert(application.clone());
    }

    /// An application looked at its newest revision and desires these objects, if it could be
    /// read. Returns the applications that wait for an object of it.
    pub(in crate::controller) fn set<'a>(
        &self,
        application: &ApplicationKey,
        desired: Option<impl Iterator<Item = &'a ResourceKey>>,
    ) -> Vec<ApplicationKey> {
        let mut state = self.lock();
        state.expected.remove(application);
        let Some(desired) = desired else {
            return Vec::new();
        };
        let mut digests: Vec<u64> = desired.map(digest).collect();
        digests.sort_unstable();
        let digests = digests.into_boxed_slice();
        let known = state.desired.get(application);
        if known == Some(&digests) {
            return Vec::new();
        }
        state.desired.insert(application.clone(), digests);
        let waiting = state.contested.get(application);
        let waiting = waiting
            .into_iter()
            .flatten()
            .map(|(_, other)| other.clone());
        waiting.collect()
    }

    /// An application is gone. Returns the applications that wait for an object of it.
    pub(in crate::controller) fn remove(
        &self,
        application: &ApplicationKey,
    ) -> Vec<ApplicationKey> {
        let mut state = self.lock();
        state.desired.remove(application);
        state.expected.remove(application);
        let waiting = state.contested.remove(application).unwrap_or_default();
        for contested in state.contested.values_mut() {
            contested.retain(|(_, other)| other != application);
        }
        waiting.into_iter().map(|(_, other)| other).collect()
    }

    /// Another application that desires an object.
    pub(in crate::controller) fn claimant(
        &self,
        own: &ApplicationKey,
        key: &ResourceKey,
    ) -> Option<ApplicationKey> {
        let wanted = digest(key);
        let state = self.lock();
        let mut claims = state.desired.iter();
        let claim = claims.find(|(application, desired)| {
            *application != own && desired.binary_search(&wanted).is_ok()
        });
        claim.map(|(application, _)| application.clone())
    }

    /// Whether an application desires an object; none when nothing is known of the application.
    pub(in crate::controller) fn desires(
        &self,
        application: &ApplicationKey,
        key: &ResourceKey,
    ) -> Option<bool> {
        let state = self.lock();
        let desired = state.desired.get(application)?;
        Some(desired.binary_search(&digest(key)).is_ok())
    }

    /// Whether an application heard of a revision that it did not look at yet.
    pub(in crate::controller) fn is_expected(&self, application: &ApplicationKey) -> bool {
        self.lock().expected.contains(application)
    }

    /// Whether another application may yet turn out to desire something.
    pub(in crate::controller) fn others_expected(&self, own: &ApplicationKey) -> bool {
        let state = self.lock();
        state.expected.iter().any(|application| application != own)
    }

    /// Says which objects of others an application desires in vain.
    pub(in crate::controller) fn contest(
        &self,
        application: &ApplicationKey,
        objects: &[(ResourceKey, ApplicationKey)],
    ) -> Vec<ApplicationKey> {
        let mut state = self.lock();
        let mut changed = Vec::new();
        for (owner, contested) in &mut state.contested {
            let before = contested.len();
            contested.retain(|(key, other)| {
                other != application || objects.iter().any(|it| it.0 == *key && it.1 == *owner)
            });
            if contested.len() != before {
                changed.push(owner.clone());
            }
        }
        state.contested.retain(|_, contested| !contested.is_empty());
        for (key, owner) in objects {
            let contested = state.contested.entry(owner.clone()).or_default();
            if contested.insert((key.clone(), application.clone())) {
                changed.push(owner.clone());
            }
        }
        changed
    }

    /// The objects of an application that others desire as well.
    pub(in crate::controller) fn contested(
        &self,
        owner: &ApplicationKey,
    ) -> Vec<(ResourceKey, ApplicationKey)> {
        let state = self.lock();
        let contested = state.contested.get(owner);
        contested.into_iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(key: &ResourceKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> ApplicationKey {
        ApplicationKey {
            namespace: "trimtab".into(),
            name: name.into(),
        }
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn an_object_moves_from_one_to_the_other() {
        let claims = Claims::default();
        let (a, b, moving) = (app("a"), app("b"), key("moving"));
        claims.set(&a, Some([&moving].into_iter()));
        assert_eq!(claims.claimant(&a, &moving), None);
        assert_eq!(claims.desires(&a, &moving), Some(true));
        assert_eq!(claims.desires(&b, &moving), None);
        // Both hear of the commit; until b has looked at it a must not delete.
        claims.expect(&a);
        claims.expect(&b);
        assert!(claims.others_expected(&a));
        claims.set(&b, Some([&moving].into_iter()));
        assert!(!claims.others_expected(&a));
        assert_eq!(claims.claimant(&a, &moving), Some(b.clone()));
        // b waits for it, and is told when a lets go.
        let wanted = [(moving.clone(), a.clone())];
        assert_eq!(claims.contest(&b, &wanted), vec![a.clone()]);
        assert_eq!(claims.contest(&b, &wanted), vec![]);
        assert_eq!(claims.contested(&a), vec![(moving.clone(), b.clone())]);
        assert_eq!(claims.set(&a, Some([].into_iter())), vec![b.clone()]);
        assert_eq!(claims.desires(&a, &moving), Some(false));
        assert_eq!(claims.contest(&b, &[]), vec![a.clone()]);
        assert_eq!(claims.contested(&a), vec![]);
        claims.remove(&b);
        assert_eq!(claims.claimant(&a, &moving), None);
    }
}
