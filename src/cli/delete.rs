//! `trimtab delete`.

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::json;

use super::output::print;
use super::{Outcome, target};
use crate::crd::{Application, names, read};

/// What becomes of the objects of a deleted Application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cascade {
    /// They are deleted; what they own goes after them
    Background,
    /// They are deleted after what they own
    Foreground,
    /// They stay
    Orphan,
}

/// Delete an Application, with its objects or without them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --cascade it goes by what the Application says: with a finalizer its objects go first.
CustomResourceDefinitions, the created namespace and objects with Delete=false always stay.

Examples:
  trimtab delete shop --cascade background --yes
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
    let count = application.status.resources.len();
    let objects = match goes {
        true => format!("its {count} objects go first"),
        false => format!("its {count} objects stay"),
    };
    if !args.yes {
        bail!("{objects}; add --yes to delete \"{name}\"");
    }
    if let Some(cascade) = args.cascade {
        set_finalizers(&target, &application, cascade).await?;
    }
    target.applications.delete(&application).await?;
    print(&format!("deleted {name}; {objects}\n"))?;
    Ok(Outcome::Done)
}

/// Makes the Application say what is to become of its objects. Finalizers of others stay.
async fn set_finalizers(
    target: &target::Target,
    application: &Application,
    cascade: Cascade,
) -> Result<()> {
    let [_, _, foreground] = names::ARGO_FINALIZERS;
    let ours = match cascade {
        Cascade::Background => Some(names::FINALIZER),
        Cascade::Foreground => Some(foreground),
        Cascade::Orphan => None,
    };
    let others = application
        .finalizers()
        .filter(|finalizer| !names::is_resources_finalizer(finalizer));
    let finalizers: Vec<&str> = others.chain(ours).collect();
    let patch = json!({"metadata": {
        "finalizers": finalizers, "resourceVersion": application.resource_version,
    }});
    let doing = format!("set the finalizers of application {}", application.key);
    target
        .applications
        .patch(&application.key, &doing, &patch)
        .await?;
    Ok(())
}
