//! `trimtab history`.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::{DataFormat, Format, complain, print, print_data, style};
use super::table::{Cell, Style, Table};
use super::text::{age, short_revision};
use super::words::initiator;
use super::{Outcome, target};
use crate::crd::{Application, read};

/// List what was deployed, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab history shop
  trimtab history shop -o json        status.history as it is stored, oldest first")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let object = target.find(&args.application).await?;
    let format = Format::from(args.output);
    if format.is_data() {
        let stored: Value = object.get("/status/history").cloned().unwrap_or(json!([]));
        print_data(&stored, format)?;
        return Ok(Outcome::Done);
    }
    let application = read(object);
    if application.status.history.is_empty() {
        let name = &args.application;
        complain(&format!(
            "nothing was deployed by application \"{name}\" yet"
        ));
    } else {
        print(&table(&application, Timestamp::now(), style()))?;
    }
    Ok(Outcome::Done)
}

fn table(application: &Application, now: Timestamp, style: Style) -> String {
    let mut table = Table::new(&["ID", "DEPLOYED", "REVISION", "BY"]);
    let mut history = application.status.history.clone();
    history.sort_by_key(|deployment| std::cmp::Reverse(deployment.id));
    for deployment in history {
        let by = initiator(deployment.initiated_by.as_ref());
        table.push(vec![
            Cell::new(deployment.id.to_string()),
            Cell::new(age(now, &deployment.deployed_at) + " ago"),
            Cell::new(short_revision(&deployment.revision)),
            Cell::new(by.unwrap_or_default()),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    #[test]
    fn the_newest_deployment_comes_first() {
        let deployment = |id: i64, time: &str, by: Value| {
            json!({
                "id": id, "revision": format!("{id}123456789abcdef"), "deployStartedAt": time,
                "deployedAt": time, "initiatedBy": by,
            })
        };
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop"},
            "status": {"history": [
                deployment(9, "2026-03-10T09:00:00Z", json!({"username": "alice"})),
                deployment(10, "2026-03-10T11:55:00Z", json!({"automated": true})),
            ]},
        });
        let application = read(Object::new(object).unwrap());
        let now = "2026-03-10T12:00:00Z".parse().unwrap();
        let expected = "\
ID   DEPLOYED   REVISION       BY
10   5m ago     10123456789a   automation
9    3h ago     9123456789ab   alice
";
        assert_eq!(table(&application, now, Style::default()), expected);
    }
}
