//! Why an application is as it is, what holds it up and what to do, in words. Pure.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::crd::{Application, HealthCode, HookStatus, OperationPhase, ResourceStatus, SyncCode};
use crate::health::LEAVING;
use crate::object::{ResourceKey, duration_text, rfc3339};
use crate::plan::retry_pause;

/// The whole explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Explanation {
    /// State and reason in one line.
    pub(crate) headline: String,
    /// What differs, what is not well, what was refused.
    pub(crate) reasons: Vec<Reason>,
    /// What runs, was ended, or does not happen by itself.
    pub(crate) closing: Vec<String>,
}

/// One thing that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Reason {
    pub(crate) text: String,
    /// What to do about it, where there is something.
    pub(crate) advice: String,
}

/// What each condition leads to, for a person.
fn advice(type_: &str) -> &'static str {
    match type_ {
        "InvalidSpecError" => "correct the Application; nothing is synced until then",
        "SourceError" => "what was deployed last is kept; it is tried again by itself",
        "ComparisonError" => "correct the source; what was deployed last is kept until then",
        "SyncError" => {
            "it is tried again by itself with growing pauses, and at once after a commit"
        }
        "ReadError" => {
            "give the agent, or the account of the application, the right to get it; nothing \
             happens to it until then"
        }
        "HistoryWarning" => "the next deployment tries again; a rollback to this one is refused",
        "PruneRefused" => "permit it in the project, or delete it by hand",
        "PruneHeld" => "`trimtab approve` shows what would go and lets it go",
        "HookPending" => "the next sync runs it, or waits for it where it runs",
        "FightDetected" => {
            "take the field out of the source, or name the manager in ignoreDifferences"
        }
        "SyncOptionWarning" => "take the option out; it says what happens instead",
        "RepeatedKeyWarning" | "RepeatedItemWarning" => {
            "take all but one of them out of the source"
        }
        "SkippedFilesWarning" => "nothing, or name the files in directory.exclude",
        "RepeatedResourceWarning" => "take all but one of them out of the source",
        "Deleting" => "it goes on by itself; what waits for a person says so",
        "SharedResourceWarning" => "take the object out of one of the two sources",
        "RolledBack" => "`trimtab rollback --undo` ends it",
        "Paused" => "`trimtab resume` ends it",
        "InternalError" => "report it with the agent's log; it goes on by itself",
        "LargeStatusWarning" => {
            "nothing: all is synced, the rest is in `trimtab diff` and the pages"
        }
        "WaitingForDependency" | "SyncWindow" => "it begins by itself",
        _ => "",
    }
}

/// What to do about a field that is stored otherwise than it was sent ...
const REWRITTEN: &str = "an admission policy, a webhook or the API server itself decides it: \
    write into the source what is stored, or change what rewrites it; nothing is fought over";
/// ... about one that left the source and the API server keeps ...
const KEPT: &str = "the API server keeps it: the object has to be made anew (Force=true, or \
    delete it), or write the field into the source again";
/// ... and about one that somebody else owns.
const OWNED: &str = "its owner keeps it: remove it by hand, or write it into the source again";

/// Explains what the status says.
pub(crate) fn explain(application: &Application) -> Explanation {
    let status = &application.status;
    let mut reasons = Vec::new();
    let mut say = |text: String, advice: &str| {
        reasons.push(Reason {
            text,
            advice: advice.to_owned(),
        });
    };
    let rows = status.resources.iter();
    for row in rows.clone().filter(|row| row.status == SyncCode::OutOfSync) {
        say(differs(row), "");
    }
    if status.left_out.differing > 0 {
        let more = status.left_out.differing;
        say(
            format!("{more} more differ, which the status has no room for"),
            "",
        );
    }
    for row in rows {
        let Some(health) = &row.health else { continue };
        if matches!(health.status, HealthCode::Healthy | HealthCode::Missing) {
            continue;
        }
        let text = format!("{} is {}", named(row), health.status);
        match health.message.as_str() {
            "" => say(text, ""),
            message => say(format!("{text}: {message}"), ""),
        }
    }
    // Of repeated items a condition says all.
    for field in status.stored.iter().filter(|field| !field.repeated) {
        let key = ResourceKey::parse(&field.id);
        let name = key.map_or_else(
            || "some".to_owned(),
            |key| key.to_string().replacen('/', " ", 1),
        );
        let left = field.sent.is_none() && field.stored.is_some();
        let advice = match (left, field.by.as_str()) {
            (false, _) => REWRITTEN,
            (true, "") => KEPT,
            (true, _) => OWNED,
        };
        say(
            format!(
                "the API server stores something else: {name}: {}",
                field.words()
            ),
            advice,
        );
    }
    for hook in waited_for(application) {
        say(hook, WAITING);
    }
    for condition in &status.conditions {
        let text = format!("{}: {}", condition.type_, condition.message);
        say(text, advice(&condition.type_));
    }
    // The agent reports faults as conditions: they are news only until it has looked.
    for fault in application
        .faults
        .iter()
        .filter(|_| status.conditions.is_empty())
    {
        say(fault.clone(), "");
    }
    Explanation {
        headline: headline(application),
        reasons,
        closing: closing(application),
    }
}

/// What to do about a hook that takes long.
const WAITING: &str = "its logs and Events say what it is at; `trimtab terminate` ends the sync and \
    the hook with it";

/// The hooks that the running sync waits for: which, since when, until when, and why as far as
/// Events say.
fn waited_for(application: &Application) -> Vec<String> {
    let status = &application.status;
    let running = status.operation_state.as_ref();
    let running = running.filter(|state| state.phase == OperationPhase::Running);
    let result = running.and_then(|state| state.sync_result.as_ref());
    let Some(desired) = result.map(|result| &result.desired) else {
        return Vec::new();
    };
    let limit = duration_text(application.spec.wave_timeout());
    let hooks = status.hooks.iter();
    let hooks = hooks.filter(|it| it.status == HookStatus::Running && it.desired == *desired);
    let texts = hooks.filter_map(|hook| {
        let key = ResourceKey::parse(&hook.id)?;
        let since = rfc3339(hook.began()?);
        let text = format!(
            "the {} hook {} runs since {since}, and may take {limit} (syncPolicy.waveTimeout)",
            hook.phase,
            key.to_string().replacen('/', " ", 1),
        );
        Some(match hook.message.as_str() {
            "" => text,
            why => format!("{text}; it does not get on: {why}"),
        })
    });
    texts.collect()
}

/// What is said of an object that is OutOfSync.
fn differs(row: &ResourceStatus) -> String {
    let missing = health_of(row) == Some(HealthCode::Missing);
    let leaving = row.health.as_ref().is_some_and(|it| it.message == LEAVING);
    match (row.requires_pruning, missing) {
        (false, _) if leaving => format!(
            "{} is being deleted; it is made as desired when it is gone",
            named(row)
        ),
        (true, _) if !row.message.is_empty() => {
            format!("{} {}", named(row), row.message)
        }
        (true, _) => format!("{} is there and not desired any more", named(row)),
        (_, true) => format!("{} is desired and not there", named(row)),
        _ if !row.message.is_empty() => format!("{} differs: {}", named(row), row.message),
        _ => format!("{} differs", named(row)),
    }
}

fn health_of(row: &ResourceStatus) -> Option<HealthCode> {
    row.health.as_ref().map(|health| health.status)
}

/// `Deployment shop/web`.
fn named(row: &ResourceStatus) -> String {
    row.key().to_string().replacen('/', " ", 1)
}

/// `Out of sync: 2 of 14 objects differ. Degraded: Deployment shop/web: no progress.`
fn headline(application: &Application) -> String {
    let status = &application.status;
    let all = status.objects();
    let listed = status.resources.iter();
    let listed = listed.filter(|row| row.status == SyncCode::OutOfSync && row.differs());
    let unlisted = usize::try_from(status.left_out.differing).unwrap_or_default();
    let differing = listed.count() + unlisted;
    let sync = match status.sync.status {
        SyncCode::Synced => format!("In sync, {all} objects."),
        SyncCode::OutOfSync if differing == 0 => "Out of sync.".to_owned(),
        SyncCode::OutOfSync => format!("Out of sync: {differing} of {all} objects differ."),
        SyncCode::Unknown if all > 0 => "Not compared.".to_owned(),
        SyncCode::Unknown => "Not compared yet.".to_owned(),
    };
    let health = match &status.health {
        None => "Health not assessed yet.".to_owned(),
        Some(health) if health.message.is_empty() => format!("{}.", health.status),
        Some(health) => format!("{}: {}.", health.status, health.message),
    };
    let running = match &status.operation_state {
        Some(state) if state.phase == OperationPhase::Running => match state.message.as_str() {
            "" => " A sync runs.".to_owned(),
            message => format!(" A sync runs: {message}."),
        },
        _ => String::new(),
    };
    format!("{sync} {health}{running}")
}

/// When a sync that failed is tried again by itself.
fn next_attempt(application: &Application) -> Option<String> {
    let status = &application.status;
    let state = status.operation_state.as_ref()?;
    let failed = matches!(state.phase, OperationPhase::Failed | OperationPhase::Error);
    application.spec.automated().filter(|_| {
        failed && status.sync.status == SyncCode::OutOfSync && state.terminated_by.is_empty()
    })?;
    let ended: Timestamp = state.finished_at.as_ref()?.parse().ok()?;
    let failures = u32::try_from(state.retry_count).ok()?.saturating_add(1);
    let pause = retry_pause(&application.spec, failures);
    let next = ended
        .checked_add(SignedDuration::try_from(pause).ok()?)
        .ok()?;
    Some(format!("The next attempt is at {next:.0}."))
}

/// What runs, was ended, or does not happen by itself.
fn closing(application: &Application) -> Vec<String> {
    let status = &application.status;
    let name = &application.key.name;
    let mut closing = Vec::new();
    if let Some(state) = &status.operation_state
        && state.phase != OperationPhase::Running
        && !state.terminated_by.is_empty()
    {
        let by = &state.terminated_by;
        closing.push(format!(
            "{by} ended the last sync; the next commit, or `trimtab sync {name}`, goes on."
        ));
    }
    closing.extend(next_attempt(application));
    if status.sync.status == SyncCode::OutOfSync {
        match application.spec.automated() {
            None => closing.push(format!(
                "Automation is off: `trimtab sync {name}` applies what differs."
            )),
            Some(automated) if !automated.self_heal => closing.push(
                "Self-heal is off: what was changed in the cluster stays until a commit or sync."
                    .to_owned(),
            ),
            Some(automated) if !automated.prune => closing.push(format!(
                "Prune is off: `trimtab sync {name} --prune` deletes what is not desired."
            )),
            Some(_) => {}
        }
    }
    closing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    /// Every type of condition there is.
    const TYPES: [&str; 23] = [
        "InternalError",
        "LargeStatusWarning",
        "InvalidSpecError",
        "SourceError",
        "ComparisonError",
        "RolledBack",
        "ReadError",
        "SyncError",
        "PruneHeld",
        "HookPending",
        "PruneRefused",
        "HistoryWarning",
        "FightDetected",
        "SharedResourceWarning",
        "SyncOptionWarning",
        "RepeatedResourceWarning",
        "RepeatedKeyWarning",
        "RepeatedItemWarning",
        "SkippedFilesWarning",
        "Paused",
        "WaitingForDependency",
        "SyncWindow",
        "Deleting",
    ];

    #[test]
    fn every_condition_has_advice_and_is_documented() {
        let page = include_str!("../../docs/applications.md");
        let makes = include_str!("../controller/decide/conditions.rs");
        let made = makes.matches("(\"").count();
        assert!(made >= 10, "{made}");
        for type_ in TYPES {
            assert!(!advice(type_).is_empty(), "{type_}");
            assert!(
                page.contains(&format!("`{type_}`")),
                "{type_} is in no page"
            );
        }
        for line in makes
            .lines()
            .filter_map(|line| line.trim().strip_prefix("(\""))
        {
            let type_ = line.split('"').next().unwrap();
            assert!(TYPES.contains(&type_), "{type_} is not in the table");
        }
    }

    #[test]
    fn a_hook_that_is_waited_for_is_named_with_since_when_and_why() {
        let explained = |phase: &str, status: &str, message: &str| {
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"namespace": "trimtab", "name": "shop"},
                "spec": {"syncPolicy": {"waveTimeout": "90s"}},
                "status": {
                    "hooks": [{
                        "id": "batch/Job:shop/migrate", "phase": "PreSync", "desired": "d",
                        "status": status, "run": "d.1773144000000", "uid": "u", "message": message,
                    }],
                    "operationState": {
                        "phase": phase, "startedAt": "2026-03-10T12:00:00Z",
                        "syncResult": {"revision": "abc", "desired": "d"},
                    },
                },
            });
            let reasons = explain(&read(Object::new(object).unwrap())).reasons;
            let texts = reasons.into_iter().map(|it| it.text);
            texts.filter(|it| it.contains("hook")).collect::<Vec<_>>()
        };
        let runs = "the PreSync hook Job shop/migrate runs since 2026-03-10T12:00:00Z, and may take \
                    1m30s (syncPolicy.waveTimeout)";
        let why = format!("{runs}; it does not get on: FailedCreate: no account");
        assert_eq!(explained("Running", "Running", ""), [runs]);
        let message = "FailedCreate: no account";
        assert_eq!(explained("Running", "Running", message), [why]);
        assert!(explained("Running", "Succeeded", "").is_empty());
        assert!(explained("Failed", "Running", "").is_empty());
    }

    #[test]
    fn a_failed_sync_says_when_it_is_tried_again() {
        let application = |automated: bool, retries: i64| {
            let policy = if automated {
                json!({"automated": {"selfHeal": true, "prune": true}})
            } else {
                json!({})
            };
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"namespace": "trimtab", "name": "shop"},
                "spec": {"syncPolicy": policy},
                "status": {
                    "sync": {"status": "OutOfSync"},
                    "operationState": {
                        "phase": "Failed", "startedAt": "2026-03-10T12:00:00Z",
                        "finishedAt": "2026-03-10T12:00:00Z", "retryCount": retries,
                    },
                },
            });
            read(Object::new(object).unwrap())
        };
        for (automated, retries, expected) in [
            (true, 0, "The next attempt is at 2026-03-10T12:00:05Z."),
            (true, 2, "The next attempt is at 2026-03-10T12:00:20Z."),
            (
                false,
                0,
                "Automation is off: `trimtab sync shop` applies what differs.",
            ),
        ] {
            let found = explain(&application(automated, retries)).closing;
            assert_eq!(found, [expected]);
        }
    }
}
