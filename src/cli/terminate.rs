//! `trimtab terminate`.

use anyhow::Result;

use super::operate::requester;
use super::output::{DataFormat, Format, print, print_data};
use super::text::one_line;
use super::{Outcome, target};
use crate::cluster::Error;
use crate::crd::{InitiatedBy, Operation, read};

/// End the sync that is running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What was applied stays; hooks that run are deleted. Nothing happens by itself after that until
the next commit or sync. A sync that somebody asked for meanwhile begins then.

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
        false => {
            let waits = read(requested).operation.filter(Operation::goes_on);
            let next = waits.map_or(String::new(), |waits| {
                let by = waits
                    .initiated_by
                    .map_or_else(String::new, |by| by.username);
                let by = if by.is_empty() { "somebody" } else { &by };
                format!("; what {} asked for begins after it", one_line(by))
            });
            print(&format!("requested the end of the sync of {name}{next}\n"))?;
        }
    }
    Ok(Outcome::Done)
}
