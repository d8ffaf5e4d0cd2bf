//! `trimtab approve`.

use anyhow::{Result, bail};
use serde_json::json;

use super::output::{print, style};
use super::table::{Cell, Table};
use super::view::unlisted;
use super::words::kind_words;
use super::{Outcome, target};
use crate::crd::{Application, approval, names, read};

/// Let a deletion go on that waits for a person
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Approves exactly what waits now; another set of objects needs another approval. Without --yes it
only says what would be deleted.

Examples:
  trimtab approve shop
  trimtab approve shop --yes")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// Approve
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let name = &args.application;
    let application = read(target.find(name).await?);
    let Some(approval) = approval(&application, jiff::Timestamp::now()) else {
        bail!("nothing of \"{name}\" waits for approval");
    };
    let objects = goes(&application);
    if !args.yes {
        let table = objects.render(style());
        let more = unlisted(&application);
        print(&format!(
            "{table}{more}\nto delete this: trimtab approve {name} --yes\n"
        ))?;
        return Ok(Outcome::Differs);
    }
    let [annotation, _] = names::annotation_names(approval.0);
    let patch = json!({"metadata": {"annotations": {annotation: approval.1}}});
    let doing = format!("approve the deletions of application {}", application.key);
    target
        .applications
        .patch(&application.key, &doing, &patch)
        .await?;
    print(&format!("approved the deletions of {name}\n"))?;
    Ok(Outcome::Done)
}

/// The objects that an approval would delete.
fn goes(application: &Application) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME"]);
    let all = application.object.is_terminating();
    for row in &application.status.resources {
        if all || row.goes() {
            table.push(vec![
                Cell::new(kind_words(&row.kind, &row.group, false)),
                Cell::new(&row.namespace),
                Cell::new(&row.name),
            ]);
        }
    }
    table
}
