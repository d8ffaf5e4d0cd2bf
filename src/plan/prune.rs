//! Whether what is no longer desired may be deleted.

use crate::crd::Guard;
use crate::object::ResourceKey;

/// What the decision is taken from.
#[derive(Clone, Debug)]
pub(crate) struct PruneGuard<'a> {
    /// What would be deleted.
    pub(crate) stale: &'a [ResourceKey],
    /// How many of them were counted before, when a sync that was to delete them was allowed: what
    /// several syncs that did not come to their end leave does not add up.
    pub(crate) counted: usize,
    /// How many objects are desired.
    pub(crate) desired: usize,
    /// Some of it asks for a person's word itself (`Prune=confirm`).
    pub(crate) unconfirmed: bool,
    /// `allowEmpty`: an empty render may delete everything.
    pub(crate) allow_empty: bool,
    /// The limits of the application, where it has some.
    pub(crate) limits: Option<&'a Guard>,
    /// A person approved exactly this (see [`PruneGuard::token`]).
    pub(crate) approved: Option<&'a str>,
}

/// More than this share of the inventory, in percent, waits for approval ...
const SHARE: i64 = 50;
/// ... when it is more than this many objects.
const FEW: i64 = 5;
/// What takes other things or data with it when it goes.
const PROTECTED: [&str; 3] = [
    "Namespace",
    "CustomResourceDefinition",
    "PersistentVolumeClaim",
];

impl PruneGuard<'_> {
    /// Names the set that would be deleted; approving it approves nothing else.
    pub(crate) fn token(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut ids: Vec<_> = self.stale.iter().map(ResourceKey::id).collect();
        ids.sort();
        hex::encode(&Sha256::digest(ids.join("\n"))[..6])
    }

    /// Whether a kind waits however few of it would go.
    fn protects(&self, key: &ResourceKey) -> bool {
        match self.limits.and_then(|limits| limits.prune_kinds.as_ref()) {
            None => PROTECTED.contains(&key.kind.as_str()),
            Some(kinds) => kinds.iter().any(|kind| match kind.split_once('.') {
                None => *kind == key.kind,
                Some((kind, group)) => kind == key.kind && group == key.group,
            }),
        }
    }

    fn new_ones(&self) -> usize {
        self.stale.len().saturating_sub(self.counted)
    }

    /// Whether too much would go at once.
    fn is_much(&self) -> bool {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let stale = count(self.new_ones());
        let all = count(self.stale.len() + self.desired);
        let given = |limit: fn(&Guard) -> Option<i64>| self.limits.and_then(limit);
        let share = given(|limits| limits.prune_share).unwrap_or(SHARE);
        let few = given(|limits| limits.prune_objects).unwrap_or(FEW);
        stale > few && stale.saturating_mul(100) > all.saturating_mul(share)
    }
}

/// Ok when the stale objects may be deleted, else why they are held and how to approve.
pub(crate) fn check_prune(guard: &PruneGuard<'_>) -> Result<(), String> {
    let stale = guard.stale.len();
    let token = guard.token();
    if stale == 0 || guard.approved == Some(token.as_str()) {
        return Ok(());
    }
    let why = if guard.desired == 0 {
        if guard.allow_empty {
            return Ok(());
        }
        format!("the source renders nothing, which would delete all {stale} objects")
    } else if let Some(key) = guard.stale.iter().find(|key| guard.protects(key)) {
        format!("{key} would be deleted with all that is in it")
    } else if guard.unconfirmed {
        "what would be deleted asks for confirmation (Prune=confirm)".to_owned()
    } else if guard.is_much() {
        format!(
            "{} of {} objects would be deleted",
            guard.new_ones(),
            stale + guard.desired
        )
    } else {
        return Ok(());
    };
    Err(format!(
        "{why}; if that is meant, annotate the Application with trimtab.dev/prune-approved={token}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(kind: &str, count: usize) -> Vec<ResourceKey> {
        (0..count)
            .map(|n| ResourceKey {
                group: String::new(),
                kind: kind.into(),
                namespace: "shop".into(),
                name: format!("n{n}"),
            })
            .collect()
    }

    fn check(stale: &[ResourceKey], desired: usize, allow_empty: bool) -> Result<(), String> {
        check_prune(&PruneGuard {
            stale,
            counted: 0,
            desired,
            unconfirmed: false,
            allow_empty,
            limits: None,
            approved: None,
        })
    }

    #[test]
    fn an_application_sets_limits_of_its_own() {
        let limits = |share, objects, kinds: Option<&[&str]>| Guard {
            prune_share: share,
            prune_objects: objects,
            prune_kinds: kinds.map(|kinds| kinds.iter().map(|&kind| kind.to_owned()).collect()),
        };
        let secret_of = |group: &str| {
            let mut key = keys("Secret", 1).remove(0);
            key.group = group.to_owned();
            vec![key]
        };
        for (limits, stale, desired, allowed) in [
            (
                limits(Some(10), None, None),
                keys("ConfigMap", 6),
                50,
                false,
            ),
            (limits(Some(10), None, None), keys("ConfigMap", 5), 5, true),
            (limits(None, Some(0), None), keys("ConfigMap", 1), 1, true),
            (
                limits(Some(0), Some(0), None),
                keys("ConfigMap", 1),
                99,
                false,
            ),
            (
                limits(Some(100), None, None),
                keys("ConfigMap", 99),
                1,
                true,
            ),
            (
                limits(None, None, Some(&["Secret"])),
                secret_of(""),
                9,
                false,
            ),
            (
                limits(None, None, Some(&["Secret"])),
                keys("Namespace", 1),
                9,
                true,
            ),
            (
                limits(None, None, Some(&["Secret.e.com"])),
                secret_of(""),
                9,
                true,
            ),
            (
                limits(None, None, Some(&["Secret.e.com"])),
                secret_of("e.com"),
                9,
                false,
            ),
            (limits(None, None, Some(&[])), keys("Namespace", 1), 9, true),
            // What renders nothing is no question of limits.
            (
                limits(Some(100), Some(1000), Some(&[])),
                keys("ConfigMap", 1),
                0,
                false,
            ),
        ] {
            let guard = PruneGuard {
                stale: &stale,
                counted: 0,
                desired,
                unconfirmed: false,
                allow_empty: false,
                limits: Some(&limits),
                approved: None,
            };
            assert_eq!(
                check_prune(&guard).is_ok(),
                allowed,
                "{limits:?} {stale:?} of {desired}"
            );
        }
    }

    #[test]
    fn a_few_objects_may_go() {
        assert_eq!(check(&keys("ConfigMap", 0), 0, false), Ok(()));
        assert_eq!(check(&keys("ConfigMap", 5), 1, false), Ok(()));
        assert_eq!(check(&keys("ConfigMap", 6), 6, false), Ok(()));
    }

    #[test]
    fn much_at_once_waits() {
        assert!(
            check(&keys("ConfigMap", 7), 6, false)
                .unwrap_err()
                .contains("7 of 13")
        );
    }

    #[test]
    fn what_was_counted_before_does_not_add_up() {
        let stale = keys("ConfigMap", 12);
        let check = |counted| {
            check_prune(&PruneGuard {
                stale: &stale,
                counted,
                desired: 6,
                unconfirmed: false,
                allow_empty: false,
                limits: None,
                approved: None,
            })
        };
        assert!(check(0).unwrap_err().contains("12 of 18"));
        assert!(check(1).unwrap_err().contains("11 of 18"));
        assert_eq!(check(7), Ok(()));
    }

    #[test]
    fn an_empty_render_deletes_nothing_unless_allowed() {
        assert!(
            check(&keys("ConfigMap", 1), 0, false)
                .unwrap_err()
                .contains("renders nothing")
        );
        assert_eq!(check(&keys("ConfigMap", 9), 0, true), Ok(()));
    }

    #[test]
    fn what_holds_other_things_waits() {
        for kind in PROTECTED {
            assert!(check(&keys(kind, 1), 50, false).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_asks_for_a_person_waits_for_one() {
        let stale = keys("ConfigMap", 1);
        let guard = PruneGuard {
            stale: &stale,
            counted: 1,
            desired: 9,
            unconfirmed: true,
            allow_empty: true,
            limits: None,
            approved: None,
        };
        assert!(check_prune(&guard).unwrap_err().contains("Prune=confirm"));
    }

    #[test]
    fn an_approval_is_for_one_set_only() {
        let stale = keys("Namespace", 1);
        let mut guard = PruneGuard {
            stale: &stale,
            counted: 0,
            desired: 9,
            unconfirmed: false,
            allow_empty: false,
            limits: None,
            approved: None,
        };
        let token = guard.token();
        assert!(check_prune(&guard).unwrap_err().contains(&token));
        guard.approved = Some(&token);
        assert_eq!(check_prune(&guard), Ok(()));
        let more = keys("Namespace", 2);
        assert!(
            check_prune(&PruneGuard {
                stale: &more,
                ..guard
            })
            .is_err()
        );
    }
}
