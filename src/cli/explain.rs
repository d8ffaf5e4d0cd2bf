//! `trimtab explain`.

use anyhow::{Result, bail};
use serde_json::Value;

use super::link::{self, Role};
use super::output::{DataFormat, Format, complain, print, print_data};
use super::text::{lines, one_line, short_revision};
use super::words::{health_words, verdict};
use super::{Outcome, target};
use crate::api::explain;
use crate::crd::{Application, OperationPhase, ResourceStatus, StoredField, SyncCode, read};

/// Say why an application is as it is, what holds it up and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 1 when the application is OutOfSync or Degraded.

Examples:
  trimtab explain shop
  trimtab explain shop web             one object: which fields differ, and who wrote them
  trimtab explain shop Deployment/web
  trimtab explain shop -o json")]
pub(super) struct Args {
    /// The application's name
    application: String,
    /// One object of it: NAME or KIND/NAME
    resource: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
    #[command(flatten)]
    target: target::Args,
    #[command(flatten)]
    link: link::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    if let Some(resource) = &args.resource {
        return explain_object(&args, resource).await;
    }
    let target = args.target.open().await?;
    let application = read(target.find(&args.application).await?);
    if application.status.sync.status == SyncCode::Unknown
        && application.status.conditions.is_empty()
    {
        complain(
            "the agent has not looked at it yet; is it running, and does it keep this namespace?",
        );
    }
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&explain(&application), format)?,
        false => print(&explained(&application))?,
    }
    Ok(verdict(&application))
}

/// One object: its state, and field by field what differs and who wrote what is live.
async fn explain_object(args: &Args, resource: &str) -> Result<Outcome> {
    let (target, link) = args.link.open(&args.target, Role::Viewer).await?;
    let application = read(target.find(&args.application).await?);
    let (kind, name) = resource.split_once('/').unwrap_or(("", resource));
    let is_meant = |row: &&ResourceStatus| {
        row.name == name && (kind.is_empty() || row.kind.eq_ignore_ascii_case(kind))
    };
    let rows: Vec<_> = application
        .status
        .resources
        .iter()
        .filter(is_meant)
        .collect();
    // The status of a large application does not list all.
    let unlisted = application.status.unlisted() > 0 && rows.is_empty();
    if rows.is_empty() && !unlisted {
        bail!(
            "\"{}\" has no object {resource}; `trimtab get {}` shows all",
            args.application,
            args.application
        );
    }
    let query = serde_urlencoded::to_string([("resource", name), ("all", "true")])?;
    let key = &application.key;
    let path = format!(
        "/api/v1/applications/{}/{}/diff?{query}",
        key.namespace, key.name
    );
    let found = link.ask("GET", &path, &Value::Null).await?;
    let mut objects = found["objects"].as_array().cloned().unwrap_or_default();
    if unlisted {
        let is_meant = |it: &Value| {
            let of_kind = it["kind"].as_str().unwrap_or_default();
            kind.is_empty() || of_kind.eq_ignore_ascii_case(kind)
        };
        objects.retain(is_meant);
    }
    let mut text = String::new();
    if unlisted {
        if objects.is_empty() {
            bail!("\"{}\" has no object {resource}", args.application);
        }
        text.push_str("The status has no room for its row; what differs is listed first.\n");
        for object in &objects {
            text.push_str(&fields(Some(object)));
        }
    }
    for row in &rows {
        let health = health_words(row.health.as_ref());
        text.push_str(&one_line(&format!(
            "{} is {}, {health}.",
            row.key(),
            row.status
        )));
        text.push('\n');
        let same = objects.iter().find(|object| {
            object["kind"] == row.kind.as_str() && object["namespace"] == row.namespace.as_str()
        });
        text.push_str(&fields(same));
    }
    if found["hidden"].as_u64().is_some_and(|hidden| hidden > 0) {
        text.push_str("This account may not see what is live.\n");
    }
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&found, format)?,
        false => print(&text)?,
    }
    let unchanged = |it: &Value| it["fate"] == "unchanged";
    let synced = rows.iter().all(|row| row.status == SyncCode::Synced)
        && (!unlisted || objects.iter().all(unchanged));
    Ok(if synced {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

/// What differs in one object.
fn fields(object: Option<&Value>) -> String {
    let Some(object) = object else {
        return String::new();
    };
    let changes = object["changes"].as_array().cloned().unwrap_or_default();
    let mut text = match object["fate"].as_str() {
        Some("created") => "A sync would create it.\n".to_owned(),
        Some("pruned") => "It is not desired any more: a sync with prune deletes it.\n".to_owned(),
        Some("run") => "It is a hook, which the next sync runs.\n".to_owned(),
        Some("unchanged") => "Nothing that the source says differs.\n".to_owned(),
        _ => String::new(),
    };
    if let Some(error) = object["error"].as_str() {
        text.push_str(&format!("It could not be compared: {}\n", one_line(error)));
    }
    for field in object["stored"].as_array().into_iter().flatten() {
        let field: StoredField = serde_json::from_value(field.clone()).unwrap_or_default();
        let words = one_line(&field.words());
        text.push_str(&format!("The API server stores something else: {words}\n"));
    }
    let value = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::String(value) => one_line(value),
        value => one_line(&value.to_string()),
    };
    for change in &changes {
        let path = one_line(change["path"].as_str().unwrap_or_default());
        let (live, desired) = (value(&change["live"]), value(&change["desired"]));
        text.push_str(&format!("- {path}: live {live}, desired {desired}\n"));
        if let Some(manager) = change["by"]["manager"].as_str() {
            let time = change["by"]["time"].as_str().unwrap_or_default();
            let line = format!("written by {manager} {time}");
            text.push_str(&format!("    {}\n", one_line(&line)));
        }
    }
    text
}

/// The whole explanation, for a terminal.
fn explained(application: &Application) -> String {
    let status = &application.status;
    let explanation = explain(application);
    let mut text = format!(
        "{} is {} at {}, {}.\n",
        one_line(&application.key.name),
        status.sync.status,
        short_revision(&status.sync.revision),
        health_words(status.health.as_ref())
    );
    if let Some(state) = &status.operation_state
        && state.phase == OperationPhase::Running
    {
        text.push_str(&format!("A sync runs: {}.\n", one_line(&state.message)));
    }
    for reason in &explanation.reasons {
        text.push_str(&format!("- {}\n", lines(&reason.text).join("\n    ")));
        if !reason.advice.is_empty() {
            text.push_str(&format!("    {}\n", reason.advice));
        }
    }
    for line in &explanation.closing {
        text.push_str(&one_line(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Object;

    #[test]
    fn it_says_what_differs_and_what_to_do() {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"},
            "spec": {"syncPolicy": {"automated": {}}},
            "status": {
                "sync": {"status": "OutOfSync", "revision": "0123456789abcdef"},
                "health": {"status": "Progressing"},
                "resources": [
                    {"version": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a",
                     "status": "OutOfSync", "health": {"status": "Missing"}},
                    {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop",
                     "name": "web", "status": "Synced",
                     "health": {"status": "Progressing", "message": "1 of 3 ready"}},
                ],
                "conditions": [{"type": "PruneHeld", "message": "7 of 9 objects would be deleted"}],
            },
        });
        let expected = "\
shop is OutOfSync at 0123456789ab, Progressing.
- ConfigMap shop/a is desired and not there
- Deployment shop/web is Progressing: 1 of 3 ready
- PruneHeld: 7 of 9 objects would be deleted
    `trimtab approve` shows what would go and lets it go
Self-heal is off: what was changed in the cluster stays until a commit or sync.
";
        let found = explained(&read(Object::new(object).unwrap()));
        assert_eq!(found, expected);
    }
}
