//! `trimtab explain`.

use anyhow::Result;

use super::output::{complain, print};
use super::text::{lines, one_line, short_revision};
use super::words::{health_words, kind_words, verdict};
use super::{Outcome, target};
use crate::crd::{Application, HealthCode, OperationPhase, SyncCode, read};

/// Say why an application is as it is, what holds it up and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 1 when the application is OutOfSync or Degraded.

Examples:
  trimtab explain shop")]
pub(super) struct Args {
    /// The application's name
    application: String,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let application = read(target.find(&args.application).await?);
    if application.status.sync.status == SyncCode::Unknown
        && application.status.conditions.is_empty()
    {
        complain(
            "the agent has not looked at it yet; is it running, and does it keep this namespace?",
        );
    }
    print(&explained(&application))?;
    Ok(verdict(&application))
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
        "PruneHeld" => "`trimtab approve` shows what would go and lets it go",
        "FightDetected" => {
            "take the field out of the source, or name the manager in ignoreDifferences"
        }
        "SharedResourceWarning" => "take the object out of one of the two sources",
        "RolledBack" => "`trimtab rollback --undo` ends it",
        "Paused" => "`trimtab resume` ends it",
        "WaitingForDependency" => "it begins by itself",
        _ => "",
    }
}

/// The whole explanation.
fn explained(application: &Application) -> String {
    let status = &application.status;
    let name = one_line(&application.key.name);
    let mut text = format!(
        "{name} is {} at {}, {}.\n",
        status.sync.status,
        short_revision(&status.sync.revision),
        health_words(status.health.as_ref())
    );
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let object = |row: &crate::crd::ResourceStatus| {
        let kind = kind_words(&row.kind, &row.group, false);
        let namespace = match row.namespace.as_str() {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        one_line(&format!("{kind} {namespace}{}", row.name))
    };
    let rows = status.resources.iter();
    for row in rows.clone().filter(|row| row.status != SyncCode::Synced) {
        let missing = row
            .health
            .as_ref()
            .is_some_and(|health| health.status == HealthCode::Missing);
        say(match (row.requires_pruning, missing) {
            (true, _) => format!("- {} is there and not desired any more", object(row)),
            (_, true) => format!("- {} is desired and not there", object(row)),
            _ => format!("- {} differs", object(row)),
        });
    }
    for row in rows {
        if let Some(health) = &row.health
            && !matches!(health.status, HealthCode::Healthy | HealthCode::Missing)
        {
            let why = match health.message.as_str() {
                "" => String::new(),
                message => format!(": {}", one_line(message)),
            };
            say(format!("- {} is {}{why}", object(row), health.status));
        }
    }
    for condition in &status.conditions {
        let advice = match advice(&condition.type_) {
            "" => String::new(),
            advice => format!("\n    {advice}"),
        };
        let message = lines(&condition.message).join("\n    ");
        say(format!(
            "- {}: {message}{advice}",
            one_line(&condition.type_)
        ));
    }
    for line in closing(application) {
        say(line);
    }
    text
}

/// What runs, was ended, or does not happen by itself.
fn closing(application: &Application) -> Vec<String> {
    let status = &application.status;
    let name = one_line(&application.key.name);
    let mut closing = Vec::new();
    match &status.operation_state {
        Some(state) if state.phase == OperationPhase::Running => {
            closing.push(format!("A sync runs: {}.", one_line(&state.message)));
        }
        Some(state) if !state.terminated_by.is_empty() => closing.push(format!(
            "{} ended the last sync; the next commit, or `trimtab sync {name}`, goes on.",
            one_line(&state.terminated_by)
        )),
        _ => {}
    }
    let automated = application.spec.automated();
    if status.sync.status == SyncCode::OutOfSync {
        match automated {
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
    use crate::object::Object;

    #[test]
    fn it_says_what_differs_and_what_to_do() {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"},
            "spec": {"syncPolicy": {"automated": {}}},
            "status": {
                "sync": {"status": "OutOfSync", "revision": "0123456789abcdef"},
                "health": {"status": "Progressing"},
                "resources": [
                    {"version": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a",
                     "status": "OutOfSync", "health": {"status": "Missing"}},
                    {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop",
                     "name": "web", "status": "Synced",
                     "health": {"status": "Progressing", "message": "1 of 3 ready"}},
                ],
                "conditions": [{"type": "PruneHeld", "message": "7 of 9 objects would be deleted"}],
            },
        });
        let expected = "\
shop is OutOfSync at 0123456789ab, Progressing.
- ConfigMap shop/a is desired and not there
- Deployment shop/web is Progressing: 1 of 3 ready
- PruneHeld: 7 of 9 objects would be deleted
    `trimtab approve` shows what would go and lets it go
Self-heal is off: what was changed in the cluster stays until a commit or sync.
";
        let found = explained(&read(Object::new(object).unwrap()));
        assert_eq!(found, expected);
    }
}
