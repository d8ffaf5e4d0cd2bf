//! `trimtab explain`.

use anyhow::Result;

use super::output::{complain, print};
use super::text::{lines, one_line, short_revision};
use super::words::{health_words, verdict};
use super::{Outcome, target};
use crate::api::explain;
use crate::crd::{Application, OperationPhase, SyncCode, read};

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

/// The whole explanation, for a terminal.
fn explained(application: &Application) -> String {
    let status = &application.status;
    let explanation = explain(application);
    let mut text = format!(
        "{} is {} at {}, {}.\n",
        one_line(&application.key.name),
        status.sync.status,
        short_revision(&status.sync.revision),
        health_words(status.health.as_ref())
    );
    if let Some(state) = &status.operation_state
        && state.phase == OperationPhase::Running
    {
        text.push_str(&format!("A sync runs: {}.\n", one_line(&state.message)));
    }
    for reason in &explanation.reasons {
        text.push_str(&format!("- {}\n", lines(&reason.text).join("\n    ")));
        if !reason.advice.is_empty() {
            text.push_str(&format!("    {}\n", reason.advice));
        }
    }
    for line in &explanation.closing {
        text.push_str(&one_line(line));
        text.push('\n');
    }
    text
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
