//! `trimtab health`.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use super::manifests;
use super::output::{DataFormat, Format, print, print_data, style};
use super::table::{Cell, Table};
use super::words::{NOT_ASSESSED, health_cell, kind_words};
use crate::crd::{Health, HealthCode};
use crate::health::assess;
use crate::object::Object;

/// Say how live objects do, by the agent's own rules
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks no cluster: it reads objects as kubectl prints them. Ends with 1 when one is Degraded.

Examples:
  kubectl -n shop get deployments,pods -o yaml | trimtab health
  trimtab health live.yaml -o json")]
pub(super) struct Args {
    /// A file of live objects, or - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let objects = manifests::read(&args.file)?;
    let found: Vec<_> = objects.iter().map(|it| (it, assess(it))).collect();
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&found.iter().map(data).collect::<Vec<_>>(), format)?,
        false => print(&table(&found).render(style()))?,
    }
    let bad = |health: &Health| health.status == HealthCode::Degraded;
    let degraded = found
        .iter()
        .any(|(_, health)| health.as_ref().is_some_and(bad));
    Ok(match degraded {
        true => Outcome::Differs,
        false => Outcome::Done,
    })
}

fn data((object, health): &(&Object, Option<Health>)) -> serde_json::Value {
    let key = object.key();
    json!({
        "group": key.group, "kind": key.kind, "namespace": key.namespace, "name": key.name,
        "health": health,
    })
}

fn table(found: &[(&Object, Option<Health>)]) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "HEALTH", "MESSAGE"]);
    for (object, health) in found {
        let state = match health {
            Some(health) => health_cell(Some(health.status)),
            None => Cell::new(NOT_ASSESSED),
        };
        table.push(vec![
            Cell::new(kind_words(object.kind(), object.group(), false)),
            Cell::new(object.namespace().unwrap_or_default()),
            Cell::new(object.name()),
            state,
            Cell::new(health.as_ref().map_or("", |health| health.message.as_str())),
        ]);
    }
    table
}
