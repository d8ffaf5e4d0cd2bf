//! Whether what is no longer desired may be deleted.

use crate::object::ResourceKey;

/// What the decision is taken from.
#[derive(Clone, Debug)]
pub(crate) struct PruneGuard<'a> {
    /// What would be deleted.
    pub(crate) stale: &'a [ResourceKey],
    /// How many objects are desired.
    pub(crate) desired: usize,
    /// Some of it asks for a person's word itself (`Prune=confirm`).
    pub(crate) unconfirmed: bool,
    /// `allowEmpty`: an empty render may delete everything.
    pub(crate) allow_empty: bool,
    /// A person approved exactly this (see [`PruneGuard::token`]).
    pub(crate) approved: Option<&'a str>,
}

/// More than this share of the inventory, in percent, waits for approval ...
const SHARE: usize = 50;
/// ... when it is more than this many objects.
const FEW: usize = 5;
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
    } else if let Some(key) = guard
        .stale
        .iter()
        .find(|key| PROTECTED.contains(&key.kind.as_str()))
    {
        format!("{key} would be deleted with all that is in it")
    } else if guard.unconfirmed {
        "what would be deleted asks for confirmation (Prune=confirm)".to_owned()
    } else if stale > FEW && stale * 100 > (stale + guard.desired) * SHARE {
        format!(
            "{stale} of {} objects would be deleted",
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
            desired,
            unconfirmed: false,
            allow_empty,
            approved: None,
        })
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
            desired: 9,
            unconfirmed: true,
            allow_empty: true,
            approved: None,
        };
        assert!(check_prune(&guard).unwrap_err().contains("Prune=confirm"));
    }

    #[test]
    fn an_approval_is_for_one_set_only() {
        let stale = keys("Namespace", 1);
        let mut guard = PruneGuard {
            stale: &stale,
            desired: 9,
            unconfirmed: false,
            allow_empty: false,
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
