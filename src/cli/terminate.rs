//! `trimtab terminate`.

use anyhow::Result;

use super::operate::requester;
use super::output::{DataFormat, Format, print, print_data};
use super::{Outcome, target};
use crate::cluster::Error;
use crate::crd::{InitiatedBy, Operation};

/// End the sync that is running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What was applied stays; hooks that run are deleted. Nothing happens by itself after that until
the next commit or sync.

Examples:
  trimtab terminate shop")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let name = &args.application;
    let operation = Operation {
        terminate: true,
        initiated_by: Some(InitiatedBy {
            username: requester(&target).await,
            automated: false,
        }),
        ..Operation::default()
    };
    let key = target.key(name);
    let requested = match target
        .applications
        .request_operation(&key, &operation)
        .await
    {
        Err(Error::NotFound { .. }) => return Err(target.missing(name).await),
        requested => requested?,
    };
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&requested, format)?,
        false => print(&format!("requested the end of the sync of {name}\n"))?,
    }
    Ok(Outcome::Done)
}
