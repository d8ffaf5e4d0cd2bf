//! `trimtab diff`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use super::link::{self, Role};
use super::output::{DataFormat, Format, complain, print, print_data, style};
use super::render::{Kubernetes, of_checkout};
use super::text::{Tone, lines, one_line};
use super::{Outcome, manifests, target};
use crate::crd::{StoredField, read};
use crate::object::Object;

/// Show what a sync would change, object by object
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 0 when nothing differs, 1 when something does, 2 after an error. Values of Secrets are
masked: the same value has the same mask.

Examples:
  trimtab diff shop                            what a sync would change now
  trimtab diff shop --revision feature         what this branch, tag or commit would change
  trimtab diff shop --deployment 7             what a rollback would change
  trimtab diff shop --local .                  what the checkout in this directory would change
  kustomize build x | trimtab diff shop --local -")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// Compare with this branch, tag or commit
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["deployment", "local"])]
    revision: Option<String>,
    /// Compare with a deployment of the history
    #[arg(long, value_name = "ID", conflicts_with = "local")]
    deployment: Option<i64>,
    /// Compare with a checkout of its repository, rendered here as the agent does it (by kustomize
    /// and helm of your PATH), or with manifests on standard input (-); needs `update` on it
    #[arg(long, value_name = "PATH")]
    local: Option<PathBuf>,
    /// Only objects of this name
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Look also at what is known to be in sync
    #[arg(long)]
    all: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
    #[command(flatten)]
    link: link::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let role = if args.local.is_some() {
        Role::Admin
    } else {
        Role::Viewer
    };
    let (target, link) = args.link.open(&args.target, role).await?;
    let manifests = match &args.local {
        Some(path) => Some(local(&target, &args.application, path).await?),
        None => None,
    };
    let mut query = vec![("all", args.all.to_string())];
    let given = [
        ("revision", args.revision.clone()),
        ("deployment", args.deployment.map(|id| id.to_string())),
        ("resource", args.resource.clone()),
    ];
    query.extend(
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let path = format!(
        "/api/v1/applications/{}/{}/diff?{}",
        target.namespace,
        args.application,
        serde_urlencoded::to_string(query)?
    );
    let found = match manifests {
        None => link.ask("GET", &path, &Value::Null).await?,
        Some(manifests) => {
            let manifests = manifests.into_iter().map(Object::into_value);
            link.ask("POST", &path, &manifests.collect()).await?
        }
    };
    let objects = found["objects"].as_array().cloned().unwrap_or_default();
    let differs = objects.iter().any(|object| object["fate"] != "unchanged");
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&found, format)?,
        false => print(&shown(&objects, style().colour))?,
    }
    if let Some(hidden) = found["hidden"].as_u64().filter(|hidden| *hidden > 0) {
        complain(&format!(
            "{hidden} more objects differ that this account may not see"
        ));
    }
    if objects.iter().any(|object| object["fate"] == "unknown") {
        bail!("some objects could not be compared");
    }
    Ok(if differs {
        Outcome::Differs
    } else {
        Outcome::Done
    })
}

/// Manifests from standard input, or rendered of a checkout.
async fn local(target: &target::Target, name: &str, path: &Path) -> Result<Vec<Object>> {
    if path == Path::new("-") {
        return manifests::read(path);
    }
    let application = read(target.find(name).await?);
    let kubernetes = Kubernetes::of(target.applications.client()).await?;
    of_checkout(&application, path, &kubernetes).await
}

/// As `diff -u`, with a line before each object that says what would become of it.
fn shown(objects: &[Value], coloured: bool) -> String {
    let text = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let mut shown = String::new();
    let stored = |object: &Value| object["stored"].is_array();
    for object in objects
        .iter()
        .filter(|object| object["fate"] != "unchanged" || stored(object))
    {
        let namespace = match text(&object["namespace"]) {
            namespace if namespace.is_empty() => namespace,
            namespace => format!("{namespace}/"),
        };
        let what = match object["fate"].as_str() {
            Some("created") => "would be created",
            Some("changed") => "would be changed",
            Some("pruned") => "would be deleted",
            Some("run") => "would run",
            Some("unchanged") => "is stored otherwise than it was sent",
            _ => "could not be compared",
        };
        let head = format!(
            "# {} {namespace}{} {what}",
            text(&object["kind"]),
            text(&object["name"])
        );
        shown.push_str(&paint(&head, Tone::Strong, coloured));
        if let Some(error) = object["error"].as_str() {
            shown.push_str(&paint(
                &format!("#   {}", one_line(error)),
                Tone::Bad,
                coloured,
            ));
        }
        for field in object["stored"].as_array().into_iter().flatten() {
            let field: StoredField = serde_json::from_value(field.clone()).unwrap_or_default();
            let line = format!(
                "#   the API server stores something else: {}",
                one_line(&field.words())
            );
            shown.push_str(&paint(&line, Tone::Plain, coloured));
        }
        for change in object["changes"].as_array().into_iter().flatten() {
            if let Some(by) = change["by"]["manager"].as_str() {
                let line = format!("#   {}: live by {}", text(&change["path"]), one_line(by));
                shown.push_str(&paint(&line, Tone::Plain, coloured));
            }
        }
        for line in lines(object["text"].as_str().unwrap_or_default()) {
            let tone = match line.chars().next() {
                Some('+') => Tone::Good,
                Some('-') => Tone::Bad,
                _ => Tone::Plain,
            };
            shown.push_str(&paint(&line, tone, coloured));
        }
    }
    shown
}

fn paint(line: &str, tone: Tone, coloured: bool) -> String {
    match coloured {
        true => format!("{}\n", tone.paint(line)),
        false => format!("{line}\n"),
    }
}
