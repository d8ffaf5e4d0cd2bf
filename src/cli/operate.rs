//! Asking the agent for an operation, and following it to its end: `sync`, `rollback`,
//! `terminate`.

use std::{process, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::follow::{follow, mark, operation_stage, state_of};
use super::output::{DataFormat, Format, complain, print, print_data, style};
use super::target::{Target, patience};
use super::text::{one_line, short_revision};
use super::words::{health_words, results, verdict};
use super::{Interrupted, Outcome};
use crate::cluster::{Error, who_am_i};
use crate::crd::{
    Application, InitiatedBy, Operation, OperationPhase, OperationState, SyncResult, read,
};

/// Who asked, where the API server does not say.
const NOBODY: &str = "trimtab CLI";
/// A name is nice to have and worth no longer wait.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// Flags of every command that asks for an operation.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Waiting {
    /// Wait until it is over and say what changed
    #[arg(short, long)]
    pub(super) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    pub(super) timeout: Duration,
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: DataFormat,
}

/// Requests an operation, which `what` names ("a sync"), and waits for its end where that is asked
/// for or the answer is all there is to it.
pub(super) async fn operate(
    target: &Target,
    name: &str,
    what: &str,
    mut operation: Operation,
    flags: &Waiting,
) -> Result<Outcome> {
    let format = Format::from(flags.output);
    let dry_run = operation.sync.as_ref().is_some_and(|sync| sync.dry_run);
    let mark = mark(&format!(
        "{:x}-{:x}",
        Timestamp::now().as_nanosecond(),
        process::id()
    ));
    operation.initiated_by = Some(InitiatedBy {
        username: requester(target).await,
        automated: false,
    });
    operation.info = vec![mark.clone()];
    let requested = target
        .applications
        .request_operation(&target.key(name), &operation)
        .await;
    let requested = match requested {
        Err(Error::NotFound { .. }) => return Err(target.missing(name).await),
        requested => requested?,
    };
    if !flags.wait && !dry_run {
        match format.is_data() {
            true => print_data(&requested, format)?,
            false => print(&format!(
                "requested {what} of {name}; `trimtab get {name} -w` shows how it goes\n"
            ))?,
        }
        return Ok(Outcome::Done);
    }
    let stage = |seen: &Application, began| operation_stage(seen, &mark, began);
    let object = tokio::select! {
        object = follow(target, name, flags.timeout, stage) => object?,
        _ = tokio::signal::ctrl_c() => {
            complain(&format!(
                "{what} of {name} goes on: `trimtab wait {name}` follows it, \
                 `trimtab terminate {name}` ends it"
            ));
            return Err(Interrupted.into());
        }
    };
    let application = read(object.clone());
    let state = state_of(&application, &mark).context("the operation is gone")?;
    match format.is_data() {
        true => print_data(&object, format)?,
        false => print(&report(&application, state, dry_run))?,
    }
    outcome(&application, state, dry_run)
}

/// How a finished operation ends the command.
fn outcome(application: &Application, state: &OperationState, dry_run: bool) -> Result<Outcome> {
    if state.phase != OperationPhase::Succeeded {
        let what = if dry_run { "dry run" } else { "sync" };
        let name = &application.key.name;
        anyhow::bail!(
            "the {what} of \"{name}\" ended with {}: {}",
            state.phase,
            state.message
        );
    }
    let changes = state.sync_result.as_ref().map_or(0, SyncResult::rows);
    Ok(match dry_run {
        false => verdict(application),
        true if changes > 0 => Outcome::Differs,
        true => Outcome::Done,
    })
}

/// What was done, or would be, and how the application does.
fn report(application: &Application, state: &OperationState, dry_run: bool) -> String {
    let result = state.sync_result.clone().unwrap_or_default();
    let table = results(&result.resources);
    let mut text = String::new();
    if !table.is_empty() {
        text.push_str(&table.render(style()));
        text.push('\n');
    }
    if result.left_out > 0 {
        text.push_str(&format!("and {} more\n", result.left_out));
    }
    let count = match (result.rows(), dry_run) {
        (0, false) => "nothing changed".to_owned(),
        (0, true) => "nothing would change".to_owned(),
        (1, false) => "1 object changed".to_owned(),
        (1, true) => "1 object would change".to_owned(),
        (count, false) => format!("{count} objects changed"),
        (count, true) => format!("{count} objects would change"),
    };
    let name = one_line(&application.key.name);
    text.push_str(&format!("{name}: {count}"));
    if !result.revision.is_empty() {
        text.push_str(&format!(" at {}", short_revision(&result.revision)));
    }
    if state.phase == OperationPhase::Succeeded && !state.message.is_empty() {
        text.push_str(&format!(": {}", one_line(&state.message)));
    }
    text.push('\n');
    if !dry_run {
        let status = &application.status;
        let health = health_words(status.health.as_ref());
        text.push_str(&format!("{name}: {}, {health}\n", status.sync.status));
    }
    text
}

/// The name of whoever asks, for the history.
pub(super) async fn requester(target: &Target) -> String {
    let asked = who_am_i(target.applications.client());
    match tokio::time::timeout(NAME_TIMEOUT, asked).await {
        Ok(Ok(name)) if !name.is_empty() => name,
        _ => NOBODY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Object;

    fn ended(phase: &str, sync: &str, changes: usize) -> Application {
        let change =
            json!({"kind": "ConfigMap", "namespace": "shop", "name": "a", "status": "Synced"});
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop"},
            "status": {
                "sync": {"status": sync}, "health": {"status": "Healthy"},
                "operationState": {
                    "phase": phase, "startedAt": "", "message": "why",
                    "syncResult": {"revision": "0123456789abcdef", "resources": vec![change; changes]},
                },
            },
        });
        read(Object::new(object).unwrap())
    }

    #[test]
    fn the_end_of_a_sync_is_the_end_of_the_command() {
        for (phase, sync, changes, dry_run, expected) in [
            ("Succeeded", "Synced", 1, false, Some(Outcome::Done)),
            ("Succeeded", "OutOfSync", 1, false, Some(Outcome::Differs)),
            ("Succeeded", "OutOfSync", 0, true, Some(Outcome::Done)),
            ("Succeeded", "OutOfSync", 1, true, Some(Outcome::Differs)),
            ("Failed", "OutOfSync", 1, false, None),
            ("Error", "Synced", 0, true, None),
        ] {
            let application = ended(phase, sync, changes);
            let state = application.status.operation_state.clone().unwrap();
            let seen = outcome(&application, &state, dry_run);
            assert_eq!(seen.ok(), expected, "{phase} {sync} {changes} {dry_run}");
        }
    }

    #[test]
    fn a_report_names_what_changed() {
        let application = ended("Succeeded", "Synced", 1);
        let state = application.status.operation_state.clone().unwrap();
        let expected = "\
KIND        NAMESPACE   NAME   RESULT   MESSAGE
ConfigMap   shop        a      Synced

shop: 1 object changed at 0123456789ab: why
shop: Synced, Healthy
";
        assert_eq!(report(&application, &state, false), expected);
        let application = ended("Succeeded", "Synced", 0);
        let state = application.status.operation_state.clone().unwrap();
        let expected = "shop: nothing would change at 0123456789ab: why\n";
        assert_eq!(report(&application, &state, true), expected);
    }
}
