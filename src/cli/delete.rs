//! `trimtab delete`.

use std::time::Duration;

use anyhow::{Result, bail};

use super::follow::{Stage, follow_to_its_end};
use super::output::print;
use super::target::patience;
use super::{Outcome, target};
use crate::crd::{Application, Cascade, read};

/// Delete an Application, with its objects or without them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --cascade it goes by what the Application says: with a finalizer its objects go first.
CustomResourceDefinitions, the created namespace and objects with Delete=false always stay.

Examples:
  trimtab delete shop --cascade background --yes
  trimtab delete shop --yes --wait             and wait until it is gone
  trimtab delete shop --cascade orphan --yes")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// What becomes of its objects
    #[arg(long, value_enum)]
    cascade: Option<Cascade>,
    /// Do it; without this it only says what would go
    #[arg(short, long)]
    yes: bool,
    /// Wait until it is gone
    #[arg(short, long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    timeout: Duration,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let name = &args.application;
    let application = read(target.find(name).await?);
    let goes = match args.cascade {
        Some(cascade) => cascade != Cascade::Orphan,
        None => application.cascades(),
    };
    let count = application.status.objects();
    let objects = match goes {
        true => format!("its {count} objects go first"),
        false => format!("its {count} objects stay"),
    };
    if !args.yes {
        bail!("{objects}; add --yes to delete \"{name}\"");
    }
    if let Some(cascade) = args.cascade {
        target
            .applications
            .set_cascade(&application, cascade)
            .await?;
    }
    target.applications.delete(&application).await?;
    if !args.wait {
        print(&format!("deleted {name}; {objects}\n"))?;
        return Ok(Outcome::Done);
    }
    follow_to_its_end(&target, name, args.timeout, far).await?;
    print(&format!("{name} is gone\n"))?;
    Ok(Outcome::Done)
}

/// How far a deletion is.
fn far(application: &Application, _: bool) -> Stage {
    let mut conditions = application.status.conditions.iter();
    match conditions.find(|condition| condition.type_ == "Deleting") {
        Some(condition) => Stage::Running(condition.message.clone()),
        None => Stage::Requested,
    }
}
