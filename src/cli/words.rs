//! States and results of an Application in words and colours. Pure.

use super::Outcome;
use super::table::{Cell, Table};
use super::text::{Tone, one_line};
use crate::crd::{
    Application, Health, HealthCode, InitiatedBy, OperationPhase, ResourceResult, SyncCode,
};
use crate::object::ResourceKey;

/// Where there is no health, not even an unknown one.
pub(super) const NOT_ASSESSED: &str = "not assessed yet";

/// Whether an application is as it should be.
pub(super) fn verdict(application: &Application) -> Outcome {
    let status = &application.status;
    let degraded = status
        .health
        .as_ref()
        .is_some_and(|health| health.status == HealthCode::Degraded);
    match status.sync.status {
        SyncCode::OutOfSync => Outcome::Differs,
        _ if degraded => Outcome::Differs,
        _ => Outcome::Done,
    }
}

/// What an operation did, object by object.
pub(super) fn results(results: &[ResourceResult]) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "RESULT", "MESSAGE"]);
    for result in results {
        let tone = match result.status.as_str() {
            "Synced" | "Pruned" => Tone::Good,
            "SyncFailed" => Tone::Bad,
            _ => Tone::Busy,
        };
        table.push(vec![
            Cell::new(kind_words(&result.kind, &result.group, false)),
            Cell::new(&result.namespace),
            Cell::new(&result.name),
            Cell::toned(&result.status, tone),
            Cell::new(&result.message),
        ]);
    }
    table
}

/// The kind; with its group where that is not a built-in one, or always when `wide`.
pub(super) fn kind_words(kind: &str, group: &str, wide: bool) -> String {
    if wide && !group.is_empty() {
        return format!("{kind}.{group}");
    }
    let key = ResourceKey {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: String::new(),
        name: String::new(),
    };
    key.to_string().trim_end_matches('/').to_owned()
}

/// Who asked for an operation, or that nobody did.
pub(super) fn initiator(by: Option<&InitiatedBy>) -> Option<String> {
    let by = by?;
    match one_line(&by.username).as_str() {
        "" if by.automated => Some("automation".to_owned()),
        "" => None,
        name => Some(name.to_owned()),
    }
}

pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

pub(super) fn sync_tone(code: SyncCode) -> Tone {
    match code {
        SyncCode::Synced => Tone::Good,
        SyncCode::OutOfSync => Tone::Busy,
        SyncCode::Unknown => Tone::Bad,
    }
}

pub(super) fn health_tone(code: HealthCode) -> Tone {
    match code {
        HealthCode::Healthy => Tone::Good,
        HealthCode::Suspended | HealthCode::Progressing | HealthCode::Missing => Tone::Busy,
        HealthCode::Degraded | HealthCode::Unknown => Tone::Bad,
    }
}

pub(super) fn phase_tone(phase: OperationPhase) -> Tone {
    match phase {
        OperationPhase::Succeeded => Tone::Good,
        OperationPhase::Running => Tone::Busy,
        OperationPhase::Failed | OperationPhase::Error => Tone::Bad,
    }
}

pub(super) fn sync_cell(code: SyncCode) -> Cell {
    Cell::toned(code.to_string(), sync_tone(code))
}

pub(super) fn health_cell(code: Option<HealthCode>) -> Cell {
    code.map_or_else(
        || Cell::new(""),
        |code| Cell::toned(code.to_string(), health_tone(code)),
    )
}

/// The state of a health, where there is one.
pub(super) fn health_words(health: Option<&Health>) -> String {
    health.map_or_else(|| NOT_ASSESSED.to_owned(), |it| it.status.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    #[test]
    fn out_of_sync_and_degraded_are_told_from_the_rest() {
        for (sync, health, expected) in [
            ("Synced", "Healthy", Outcome::Done),
            ("Synced", "Progressing", Outcome::Done),
            ("Unknown", "Unknown", Outcome::Done),
            ("OutOfSync", "Healthy", Outcome::Differs),
            ("Synced", "Degraded", Outcome::Differs),
        ] {
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"name": "shop"},
                "status": {"sync": {"status": sync}, "health": {"status": health}},
            });
            let application = read(Object::new(object).unwrap());
            assert_eq!(verdict(&application), expected, "{sync} {health}");
        }
    }
}
