//! Folds what is known of an application into its status: the only place where a status is made.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::controller::{
    decide::{conditions::conditions, view::View},
    state::room::{ROW, short_condition, shorten},
};

use crate::crd::{
    ApplicationStatus, Ended, Health, HealthCode, Inventory, LeftOut, ResourceStatus, SourceStatus,
    StoredField, SyncCode, SyncStatus,
};
use crate::diff::Verdict;
use crate::health;
use crate::object::ResourceKey;
use crate::sync::{Comparison, Desired, Live};

/// The next status. Times of what did not change stay as they were.
pub(in crate::controller) fn fold(
    previous: &ApplicationStatus,
    view: View<'_>,
    live: impl Fn(&ResourceKey) -> Option<Live>,
    now: &str,
) -> ApplicationStatus {
    let mut next = previous.clone();
    let conditions = conditions(&view);
    next.conditions = conditions
        .into_iter()
        .map(|mut condition| {
            short_condition(&mut condition.message);
            let same = previous
                .conditions
                .iter()
                .find(|old| old.type_ == condition.type_ && old.message == condition.message);
            condition.last_transition_time =
                same.map_or_else(|| now.to_owned(), |old| old.last_transition_time.clone());
            condition
        })
        .collect();
    next.source = view.source_error.map(|_| {
        previous.source.clone().unwrap_or_else(|| SourceStatus {
            stale_since: now.to_owned(),
        })
    });
    next.inventory = view.inventory;
    if let (Some(desired), Some(comparison)) = (view.desired, view.comparison) {
        next.resources = resources(desired, comparison, view.prune_held.is_some(), &live);
        next.health = Some(application_health(
            desired,
            comparison,
            &next.resources,
            &live,
        ));
        next.left_out = LeftOut::default();
        next.resources
            .extend(comparison.namespace.iter().map(lacking_namespace));
        next.sync.revision.clone_from(&desired.commit_id);
        next.source_type = desired.source_type.or(previous.source_type);
        next.summary.clone_from(&desired.summary);
    }
    let health = next.health.get_or_insert_with(unknown_health);
    shorten(&mut health.message, ROW);
    let before = previous.health.as_ref();
    health.since = match before.filter(|before| before.status == health.status) {
        Some(same) if !same.since.is_empty() => same.since.clone(),
        _ => now.to_owned(),
    };
    let is_missing = view.source_error.is_some_and(|fault| fault.is_missing);
    // A rollback that is in force does not follow the source.
    let unfollowed = is_missing && view.pin.is_none();
    let unknown = !view.faults.is_empty() || view.compare_error.is_some() || unfollowed;
    next.sync = SyncStatus {
        status: match view.comparison {
            Some(comparison) if !unknown && comparison.is_synced() => SyncCode::Synced,
            Some(comparison) if comparison.is_unknown() => SyncCode::Unknown,
            Some(_) if !unknown => SyncCode::OutOfSync,
            _ => SyncCode::Unknown,
        },
        revision: next.sync.revision,
    };
    next.operation_state = view.operation.cloned();
    next.hooks = view.hooks.to_vec();
    if let (Some(stored), Some(desired)) = (view.stored, view.desired) {
        next.stored = stored_fields(stored, desired);
    }
    next.pin = view.pin.cloned();
    next.attempts = view.attempts.to_vec();
    if let Some(mut deployed) = view.deployed {
        deployed.id = previous.history.last().map_or(0, |last| last.id + 1);
        next.history.push(deployed);
    }
    let surplus = next.history.len().saturating_sub(view.history_limit);
    next.history.drain(..surplus);
    next.timing = view.timing.cloned();
    next
}

/// Objects of which it is said what is stored otherwise.
const MOST_STORED: usize = 100;

/// What is stored otherwise of what is desired, of so many objects that the status stays small.
fn stored_fields(
    stored: &BTreeMap<ResourceKey, Vec<StoredField>>,
    desired: &Desired,
) -> Vec<StoredField> {
    let all = stored
        .iter()
        .filter(|(key, _)| desired.objects.contains_key(*key));
    let more = all.clone().count().saturating_sub(MOST_STORED);
    let fields = all.take(MOST_STORED).flat_map(|(_, fields)| fields);
    let mut fields: Vec<_> = fields.cloned().collect();
    if more > 0 {
        fields.push(StoredField {
            path: format!("and fields of {more} more objects"),
            ..StoredField::default()
        });
    }
    fields
}

/// A status that is written before anything was compared says that nothing is known, as tools of
/// Argo CD expect these fields from the first one on.
pub(in crate::controller) fn begin_unknown(next: &mut ApplicationStatus, now: &str) {
    next.health.get_or_insert_with(|| Health {
        since: now.to_owned(),
        ..unknown_health()
    });
}

fn unknown_health() -> Health {
    Health::new(HealthCode::Unknown, "")
}

/// The row of the destination namespace, which has one only while it differs.
fn lacking_namespace(key: &ResourceKey) -> ResourceStatus {
    ResourceStatus {
        group: key.group.clone(),
        version: "v1".to_owned(),
        kind: key.kind.clone(),
        namespace: String::new(),
        name: key.name.clone(),
        status: SyncCode::OutOfSync,
        message: "it lacks what the application asks for".to_owned(),
        ..ResourceStatus::default()
    }
}

/// What is said of an object that ran to its end and is gone since.
fn health_of_ended(ended: Ended) -> Health {
    match ended {
        Ended::Complete => Health::new(HealthCode::Healthy, "completed and removed"),
        Ended::Failed => Health::new(
            HealthCode::Degraded,
            "failed and removed; it runs again when it is changed or synced with Replace=true",
        ),
    }
}

/// What is said of an object that is not desired any more.
fn why_it_is_there(key: &ResourceKey, comparison: &Comparison, prune_held: bool) -> String {
    let counts = match comparison.tolerated.contains(key) {
        true => "it does not make the application OutOfSync",
        false => {
            "it makes the application OutOfSync, as in Argo CD, unless it says \
             compare-options: IgnoreExtraneous"
        }
    };
    match comparison.kept.get(key) {
        Some(why) => format!("left the source and stays: {why}; {counts}"),
        None if prune_held => {
            "left the source and waits for approval: the condition PruneHeld says why".to_owned()
        }
        None if comparison.tolerated.contains(key) => {
            format!("left the source and goes with a sync that prunes; {counts}")
        }
        None => String::new(),
    }
}

/// One row an object: what is desired, then what is to be deleted.
fn resources(
    desired: &Desired,
    comparison: &Comparison,
    prune_held: bool,
    live: &impl Fn(&ResourceKey) -> Option<Live>,
) -> Vec<ResourceStatus> {
    let shared = |key: &ResourceKey| comparison.shared.iter().any(|(other, _)| other == key);
    let row = |key: &ResourceKey, version: &str, status, requires_pruning| {
        let found = live(key);
        let health = match &found {
            None if comparison.unseen.contains_key(key) => None,
            None if comparison.left_alone.contains(key) => None,
            None => Some(match comparison.ended.get(key) {
                Some(ended) => health_of_ended(*ended),
                None => Health::new(HealthCode::Missing, ""),
            }),
            Some(found) => found.health.clone(),
        };
        let health = health.map(|mut health: Health| {
            shorten(&mut health.message, ROW);
            health
        });
        ResourceStatus {
            group: key.group.clone(),
            version: version.to_owned(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            status,
            health,
            requires_pruning,
            ..ResourceStatus::default()
        }
    };
    let wanted = desired.objects.iter().map(|(key, object)| {
        let synced = comparison.verdicts.get(key) == Some(&Verdict::Synced) && !shared(key);
        let code = if comparison.unseen.contains_key(key) {
            SyncCode::Unknown
        } else if synced {
            SyncCode::Synced
        } else {
            SyncCode::OutOfSync
        };
        row(key, &object.kind.version, code, false)
    });
    let stale = comparison.stale.iter().map(|key| {
        let mut message = why_it_is_there(key, comparison, prune_held);
        shorten(&mut message, ROW);
        ResourceStatus {
            kept: comparison.kept.contains_key(key),
            extraneous: comparison.tolerated.contains(key),
            message,
            ..row(key, "", SyncCode::OutOfSync, true)
        }
    });
    wanted.chain(stale).collect()
}

fn application_health(
    desired: &Desired,
    comparison: &Comparison,
    resources: &[ResourceStatus],
    live: &impl Fn(&ResourceKey) -> Option<Live>,
) -> Health {
    let left_alone = |row: &ResourceStatus| {
        let object = desired.objects.get(&row.key());
        object.is_some_and(|object| object.options.left_alone)
    };
    let seen = |row: &&ResourceStatus| row.status != SyncCode::Unknown && !left_alone(row);
    let rows = resources.iter().filter(seen);
    let keys: Vec<_> = rows.clone().map(ResourceStatus::key).collect();
    health::worst(keys.iter().zip(rows).map(|(key, row)| {
        // What ran to its end and is gone does as it did then.
        let is_live = live(key).is_some() || comparison.ended.contains_key(key);
        health::Managed {
            key,
            live: is_live,
            health: row.health.as_ref().filter(|_| is_live),
            ignored: desired
                .objects
                .get(key)
                .is_some_and(|object| object.ignores_health),
        }
    }))
}

/// The JSON merge patch from one status to another, or none when they are equal. Only whole
/// fields of the status are written, and a field that is gone is written as null. An error where the
/// inventory is too large to be written.
pub(in crate::controller) fn patch(
    previous: &ApplicationStatus,
    next: &ApplicationStatus,
) -> Result<Option<Value>, serde_json::Error> {
    // To write a large inventory takes long.
    let to_map = |status: &ApplicationStatus| {
        let status = ApplicationStatus {
            inventory: Inventory::default(),
            ..status.clone()
        };
        serde_json::to_value(status).map(|value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        })
    };
    let (before, after) = (to_map(previous)?, to_map(next)?);
    let mut patch = Map::new();
    if previous.inventory != next.inventory {
        let inventory = serde_json::to_value(&next.inventory)?;
        patch.insert("inventory".to_owned(), inventory);
    }
    // Nothing was ever written: also that it is not known is news.
    let first = previous.health.is_none() && next.health.is_some();
    for (field, value) in &after {
        if before.get(field) != Some(value) || (first && field == "sync") {
            let mut value = value.clone();
            null_missing(before.get(field), &mut value);
            patch.insert(field.clone(), value);
        }
    }
    for field in before.keys().filter(|field| !after.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

/// A merge patch merges mappings: what is to vanish from one must be named.
fn null_missing(before: Option<&Value>, after: &mut Value) {
    if let (Some(Value::Object(before)), Value::Object(after)) = (before, after) {
        for (field, value) in before {
            match after.get_mut(field) {
                Some(below) => null_missing(Some(value), below),
                None => {
                    after.insert(field.clone(), Value::Null);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::{Consent, Deployment};
    use crate::trigger::SourceFault;

    #[test]
    fn an_unchanged_status_is_not_written() {
        let view = || View {
            fault: None,
            faults: &[],
            ..View::default()
        };
        let first = fold(&ApplicationStatus::default(), view(), |_| None, "1");
        let second = fold(&first, view(), |_| None, "2");
        assert_eq!(patch(&first, &second).unwrap(), None);
    }

    #[test]
    fn the_first_status_says_that_nothing_is_known() {
        let none = ApplicationStatus::default();
        let first = fold(&none, View::default(), |_| None, "1");
        let expected = json!({
            "sync": {"status": "Unknown"},
            "health": {"status": "Unknown", "lastTransitionTime": "1"},
        });
        assert_eq!(patch(&none, &first).unwrap().unwrap(), expected);
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let fault = ["spec is missing".to_owned()];
        let view = || View {
            fault: None,
            faults: &fault,
            ..View::default()
        };
        let first = fold(&ApplicationStatus::default(), view(), |_| None, "1");
        let second = fold(&first, view(), |_| None, "2");
        assert_eq!(second.conditions[0].last_transition_time, "1");
        assert_eq!(second.sync.status, SyncCode::Unknown);
        let third = fold(&second, View::default(), |_| None, "3");
        assert_eq!(
            patch(&second, &third).unwrap().unwrap(),
            json!({"conditions": null})
        );
    }

    #[test]
    fn a_source_that_is_well_again_is_no_longer_stale() {
        let fault = SourceFault {
            message: "no route".to_owned(),
            is_missing: false,
        };
        let broken = || View {
            source_error: Some(&fault),
            ..View::default()
        };
        let first = fold(&ApplicationStatus::default(), broken(), |_| None, "1");
        let second = fold(&first, broken(), |_| None, "2");
        assert_eq!(second.source.as_ref().unwrap().stale_since, "1");
        assert_eq!(fold(&second, View::default(), |_| None, "3").source, None);
    }

    #[test]
    fn what_cannot_be_found_is_not_known_to_be_right() {
        for (is_missing, expected) in [(false, SyncCode::Synced), (true, SyncCode::Unknown)] {
            let fault = SourceFault {
                message: "no".to_owned(),
                is_missing,
            };
            let (desired, comparison) = (Desired::default(), Comparison::default());
            let view = View {
                source_error: Some(&fault),
                desired: Some(&desired),
                comparison: Some(&comparison),
                ..View::default()
            };
            let next = fold(&ApplicationStatus::default(), view, |_| None, "1");
            assert_eq!(next.sync.status, expected);
        }
    }

    #[test]
    fn what_left_the_source_says_why_it_is_there() {
        let key = ResourceKey::parse("/ConfigMap:shop/a").unwrap();
        let told = |kept: bool, extraneous: bool, held: Option<&str>| {
            let mut comparison = Comparison::default();
            let said = kept.then_some(Consent::No);
            comparison.add_stale(key.clone(), said, Consent::Yes, extraneous);
            let desired = Desired::default();
            let view = View {
                desired: Some(&desired),
                comparison: Some(&comparison),
                prune_held: held,
                ..View::default()
            };
            let next = fold(&ApplicationStatus::default(), view, |_| None, "1");
            let row = next.resources[0].clone();
            assert_eq!(row.status, SyncCode::OutOfSync);
            assert_eq!(next.differing() == 0, next.sync.status == SyncCode::Synced);
            (next.sync.status, row.goes(), row.message)
        };
        for (kept, extraneous, held, expected) in [
            (true, true, None, (SyncCode::Synced, false, "does not make")),
            (true, false, None, (SyncCode::OutOfSync, false, "it makes")),
            (false, true, None, (SyncCode::Synced, true, "does not make")),
            (
                false,
                false,
                Some("much"),
                (SyncCode::OutOfSync, true, "waits for approval"),
            ),
            (
                true,
                false,
                Some("much"),
                (SyncCode::OutOfSync, false, "stays: it asks"),
            ),
            (false, false, None, (SyncCode::OutOfSync, true, "")),
        ] {
            let (code, goes, message) = told(kept, extraneous, held);
            assert_eq!((code, goes), (expected.0, expected.1), "{message}");
            assert!(message.contains(expected.2), "{message}");
            assert_eq!(message.is_empty(), expected.2.is_empty());
        }
    }

    #[test]
    fn history_is_numbered_and_cut() {
        let deployment = || Deployment {
            id: 0,
            revision: "abc".into(),
            deploy_started_at: "1".into(),
            deployed_at: "1".into(),
            initiated_by: None,
            source: None,
            bundle: String::new(),
        };
        let mut status = ApplicationStatus::default();
        for _ in 0..5 {
            let view = View {
                deployed: Some(deployment()),
                history_limit: 3,
                ..View::default()
            };
            status = fold(&status, view, |_| None, "1");
        }
        let ids: Vec<_> = status.history.iter().map(|deployed| deployed.id).collect();
        assert_eq!(ids, [2, 3, 4]);
    }

    #[test]
    fn what_vanishes_below_a_field_is_named() {
        let before = ApplicationStatus {
            health: Some(Health::new(HealthCode::Degraded, "it crashes")),
            ..ApplicationStatus::default()
        };
        let mut after = before.clone();
        after.health = Some(Health::healthy());
        let expected = json!({"health": {"status": "Healthy", "message": null}});
        assert_eq!(patch(&before, &after).unwrap().unwrap(), expected);
    }
}
