//! Whether an application is synced now, later or not at all.

use std::time::Duration;

use crate::crd::{ApplicationSpec, Automated, Backoff, SyncOperation};
use crate::object::duration;

/// What the decision is taken from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation<'a> {
    /// Objects whose manifest was never applied in this form.
    pub(crate) changed: usize,
    /// Objects that were applied and differ now, or are gone.
    pub(crate) drifted: usize,
    /// Objects of the inventory that are no longer desired and may be deleted.
    pub(crate) prunable: usize,
    pub(crate) automated: Option<&'a Automated>,
    /// What a person asked for.
    pub(crate) operation: Option<&'a SyncOperation>,
    /// The last attempt failed with the same desired state and policy.
    pub(crate) retry: Option<Retry>,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How long until the next attempt is due; zero when it is.
    pub(crate) due_in: Duration,
}

/// Why a sync happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A person asked.
    Operation,
    /// The desired state is new.
    Change,
    /// Somebody changed what is live.
    Drift,
    /// Only something to delete.
    Prune,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Apply what differs; `prune` deletes what is stale as well.
    Sync {
        reason: Reason,
        prune: bool,
    },
    /// Look again after this time.
    Wait(Duration),
}

/// Decides. An operation goes first and is not held up by back-off; automation applies new
/// desired states always, repairs drift with `selfHeal` and deletes with `prune`. Unlike Argo CD
/// a failed automated sync is tried for as long as something differs.
pub(crate) fn decide(situation: &Situation<'_>) -> Action {
    if let Some(operation) = situation.operation {
        return Action::Sync {
            reason: Reason::Operation,
            prune: operation.prune,
        };
    }
    let Some(automated) = situation.automated else {
        return Action::Nothing;
    };
    let reason = if situation.changed > 0 {
        Reason::Change
    } else if situation.drifted > 0 && automated.self_heal {
        Reason::Drift
    } else if situation.prunable > 0 && automated.prune {
        Reason::Prune
    } else {
        return Action::Nothing;
    };
    match situation.retry {
        Some(retry) if !retry.due_in.is_zero() => Action::Wait(retry.due_in),
        _ => Action::Sync {
            reason,
            prune: automated.prune,
        },
    }
}

/// How long an application waits after the n-th failure in a row (from 1), by its own policy.
pub(crate) fn retry_pause(spec: &ApplicationSpec, failures: u32) -> Duration {
    let policy = spec.sync_policy.as_ref();
    let retry = policy.and_then(|policy| policy.retry.as_ref());
    retry_delay(
        failures,
        retry.and_then(|retry| retry.limit),
        retry.and_then(|retry| retry.backoff.as_ref()),
    )
}

/// How long a sync that a person asked for waits after its n-th failure (from 1), by its own `retry`.
pub(crate) fn retry_pause_of(retry: Option<&crate::crd::Retry>, failures: u32) -> Duration {
    retry_delay(
        failures,
        None,
        retry.and_then(|retry| retry.backoff.as_ref()),
    )
}

/// How long to wait after the n-th failure in a row (from 1): `duration * factor^(n-1)`, capped.
/// Defaults as in Argo CD: 5 s, 2, 3 min.
fn retry_delay(failures: u32, limit: Option<i64>, backoff: Option<&Backoff>) -> Duration {
    let read =
        |text: Option<&String>, default| text.and_then(|text| duration(text)).unwrap_or(default);
    let first = read(backoff.map(|b| &b.duration), Duration::from_secs(5));
    let longest = read(backoff.map(|b| &b.max_duration), Duration::from_secs(180));
    let factor = backoff.and_then(|b| b.factor).unwrap_or(2).clamp(1, 100);
    if limit.is_some_and(|limit| limit >= 0 && i64::from(failures) > limit) {
        return longest;
    }
    let mut delay = first;
    for _ in 1..failures.min(64) {
        delay = delay
            .saturating_mul(u32::try_from(factor).unwrap_or(1))
            .min(longest);
    }
    delay.min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTOMATED: Automated = Automated {
        enabled: None,
        prune: false,
        self_heal: false,
        allow_empty: false,
    };

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn decisions() {
        let healing = Automated {
            self_heal: true,
            ..AUTOMATED
        };
        let pruning = Automated {
            prune: true,
            ..AUTOMATED
        };
        let later = Some(Retry {
            due_in: Duration::from_secs(3),
        });
        let now = Some(Retry {
            due_in: Duration::ZERO,
        });
        let asked = SyncOperation {
            prune: true,
            ..SyncOperation::default()
        };
        let sync = |reason, prune| Action::Sync { reason, prune };
        let base = Situation::default();
        for (situation, expected) in [
            (
                Situation {
                    changed: 1,
                    ..base.clone()
                },
                Action::Nothing,
            ),
            (
                Situation {
                    automated: Some(&AUTOMATED),
                    ..base.clone()
                },
                Action::Nothing,
            ),
            (
                Situation {
                    changed: 1,
                    automated: Some(&AUTOMATED),
                    ..base.clone()
                },
                sync(Reason::Change, false),
            ),
            (
                Situation {
                    drifted: 1,
                    automated: Some(&AUTOMATED),
                    ..base.clone()
                },
                Action::Nothing,
            ),
            (
                Situation {
                    drifted: 1,
                    automated: Some(&healing),
                    ..base.clone()
                },
                sync(Reason::Drift, false),
            ),
            (
                Situation {
                    prunable: 1,
                    automated: Some(&AUTOMATED),
                    ..base.clone()
                },
                Action::Nothing,
            ),
            (
                Situation {
                    prunable: 1,
                    automated: Some(&pruning),
                    ..base.clone()
                },
                sync(Reason::Prune, true),
            ),
            (
                Situation {
                    changed: 1,
                    automated: Some(&AUTOMATED),
                    retry: later,
                    ..base.clone()
                },
                Action::Wait(Duration::from_secs(3)),
            ),
            (
                Situation {
                    changed: 1,
                    automated: Some(&AUTOMATED),
                    retry: now,
                    ..base.clone()
                },
                sync(Reason::Change, false),
            ),
            (
                Situation {
                    operation: Some(&asked),
                    retry: later,
                    ..base.clone()
                },
                sync(Reason::Operation, true),
            ),
        ] {
            assert_eq!(decide(&situation), expected, "{situation:?}");
        }
    }

    #[test]
    fn delays_grow_to_a_cap() {
        let delays: Vec<_> = (1..=8)
            .map(|n| retry_delay(n, None, None).as_secs())
            .collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 180, 180]);
        let backoff = Backoff {
            duration: "1s".into(),
            factor: Some(3),
            max_duration: "20s".into(),
        };
        let delays: Vec<_> = (1..=5)
            .map(|n| retry_delay(n, Some(3), Some(&backoff)).as_secs())
            .collect();
        assert_eq!(delays, [1, 3, 9, 20, 20]);
        assert_eq!(retry_delay(u32::MAX, None, None).as_secs(), 180);
    }
}
