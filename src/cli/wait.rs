//! `trimtab wait`.

use std::time::Duration;

use anyhow::Result;

use super::chosen::{Chosen, worst};
use super::follow::{Stage, follow};
use super::output::{DataFormat, Format, print, print_data};
use super::target::{self, Target, patience};
use super::words::health_words;
use super::{Outcome, text::short_revision};
use crate::crd::{Application, HealthCode, OperationPhase, SyncCode, read};

/// Wait until an application is as desired
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Waits for Synced and Healthy and for the end of a running sync, or only for what is asked for. Ends
with 2 when the time is over.

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
