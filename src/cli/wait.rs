//! `trimtab wait`.

use std::time::Duration;

use anyhow::Result;

use super::chosen::{Chosen, worst};
use super::follow::{Stage, follow};
use super::output::{DataFormat, Format, print, print_data};
use super::target::{self, Target, patience};
use super::words::health_words;
use super::{Outcome, text::short_revision};
use crate::crd::names::REFRESH;
use crate::crd::{Application, HealthCode, OperationPhase, SyncCode, read};

/// Wait until an application is as desired
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Waits for Synced and Healthy and for the end of a sync or refresh that runs or was requested, or only
for what is asked for. Ends with 2 when the time is over.

Examples:
  trimtab wait shop
  trimtab wait shop --health --timeout 10m
  trimtab wait shop --sync --revision 3f2a91c
  trimtab wait -l team=shop")]
pub(super) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Only until it is Synced
    #[arg(long)]
    sync: bool,
    /// Only until it is Healthy
    #[arg(long)]
    health: bool,
    /// Only until no sync is running
    #[arg(long)]
    operation: bool,
    /// And until it is at this commit; the start of its id is enough
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    timeout: Duration,
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let mut outcome = Outcome::Done;
    for name in args.chosen.names(&target).await? {
        outcome = worst(outcome, one(&target, &name, &args).await?);
    }
    Ok(outcome)
}

async fn one(target: &Target, name: &str, args: &Args) -> Result<Outcome> {
    target.find(name).await?;
    let stage = |seen: &Application, _| match lacks(args, seen) {
        None => Stage::Over,
        Some(what) => Stage::Running(what),
    };
    let object = follow(target, name, args.timeout, stage).await?;
    let application = read(object.clone());
    let format = Format::from(args.output);
    let status = &application.status;
    let health = health_words(status.health.as_ref());
    match format.is_data() {
        true => print_data(&object, format)?,
        false => print(&format!("{name}: {}, {health}\n", status.sync.status))?,
    }
    Ok(Outcome::Done)
}

/// What is still to come, in words.
fn lacks(args: &Args, application: &Application) -> Option<String> {
    let all = !(args.sync || args.health || args.operation);
    let status = &application.status;
    // What was asked for and is not begun says nothing in the status yet.
    if (all || args.operation) && application.operation.is_some() {
        return Some("requested, and not begun".to_owned());
    }
    if (all || args.sync) && application.annotation(REFRESH).is_some() {
        return Some("asked to look at its source".to_owned());
    }
    let wanted = args.revision.as_deref().unwrap_or_default();
    if !status.sync.revision.starts_with(wanted) {
        return Some(format!("at {}", short_revision(&status.sync.revision)));
    }
    if (all || args.operation)
        && let Some(state) = &status.operation_state
        && state.phase == OperationPhase::Running
    {
        return Some(format!("syncing, {}", state.message));
    }
    if (all || args.sync) && status.sync.status != SyncCode::Synced {
        return Some(status.sync.status.to_string());
    }
    let code = status.health.as_ref().map(|health| health.status);
    if (all || args.health) && code != Some(HealthCode::Healthy) {
        return Some(health_words(status.health.as_ref()));
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::object::Object;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_was_requested_is_waited_for() {
        let seen = |operation: Value, annotations: Value, phase: &str| {
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"name": "shop", "annotations": annotations}, "operation": operation,
                "status": {
                    "sync": {"status": "Synced", "revision": "3f2a"}, "health": {"status": "Healthy"},
                    "operationState": {"phase": phase, "startedAt": "", "message": "m"},
                },
            });
            read(Object::new(object).unwrap())
        };
        let refresh = json!({"trimtab.dev/refresh": "normal"});
        for (flags, operation, annotations, phase, lacking) in [
            (vec![], Value::Null, json!({}), "Succeeded", false),
            (vec![], Value::Null, json!({}), "Running", true),
            (vec![], json!({"sync": {}}), json!({}), "Succeeded", true),
            (vec![], Value::Null, refresh.clone(), "Succeeded", true),
            (
                vec!["--health"],
                json!({"sync": {}}),
                refresh.clone(),
                "Running",
                false,
            ),
            (
                vec!["--operation"],
                Value::Null,
                refresh,
                "Succeeded",
                false,
            ),
            (
                vec!["--operation"],
                json!({"sync": {}}),
                json!({}),
                "Succeeded",
                true,
            ),
            (
                vec!["--revision", "3f2b"],
                Value::Null,
                json!({}),
                "Succeeded",
                true,
            ),
        ] {
            let line = ["wait", "shop"].into_iter().chain(flags.clone());
            let args = Command::parse_from(line).args;
            let found = lacks(&args, &seen(operation, annotations, phase));
            assert_eq!(found.is_some(), lacking, "{flags:?} {found:?}");
        }
    }
}
