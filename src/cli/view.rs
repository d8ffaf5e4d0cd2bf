//! What people see of an Application. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::table::{Cell, Style, Table};
use super::text::{Tone, age, lines, one_line, short_revision};
use super::words::{
    NOT_ASSESSED, health_cell, health_tone, initiator, kind_words, or, phase_tone, sync_cell,
    sync_tone,
};
use crate::crd::{Application, OperationPhase, OperationState};
use crate::object::redact_url;

/// The list of applications. Namespaces are shown where there can be several.
pub(super) fn list_table(namespaces: bool, wide: bool) -> Table {
    let mut headers = Vec::new();
    if namespaces {
        headers.push("NAMESPACE");
    }
    headers.extend(["NAME", "SYNC", "HEALTH", "REVISION"]);
    if wide {
        headers.extend([
            "PROJECT",
            "REPOSITORY",
            "PATH",
            "TARGET",
            "DESTINATION",
            "DEPLOYED",
        ]);
    }
    headers.push("MESSAGE");
    Table::new(&headers)
}

/// One row of [`list_table`].
pub(super) fn list_row(
    application: &Application,
    now: Timestamp,
    namespaces: bool,
    wide: bool,
) -> Vec<Cell> {
    let (spec, status) = (&application.spec, &application.status);
    let mut row = Vec::new();
    if namespaces {
        row.push(Cell::new(&application.key.namespace));
    }
    row.extend([
        Cell::new(&application.key.name),
        sync_cell(status.sync.status),
        health_cell(status.health.as_ref().map(|health| health.status)),
        Cell::new(short_revision(&status.sync.revision)),
    ]);
    if wide {
        let source = spec.source.clone().unwrap_or_default();
        let deployed = status.history.iter().max_by_key(|it| it.id);
        row.extend([
            Cell::new(or(&spec.project, "default")),
            Cell::new(redact_url(&source.repo_url)),
            Cell::new(or(&source.path, ".")),
            Cell::new(or(&source.target_revision, "HEAD")),
            Cell::new(&spec.destination.namespace),
            Cell::new(deployed.map_or_else(String::new, |it| age(now, &it.deployed_at))),
        ]);
    }
    row.push(Cell::new(trouble(application)));
    row
}

/// The first thing that a person should know; empty when all is well.
fn trouble(application: &Application) -> String {
    let status = &application.status;
    if let Some(condition) = status.conditions.first() {
        return format!("{}: {}", condition.type_, condition.message);
    }
    if let Some(fault) = application.faults.first() {
        return fault.clone();
    }
    let operation = status.operation_state.as_ref();
    if let Some(state) = operation.filter(|state| state.phase != OperationPhase::Succeeded) {
        return state.message.clone();
    }
    let health = status.health.as_ref();
    health.map_or_else(String::new, |health| health.message.clone())
}

/// One application with all of its objects.
pub(super) fn overview(
    application: &Application,
    now: Timestamp,
    wide: bool,
    style: Style,
) -> String {
    let (spec, status) = (&application.spec, &application.status);
    let paint = |cell: &str, tone: Tone| match style.colour {
        true => tone.paint(cell),
        false => cell.to_owned(),
    };
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{:<13}{value}\n", format!("{name}:")));
        }
    };
    field("Name", &one_line(&application.key.name));
    field("Namespace", &one_line(&application.key.namespace));
    field("Project", &one_line(or(&spec.project, "default")));
    if let Some(source) = &spec.source {
        field("Repository", &one_line(&redact_url(&source.repo_url)));
        field("Path", &one_line(or(&source.path, ".")));
        field("Target", &one_line(or(&source.target_revision, "HEAD")));
    }
    field("Destination", &destination(application));
    let sync = status.sync.status;
    let revision = match status.sync.revision.as_str() {
        "" => String::new(),
        revision => format!(" with {}", short_revision(revision)),
    };
    let sync = paint(&sync.to_string(), sync_tone(sync)) + &revision;
    field("Sync", &sync);
    match &status.health {
        Some(health) => {
            let shown = paint(&health.status.to_string(), health_tone(health.status));
            field("Health", &with_message(&shown, &health.message));
        }
        None => field("Health", NOT_ASSESSED),
    }
    if let Some(source) = &status.source
        && !source.stale_since.is_empty()
    {
        let since = age(now, &source.stale_since);
        field("Source", &format!("could not be read for {since}"));
    }
    if let Some(state) = &status.operation_state {
        let shown = paint(&state.phase.to_string(), phase_tone(state.phase));
        let what = format!("{shown} {}", operation_words(state, now));
        field("Operation", &with_message(&what, &state.message));
    }
    if let Some(operation) = application
        .object
        .get("/operation")
        .filter(|it| !it.is_null())
    {
        field("Requested", &request_words(operation));
    }
    if application.object.is_terminating() {
        field("Deletion", "requested");
    }
    text.push_str(&conditions(application, now));
    let resources = resources(application, wide);
    if !resources.is_empty() {
        text.push('\n');
        text.push_str(&resources.render(style));
        text.push_str(&unlisted(application));
    }
    text
}

/// How many objects are not in the table of a large application.
pub(super) fn unlisted(application: &Application) -> String {
    let status = &application.status;
    match (status.unlisted(), status.left_out.differing) {
        (0, _) => String::new(),
        (more, 0) => {
            format!("and {more} more, all Synced: the status has no room for their rows\n")
        }
        (more, differing) => format!(
            "and {more} more, of which {differing} are not Synced: the status has no room for their \
             rows\n"
        ),
    }
}

fn destination(application: &Application) -> String {
    let namespace = &application.spec.destination.namespace;
    match namespace.as_str() {
        "" => "this cluster".to_owned(),
        namespace => format!("this cluster, namespace {}", one_line(namespace)),
    }
}

/// `Degraded: why`, in one line.
fn with_message(shown: &str, message: &str) -> String {
    match one_line(message).as_str() {
        "" => shown.to_owned(),
        message => format!("{shown}: {message}"),
    }
}

/// Every condition in full: this is where the reason is that somebody looks for.
fn conditions(application: &Application, now: Timestamp) -> String {
    let mut text = String::new();
    let conditions = &application.status.conditions;
    let faults = application.faults.iter().map(|fault| ("Fault", fault, ""));
    let all = conditions
        .iter()
        .map(|it| {
            (
                it.type_.as_str(),
                &it.message,
                it.last_transition_time.as_str(),
            )
        })
        // The agent reports faults as conditions: they are news only until it has looked.
        .chain(faults.filter(|_| conditions.is_empty()));
    for (type_, message, since) in all {
        if text.is_empty() {
            text.push_str("Conditions:\n");
        }
        text.push_str(&format!("  {}", one_line(type_)));
        if !since.is_empty() {
            text.push_str(&format!(" ({})", age(now, since)));
        }
        let mut lines = lines(message).into_iter();
        text.push_str(&format!(": {}\n", lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

fn resources(application: &Application, wide: bool) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "SYNC", "HEALTH", "MESSAGE"]);
    for resource in &application.status.resources {
        let health = resource.health.as_ref();
        let message = match health {
            _ if !resource.message.is_empty() => &resource.message,
            _ if resource.requires_pruning => "no longer desired, goes with a sync that prunes",
            Some(health) => &health.message,
            None => "",
        };
        table.push(vec![
            Cell::new(kind_words(&resource.kind, &resource.group, wide)),
            Cell::new(&resource.namespace),
            Cell::new(&resource.name),
            sync_cell(resource.status),
            health_cell(health.map(|health| health.status)),
            Cell::new(message),
        ]);
    }
    table
}

/// `3m ago by alice`.
fn operation_words(state: &OperationState, now: Timestamp) -> String {
    let time = state.finished_at.as_ref().unwrap_or(&state.started_at);
    let mut words = match state.phase {
        OperationPhase::Running => format!("for {}", age(now, &state.started_at)),
        _ => format!("{} ago", age(now, time)),
    };
    if let Some(by) = initiator(state.operation.initiated_by.as_ref()) {
        words.push_str(&format!(" by {by}"));
    }
    if state.retry_count > 0 {
        words.push_str(&format!(", retry {}", state.retry_count));
    }
    words
}

/// A request that waits, as it is written: it may be one that does not parse.
fn request_words(operation: &Value) -> String {
    let by = operation["initiatedBy"]["username"].as_str();
    let by = one_line(by.unwrap_or("somebody"));
    format!("an operation by {by}, not taken up yet")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    fn now() -> Timestamp {
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    fn shop(status: &Value) -> Application {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"},
            "spec": {
                "project": "default", "destination": {"namespace": "shop"},
                "source": {"repoURL": "https://me:hunter2@example.com/shop.git", "path": "deploy"},
            },
            "status": status,
        });
        read(Object::new(object).unwrap())
    }

    fn busy() -> Value {
        json!({
            "sync": {"status": "OutOfSync", "revision": "0123456789abcdef0123456789abcdef01234567"},
            "health": {"status": "Degraded", "message": "Deployment/shop/web: \x1b[2Jno progress"},
            "operationState": {
                "phase": "Failed", "message": "1 of 2 objects failed", "retryCount": 2,
                "startedAt": "2026-03-10T11:54:00Z", "finishedAt": "2026-03-10T11:55:00Z",
                "operation": {"initiatedBy": {"username": "alice"}},
            },
            "conditions": [{
                "type": "SyncError", "message": "first\nsecond",
                "lastTransitionTime": "2026-03-10T09:00:00Z",
            }],
            "resources": [
                {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop",
                 "name": "web", "status": "OutOfSync", "health": {"status": "Degraded", "message": "no progress"}},
                {"group": "example.com", "version": "v1", "kind": "Widget", "namespace": "shop",
                 "name": "w", "status": "OutOfSync", "requiresPruning": true},
            ],
            "history": [{"id": 4, "revision": "0123", "deployStartedAt": "2026-03-10T10:00:00Z",
                         "deployedAt": "2026-03-10T10:00:01Z"}],
        })
    }

    #[test]
    fn an_overview_says_what_is_wrong_and_hides_what_is_secret() {
        let expected = "\
Name:        shop
Namespace:   trimtab
Project:     default
Repository:  https://example.com/shop.git
Path:        deploy
Target:      HEAD
Destination: this cluster, namespace shop
Sync:        OutOfSync with 0123456789ab
Health:      Degraded: Deployment/shop/web: ?[2Jno progress
Operation:   Failed 5m ago by alice, retry 2: 1 of 2 objects failed
Conditions:
  SyncError (3h): first
    second

KIND                 NAMESPACE   NAME   SYNC        HEALTH     MESSAGE
Deployment           shop        web    OutOfSync   Degraded   no progress
Widget.example.com   shop        w      OutOfSync              no longer desired, goes with a sync that prunes
";
        let shown = overview(&shop(&busy()), now(), false, Style::default());
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_application_nobody_has_looked_at_says_so() {
        let shown = overview(&shop(&json!(null)), now(), false, Style::default());
        assert!(shown.contains("Sync:        Unknown\nHealth:      not assessed yet\n"));
    }

    #[test]
    fn a_list_names_the_first_trouble() {
        let row = |status, namespaces, wide| {
            let mut table = list_table(namespaces, wide);
            table.push(list_row(&shop(&status), now(), namespaces, wide));
            table.render(Style::default())
        };
        assert_eq!(
            row(busy(), true, false),
            "\
NAMESPACE   NAME   SYNC        HEALTH     REVISION       MESSAGE
trimtab     shop   OutOfSync   Degraded   0123456789ab   SyncError: first second
"
        );
        let well = json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy"}});
        assert_eq!(
            row(well, false, false),
            "NAME   SYNC     HEALTH    REVISION   MESSAGE\nshop   Synced   Healthy\n"
        );
        let wide = row(busy(), false, true);
        assert!(
            wide.contains("https://example.com/shop.git   deploy   HEAD     shop          119m")
        );
        assert!(!wide.contains("hunter2"));
    }
}
