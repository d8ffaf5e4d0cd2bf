//! `trimtab get`.

use anyhow::{Result, bail};
use futures::StreamExt;
use jiff::Timestamp;

use super::output::{Format, data, print, style};
use super::view::overview;
use super::words::verdict;
use super::{Outcome, target};
use crate::crd::read;
use crate::object::Object;

/// Show one application, its conditions and its objects
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 1 when the application is OutOfSync or Degraded.

Examples:
  trimtab get shop
  trimtab get shop -w                 again whenever it changes
  trimtab get shop -o yaml            the Application as it is stored")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show it again whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let object = target.find(&args.application).await?;
    let mut shown = show(&object, args.output)?;
    print(&shown)?;
    if !args.watch {
        return Ok(verdict(&read(object)));
    }
    let mut version = object.resource_version().to_owned();
    let mut changes = target.applications.watch(&target.key(&args.application));
    while let Some(change) = changes.next().await {
        let object = match change {
            Ok(Some(object)) => object,
            Ok(None) => bail!("application \"{}\" was deleted", args.application),
            Err(error) if error.is_passing() => continue,
            Err(error) => return Err(error.into()),
        };
        if object.resource_version() == version {
            continue;
        }
        object.resource_version().clone_into(&mut version);
        let next = show(&object, args.output)?;
        if next != shown {
            let apart = if args.output.is_data() { "" } else { "\n" };
            print(&format!("{apart}{next}"))?;
            shown = next;
        }
    }
    bail!("the watch ended")
}

fn show(object: &Object, format: Format) -> Result<String> {
    if format.is_data() {
        return data(object, format);
    }
    let application = read(object.clone());
    let wide = format == Format::Wide;
    Ok(overview(&application, Timestamp::now(), wide, style()))
}
