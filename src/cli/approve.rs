//! `trimtab approve`.

use anyhow::{Result, bail};
use serde_json::json;

use super::output::{print, style};
use super::table::{Cell, Table};
use super::words::kind_words;
use super::{Outcome, target};
use crate::crd::{Application, names, read};

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
    let Some(approval) = approval(&application) else {
        bail!("nothing of \"{name}\" waits for approval");
    };
    let objects = goes(&application);
    if !args.yes {
        let table = objects.render(style());
        print(&format!(
            "{table}\nto delete this: trimtab approve {name} --yes\n"
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

/// The annotation (without its prefix) and value that approve what waits.
fn approval(application: &Application) -> Option<(&'static str, String)> {
    let conditions = &application.status.conditions;
    let message = |type_: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == type_);
        found.map(|condition| condition.message.as_str())
    };
    if application.object.is_terminating() {
        message("Deleting").filter(|message| message.contains(names::DELETION_APPROVED))?;
        return Some((names::DELETION_APPROVED, jiff::Timestamp::now().to_string()));
    }
    let marker = format!("{}=", names::PRUNE_APPROVED);
    let (_, token) = message("PruneHeld")?.rsplit_once(&marker)?;
    Some((names::PRUNE_APPROVED, token.to_owned()))
}

/// The objects that an approval would delete.
fn goes(application: &Application) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME"]);
    let all = application.object.is_terminating();
    for row in &application.status.resources {
        if all || row.requires_pruning {
            table.push(vec![
                Cell::new(kind_words(&row.kind, &row.group, false)),
                Cell::new(&row.namespace),
                Cell::new(&row.name),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    #[test]
    fn only_what_waits_is_approved() {
        let application = |type_: &str, message: &str| {
            let conditions = json!([{"type": type_, "message": message}]);
            read(
                Object::new(json!({
                    "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                    "metadata": {"name": "shop"}, "status": {"conditions": conditions},
                }))
                .unwrap(),
            )
        };
        let held =
            "if that is meant, annotate the Application with trimtab.dev/prune-approved=a1b2";
        let expected = Some((names::PRUNE_APPROVED, "a1b2".to_owned()));
        assert_eq!(approval(&application("PruneHeld", held)), expected);
        assert_eq!(
            approval(&application("PruneHeld", "the commit does not render")),
            None
        );
        assert_eq!(approval(&application("SyncError", held)), None);
    }
}
