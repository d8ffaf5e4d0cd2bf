//! `trimtab pause` and `trimtab resume`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::chosen::Chosen;
use super::operate::requester;
use super::output::{DataFormat, Format, print, print_data};
use super::target::patience;
use super::{Outcome, target};
use crate::api::stored;
use crate::cluster::Error;
use crate::object::rfc3339_after;

/// Stop automation for an application, for a time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is applied, repaired or deleted by itself until the time is over or `trimtab resume`. A sync
that a person asks for still works. The source is read and differences are shown.

Examples:
  trimtab pause shop --for 2h --reason 'database move'
  trimtab pause shop                  until somebody resumes it
  trimtab pause -l team=shop --for 1h")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// How long; until it is resumed when not given
    #[arg(long = "for", value_name = "TIME", value_parser = patience)]
    duration: Option<Duration>,
    /// Why, for others who look
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
}

/// Let automation go on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab resume shop
  trimtab resume -l team=shop")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn pause(args: PauseArgs) -> Result<Outcome> {
    let target = args.target.open().await?;
    let until = match args.duration {
        None => None,
        Some(duration) => {
            let until = rfc3339_after(Timestamp::now(), duration);
            Some(until.context("--for ends after the end of time: give a shorter one")?)
        }
    };
    let by = requester(&target).await;
    let pause = json!({"by": by, "reason": args.reason, "until": until});
    let until = until.map_or("until it is resumed".to_owned(), |until| {
        format!("until {until}")
    });
    for name in args.chosen.names(&target).await? {
        let paused = set(&target, &name, "pause", &pause).await?;
        tell(&paused, args.output, &format!("paused {name} {until}\n"))?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn resume(args: ResumeArgs) -> Result<Outcome> {
    let target = args.target.open().await?;
    for name in args.chosen.names(&target).await? {
        let resumed = set(&target, &name, "resume", &Value::Null).await?;
        tell(&resumed, args.output, &format!("resumed {name}\n"))?;
    }
    Ok(Outcome::Done)
}

fn tell(object: &Value, format: DataFormat, text: &str) -> Result<()> {
    let format = Format::from(format);
    match format.is_data() {
        true => print_data(object, format),
        false => Ok(print(text)?),
    }
}

async fn set(target: &target::Target, name: &str, doing: &str, pause: &Value) -> Result<Value> {
    let key = target.key(name);
    let doing = format!("{doing} application {key}");
    let patch = json!({"spec": {"pause": pause}});
    match target.applications.patch(&key, &doing, &patch).await {
        Err(Error::NotFound { .. }) => Err(target.missing(name).await),
        patched => Ok(stored(patched?)),
    }
}
