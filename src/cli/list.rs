//! `trimtab list`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;

use super::output::{Format, complain, print, print_data, style};
use super::table::line;
use super::view::{list_row, list_table};
use super::{Outcome, target};
use crate::crd::read;
use crate::object::Object;

/// List applications and how they do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab list                        those of the current namespace
  trimtab list -A -o wide             all, with their sources
  trimtab list -l team=shop -w        and how they change from now on
  trimtab list -A -o json             a List of the objects as they are stored")]
pub(super) struct Args {
    /// Applications of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Only those with these labels, such as team=shop,stage!=test
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show what changes until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let namespace = (!args.all_namespaces).then_some(target.namespace.as_str());
    let selector = args.selector.as_deref();
    let applications = &target.applications;
    // Also before watching: the first rows give the columns their widths.
    let objects = applications.list_objects(namespace, selector).await?;
    if objects.is_empty() && !args.output.is_data() {
        complain(&match namespace {
            Some(namespace) => {
                format!("no applications in namespace \"{namespace}\"; -A looks in all of them")
            }
            None => "no applications".to_owned(),
        });
    }
    if !args.watch {
        show(&objects, &args)?;
        return Ok(Outcome::Done);
    }
    let wide = args.output == Format::Wide;
    let mut table = list_table(args.all_namespaces, wide);
    for object in objects {
        let row = list_row(&read(object), Timestamp::now(), args.all_namespaces, wide);
        table.push(row);
    }
    let style = style();
    let widths = table.widths(style);
    if !args.output.is_data() {
        print(&list_table(args.all_namespaces, wide).header(&widths, style))?;
    }
    let mut seen = BTreeMap::new();
    let mut changes = applications.watch_all(namespace, selector);
    while let Some(change) = changes.next().await {
        let (exists, object) = match change {
            Ok(change) => change,
            Err(error) if error.is_passing() => continue,
            Err(error) => return Err(error.into()),
        };
        // A watch that starts anew tells everything again.
        let version = exists.then(|| object.resource_version().to_owned());
        if seen.insert(object.key(), version.clone()) == Some(version) {
            continue;
        }
        if args.output.is_data() {
            print_data(&object, args.output)?;
            continue;
        }
        if !exists {
            complain(&format!("{} was deleted", object.name()));
            continue;
        }
        let row = list_row(&read(object), Timestamp::now(), args.all_namespaces, wide);
        print(&line(&row, &widths, style))?;
    }
    bail!("the watch ended")
}

fn show(objects: &[Object], args: &Args) -> Result<()> {
    if args.output.is_data() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        return print_data(&list, args.output);
    }
    let wide = args.output == Format::Wide;
    let mut table = list_table(args.all_namespaces, wide);
    for object in objects {
        let application = read(object.clone());
        table.push(list_row(
            &application,
            Timestamp::now(),
            args.all_namespaces,
            wide,
        ));
    }
    if !table.is_empty() {
        print(&table.render(style()))?;
    }
    Ok(())
}
