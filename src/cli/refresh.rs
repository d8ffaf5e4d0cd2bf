//! `trimtab refresh`.

use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use super::chosen::{Chosen, worst};
use super::follow::{follow, refresh_stage};
use super::output::{DataFormat, Format, print, print_data};
use super::target::{self, Target, patience};
use super::words::{health_words, verdict};
use crate::cluster::Error;
use crate::crd::{Application, read};

/// Compare with the source and the cluster now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --wait: ends with 1 when the application is OutOfSync or Degraded.

Examples:
  trimtab refresh shop
  trimtab refresh shop --hard --wait  render anew as well, and wait for the result
  trimtab refresh -l team=shop        all with this label")]
pub(super) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Forget what was rendered and render anew
    #[arg(long)]
    hard: bool,
    /// Wait until it is over
    #[arg(short, long)]
    wait: bool,
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
    let format = Format::from(args.output);
    let key = target.key(name);
    let requested = match target.applications.request_refresh(&key, args.hard).await {
        Err(Error::NotFound { .. }) => return Err(target.missing(name).await),
        requested => requested?,
    };
    if !args.wait {
        match format.is_data() {
            true => print_data(&requested, format)?,
            false => print(&format!("requested a refresh of {name}\n"))?,
        }
        return Ok(Outcome::Done);
    }
    let stage = |seen: &Application, _| refresh_stage(seen);
    let object = follow(target, name, args.timeout, stage).await?;
    let application = read(object.clone());
    let status = &application.status;
    let health = health_words(status.health.as_ref());
    match format.is_data() {
        true => print_data(&object, format)?,
        false => print(&format!("{name}: {}, {health}\n", status.sync.status))?,
    }
    Ok(verdict(&application))
}
