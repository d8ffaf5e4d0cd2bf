//! How much of what is known of an application fits into its status: an object has 1.5 MiB in etcd,
//! and one that is larger is not written at all.
//!
//! The inventory is never cut. Rows are, with a count, and what matters least goes first. Of a small
//! application nothing is.

use serde::Serialize;

use crate::crd::{
    ApplicationStatus, Condition, HealthCode, ResourceResult, ResourceStatus, StoredField, SyncCode,
};
use crate::object::json_size;

/// The condition of a status that does not say all.
pub(in crate::controller) const LARGE: &str = "LargeStatusWarning";

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) enum Room {
    #[default]
    Ample,
    /// The API server refused a larger status.
    Scarce,
}

/// Bytes as JSON that parts of the status may have.
struct Budget {
    resources: usize,
    results: usize,
    stored: usize,
    summary: usize,
    /// The sources in the history.
    sources: usize,
}

const AMPLE: Budget = Budget {
    resources: 704 << 10,
    results: 96 << 10,
    stored: 64 << 10,
    summary: 32 << 10,
    sources: 128 << 10,
};
const SCARCE: Budget = Budget {
    resources: 16 << 10,
    results: 8 << 10,
    stored: 4 << 10,
    summary: 2 << 10,
    sources: 0,
};

/// Characters of messages: of a condition, of an operation, and of one row.
const CONDITION: usize = 4096;
const OPERATION: usize = 4096;
pub(in crate::controller) const ROW: usize = 1024;

/// Bytes that the packed inventory may have by this reckoning, of an entry in it, and of its digests,
/// which do not compress.
const INVENTORY: usize = 672 << 10;
const ENTRY: usize = 20;
const DIGESTS: usize = 40;

impl Room {
    fn budget(self) -> &'static Budget {
        match self {
            Self::Ample => &AMPLE,
            Self::Scarce => &SCARCE,
        }
    }

    /// How many objects keep the digests of their last apply in the inventory.
    fn digests(self, entries: usize) -> usize {
        match self {
            Self::Ample => INVENTORY.saturating_sub(entries * ENTRY) / DIGESTS,
            Self::Scarce => 0,
        }
    }
}

/// Leaves out of a status what there is no room for, and says so. To be done with one that was fitted
/// before changes nothing.
pub(in crate::controller) fn fit(
    next: &mut ApplicationStatus,
    previous: &ApplicationStatus,
    room: Room,
    now: &str,
) {
    let budget = room.budget();
    let digests = room.digests(next.inventory.entries.len());
    next.inventory.keep_digests(digests);
    let left = cut(&mut next.resources, budget.resources, matters);
    let differing = left.iter().filter(|row| row.differs());
    next.left_out.differing += number(differing.count());
    next.left_out.resources += number(left.len());
    if let Some(operation) = &mut next.operation_state {
        shorten(&mut operation.message, OPERATION);
        if let Some(result) = &mut operation.sync_result {
            result.left_out += cut_results(&mut result.resources, budget.results);
        }
    }
    for hook in &mut next.hooks {
        shorten(&mut hook.message, ROW);
    }
    cut_stored(&mut next.stored, budget.stored);
    cut_summary(next, budget.summary);
    cut_sources(next, budget.sources);
    say(next, previous, room, now);
}

/// Cuts what an operation did. Returns how many rows are left out.
pub(in crate::controller) fn results(rows: &mut Vec<ResourceResult>) -> i64 {
    cut_results(rows, AMPLE.results)
}

fn cut_results(rows: &mut Vec<ResourceResult>, bytes: usize) -> i64 {
    for row in rows.iter_mut() {
        shorten(&mut row.message, ROW);
    }
    let rank = |row: &ResourceResult| match row.status.as_str() {
        "SyncFailed" => 0,
        _ if row.sync_phase.is_some() => 1,
        "Synced" => 3,
        _ => 2,
    };
    number(cut(rows, bytes, rank).len())
}

/// How much a row matters: 0 most.
fn matters(row: &ResourceStatus) -> u8 {
    let health = row.health.as_ref().map(|health| health.status);
    match (row.status, health) {
        (SyncCode::Synced, None | Some(HealthCode::Healthy)) => 2,
        (SyncCode::Synced, _) => 1,
        _ => 0,
    }
}

/// Keeps as many rows as fit, those of the lowest rank first, and returns the others. All that fit
/// stay in their order.
fn cut<T: Serialize>(rows: &mut Vec<T>, bytes: usize, rank: impl Fn(&T) -> u8) -> Vec<T> {
    // With the comma between two.
    let size = |row: &T| json_size(row) + 1;
    if rows.iter().map(size).sum::<usize>() <= bytes {
        return Vec::new();
    }
    rows.sort_by_key(rank);
    let mut used = 0;
    let fits = rows.iter().take_while(|row| {
        used += size(row);
        used <= bytes
    });
    let fits = fits.count();
    rows.split_off(fits)
}

fn cut_stored(stored: &mut Vec<StoredField>, bytes: usize) {
    let left = cut(stored, bytes, |_| 0).len();
    if left > 0 {
        stored.push(StoredField {
            path: format!("and {left} more rows"),
            ..StoredField::default()
        });
    }
}

fn cut_summary(next: &mut ApplicationStatus, bytes: usize) {
    let summary = &mut next.summary;
    let mut used = 0;
    for texts in [&mut summary.images, &mut summary.external_urls] {
        let before = texts.len();
        texts.retain(|text| {
            used += text.len() + 3;
            used <= bytes
        });
        next.left_out.summary += number(before - texts.len());
    }
}

/// The sources of old deployments are for people; that of the last is compared.
fn cut_sources(next: &mut ApplicationStatus, bytes: usize) {
    let mut used = 0;
    for deployment in next.history.iter_mut().rev().skip(1) {
        used += json_size(&deployment.source);
        if used > bytes {
            deployment.source = None;
        }
    }
}

/// Says what is not said.
fn say(next: &mut ApplicationStatus, previous: &ApplicationStatus, room: Room, now: &str) {
    next.conditions.retain(|condition| condition.type_ != LARGE);
    let rows = |what: &str, listed: usize, left: i64| {
        let all = listed.saturating_add(usize::try_from(left).unwrap_or_default());
        (left > 0).then(|| format!("{what} lists {listed} of {all}"))
    };
    let left = &next.left_out;
    let result = next.operation_state.as_ref();
    let result = result.and_then(|operation| operation.sync_result.as_ref());
    let summary = next.summary.images.len() + next.summary.external_urls.len();
    let said = [
        rows("status.resources", next.resources.len(), left.resources),
        result.and_then(|result| {
            let what = "status.operationState.syncResult.resources";
            rows(what, result.resources.len(), result.left_out)
        }),
        rows("status.summary", summary, left.summary),
        (room == Room::Scarce).then(|| "the API server refused a larger status".to_owned()),
    ];
    let said: Vec<_> = said.into_iter().flatten().collect();
    if said.is_empty() {
        return;
    }
    let message = format!(
        "the status does not hold all: {}; what differs, failed or is not healthy is listed first, \
         and the inventory is complete",
        said.join(", ")
    );
    let mut known = previous.conditions.iter();
    let known = known.find(|it| it.type_ == LARGE && it.message == message);
    next.conditions.push(Condition {
        type_: LARGE.to_owned(),
        message,
        last_transition_time: known.map_or(now, |it| &it.last_transition_time).to_owned(),
    });
}

/// A condition of a length that fits. Its end is kept: it can say how to approve what it holds up.
pub(in crate::controller) fn short_condition(message: &mut String) {
    shorten(message, CONDITION);
}

/// Takes the middle out of a text that is too long.
pub(in crate::controller) fn shorten(text: &mut String, most: usize) {
    if text.len() <= most || text.chars().count() <= most {
        return;
    }
    let chars: Vec<char> = text.chars().collect();
    let end = most / 4;
    let begin = most - end - 1;
    let (begin, end) = (&chars[..begin], &chars[chars.len() - end..]);
    *text = begin.iter().chain(&['…']).chain(end).collect();
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{
        Deployment, Health, Inventory, InventoryEntry, Operation, OperationPhase, OperationState,
        SyncResult,
    };

    fn row(n: usize, status: SyncCode, health: HealthCode) -> ResourceStatus {
        ResourceStatus {
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: format!("settings-{n}"),
            status,
            health: Some(Health::new(health, "")),
            ..ResourceStatus::default()
        }
    }

    fn result(n: usize, status: &str) -> ResourceResult {
        ResourceResult {
            kind: "ConfigMap".into(),
            name: format!("settings-{n}"),
            status: status.into(),
            message: "created".into(),
            ..ResourceResult::default()
        }
    }

    fn entry(n: usize) -> InventoryEntry {
        InventoryEntry {
            id: format!("/ConfigMap:shop/settings-{n}"),
            v: "v1".into(),
            h: "digest".into(),
            w: 0,
            last: false,
            hook: false,
            ended: None,
            counted: false,
        }
    }

    /// A status of so many objects: the last differs, the one before is unwell and was not synced.
    fn status(count: usize) -> ApplicationStatus {
        let mut rows: Vec<_> = (0..count)
            .map(|n| row(n, SyncCode::Synced, HealthCode::Healthy))
            .collect();
        let mut results: Vec<_> = (0..count).map(|n| result(n, "Synced")).collect();
        rows[count - 1] = row(count - 1, SyncCode::OutOfSync, HealthCode::Healthy);
        rows[count - 2] = row(count - 2, SyncCode::Synced, HealthCode::Degraded);
        results[count - 2] = result(count - 2, "SyncFailed");
        let mut status = ApplicationStatus {
            resources: rows,
            inventory: Inventory::new((0..count).map(entry).collect()),
            operation_state: Some(OperationState {
                phase: OperationPhase::Failed,
                message: String::new(),
                started_at: "1".into(),
                finished_at: None,
                operation: Operation::default(),
                sync_result: Some(SyncResult {
                    resources: results,
                    ..SyncResult::default()
                }),
                terminated_by: String::new(),
                retry_count: 0,
            }),
            ..ApplicationStatus::default()
        };
        let images = (0..count).map(|n| format!("registry.example/shop/image:{n}"));
        status.summary.images = images.collect();
        status
    }

    fn fitted(count: usize, room: Room) -> ApplicationStatus {
        let mut fitted = status(count);
        fit(&mut fitted, &ApplicationStatus::default(), room, "1");
        fitted
    }

    #[test]
    fn a_small_status_stays_as_it_is() {
        let small = status(300);
        assert_eq!(fitted(300, Room::Ample), small);
        let text = serde_json::to_string(&small).unwrap();
        assert!(!text.contains("leftOut") && !text.contains("packed"));
    }

    #[test]
    fn a_large_one_lists_what_matters_first_and_counts_the_others() {
        for (count, room) in [
            (7000, Room::Ample),
            (10_000, Room::Ample),
            (1000, Room::Scarce),
            (30_000, Room::Scarce),
        ] {
            let large = fitted(count, room);
            let text = serde_json::to_string(&large).unwrap();
            assert!(text.len() < 1_300_000, "{count}: {}", text.len());
            assert_eq!(large.objects(), count);
            assert_eq!(large.differing(), 1);
            let names: Vec<_> = large.resources.iter().map(|row| &*row.name).collect();
            assert_eq!(names[0], format!("settings-{}", count - 1), "what differs");
            assert_eq!(
                names[1],
                format!("settings-{}", count - 2),
                "then what is unwell"
            );
            assert_eq!(names[2], "settings-0", "then the others in their order");
            let operation = large.operation_state.as_ref().unwrap();
            let result = operation.sync_result.as_ref().unwrap();
            assert_eq!(result.rows(), count);
            assert_eq!(result.resources[0].status, "SyncFailed");
            assert_eq!(large.inventory.entries.len(), count, "it is never cut");
            let condition = large.conditions.last().unwrap();
            let expected = format!("status.resources lists {} of {count}", names.len());
            assert!(
                condition.message.contains(&expected),
                "{}",
                condition.message
            );
            let refused = condition.message.contains("refused");
            assert_eq!(refused, room == Room::Scarce);
        }
    }

    #[test]
    fn it_is_done_once() {
        let once = fitted(10_000, Room::Ample);
        let mut twice = once.clone();
        fit(&mut twice, &once, Room::Ample, "2");
        assert_eq!(twice, once);
        // With less room more is left out, and the counts stay true.
        fit(&mut twice, &once, Room::Scarce, "2");
        assert_eq!((twice.objects(), twice.differing()), (10_000, 1));
        let mut again = twice.clone();
        fit(&mut again, &twice, Room::Scarce, "3");
        assert_eq!(again, twice);
    }

    #[test]
    fn what_differs_is_counted_when_it_is_left_out_too() {
        let mut all = status(10_000);
        for row in &mut all.resources {
            row.status = SyncCode::OutOfSync;
        }
        fit(&mut all, &ApplicationStatus::default(), Room::Ample, "1");
        assert!(all.resources.len() < 7000);
        assert_eq!((all.objects(), all.differing()), (10_000, 10_000));
    }

    #[test]
    fn digests_go_before_the_inventory_does_not_fit() {
        let kept = |count: usize, room| {
            let inventory = fitted(count, room).inventory;
            let kept = inventory.entries.iter().filter(|it| !it.h.is_empty());
            kept.count()
        };
        assert_eq!(kept(10_000, Room::Ample), 10_000);
        assert!(kept(20_000, Room::Ample) < 20_000);
        assert_eq!(kept(40_000, Room::Ample), 0);
        assert_eq!(kept(9_000, Room::Scarce), 0);
    }

    #[test]
    fn the_source_of_the_last_deployment_stays() {
        let deployment = |id| Deployment {
            id,
            revision: "abc".into(),
            deploy_started_at: "1".into(),
            deployed_at: "1".into(),
            initiated_by: None,
            source: serde_json::from_value(serde_json::json!({
                "repoURL": "u", "helm": {"values": "x".repeat(50_000)},
            }))
            .ok(),
            bundle: String::new(),
        };
        for (room, expected) in [(Room::Ample, 3), (Room::Scarce, 1)] {
            let mut status = ApplicationStatus {
                history: (0..5).map(deployment).collect(),
                ..ApplicationStatus::default()
            };
            fit(&mut status, &ApplicationStatus::default(), room, "1");
            let kept = status.history.iter().filter(|it| it.source.is_some());
            assert_eq!(kept.count(), expected);
            assert!(status.history.last().unwrap().source.is_some());
        }
    }

    #[test]
    fn a_long_text_keeps_its_begin_and_its_end() {
        for (text, expected) in [
            ("short", "short"),
            ("12345678", "12345678"),
            ("123456789", "12345…89"),
            ("äöüäöüäöü", "äöüäö…öü"),
        ] {
            let mut found = text.to_owned();
            shorten(&mut found, 8);
            assert_eq!(found, expected);
        }
    }
}
