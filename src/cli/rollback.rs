//! `trimtab rollback`.

use anyhow::Result;

use super::operate::{Waiting, operate};
use super::{Outcome, target};
use crate::crd::{Operation, RollbackOperation};

/// Go back to an earlier deployment, until the next commit
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Applies exactly what was deployed then, with Git and registries out of reach as well. Automation
keeps it until the source has a newer commit; --undo ends it at once.

Examples:
  trimtab history shop
  trimtab rollback shop               the deployment before the last
  trimtab rollback shop 3 --wait
  trimtab rollback shop --undo")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// The deployment, by its id in `trimtab history`; the one before the last when not given
    #[arg(conflicts_with = "undo")]
    id: Option<i64>,
    /// Go back to the newest commit
    #[arg(long)]
    undo: bool,
    /// Keep objects that the earlier deployment did not have
    #[arg(long)]
    no_prune: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let operation = Operation {
        rollback: Some(RollbackOperation {
            id: args.id,
            undo: args.undo,
            prune: !args.no_prune,
        }),
        ..Operation::default()
    };
    operate(
        &target,
        &args.application,
        "a rollback",
        operation,
        &args.waiting,
    )
    .await
}
