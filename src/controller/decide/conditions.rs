//! What a person should know about an application, in words.

use crate::controller::decide::view::View;
use crate::crd::{ApplicationKey, Condition, Pin};
use crate::object::ResourceKey;
use crate::plan::some_of;

/// The condition after a panic of an application's task.
pub(in crate::controller) const FAULT: &str = "InternalError";

/// The only condition of an Application that is being deleted: how far that came.
pub(in crate::controller) fn deletion_condition(
    before: &[Condition],
    message: String,
    now: String,
) -> Vec<Condition> {
    let type_ = "Deleting".to_owned();
    let known = before.iter().find(|condition| condition.type_ == type_);
    vec![Condition {
        last_transition_time: known.map_or(now, |known| known.last_transition_time.clone()),
        type_,
        message,
    }]
}

/// The conditions of an application, without their times. Absent when all is well.
pub(in crate::controller) fn conditions(view: &View<'_>) -> Vec<Condition> {
    let said = |message: Option<&str>| message.map(str::to_owned);
    let faults = (!view.faults.is_empty()).then(|| view.faults.join("; "));
    let holds = view.holds.iter();
    let holds = holds.map(|(type_, message)| (*type_, Some(message.clone())));
    let fights = (!view.fights.is_empty()).then(|| some_of(&view.fights));
    let remarks = view.desired.map(|desired| desired.remarks.as_slice());
    let remarks = remarks.filter(|remarks| !remarks.is_empty()).map(some_of);
    [
        (FAULT, said(view.fault)),
        ("InvalidSpecError", faults),
        (
            "SourceError",
            said(view.source_error.map(|fault| fault.message.as_str())),
        ),
        ("ComparisonError", said(view.compare_error)),
        ("RolledBack", view.pin.map(rolled_back)),
        ("ReadError", unseen(view)),
        ("SyncError", said(view.sync_error)),
        ("PruneHeld", said(view.prune_held)),
        ("HookPending", pending_hooks(view)),
        ("PruneRefused", forbidden(view)),
        ("HistoryWarning", said(view.bundle_error)),
        ("FightDetected", fights),
        ("SharedResourceWarning", shared(view)),
        ("SyncOptionWarning", remarks),
        ("RepeatedResourceWarning", repeated(view)),
        ("RepeatedKeyWarning", repeated_keys(view)),
        ("RepeatedItemWarning", repeated_items(view)),
        ("SkippedFilesWarning", skipped_files(view)),
    ]
    .into_iter()
    .chain(holds)
    .filter_map(|(type_, message)| {
        Some(Condition {
            type_: type_.to_owned(),
            message: message?,
            last_transition_time: String::new(),
        })
    })
    .collect()
}

fn rolled_back(pin: &Pin) -> String {
    let short = |commit: &str| commit.get(..7).unwrap_or(commit).to_owned();
    let by = match pin.by.as_str() {
        "" => "somebody",
        by => by,
    };
    let to = match pin.id {
        None => "revision".to_owned(),
        Some(id) => format!("deployment {id}"),
    };
    format!(
        "to {to} ({}) by {by} at {}; the first commit after {} ends it",
        short(&pin.revision),
        pin.at,
        short(&pin.until)
    )
}

/// An object that two applications desire, seen from either of them.
fn shared(view: &View<'_>) -> Option<String> {
    let comparison = view.comparison?;
    let first = |objects: &[(ResourceKey, ApplicationKey)]| {
        let (key, other) = objects.first()?;
        let more = match objects.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some((format!("{key}{more}"), other.clone()))
    };
    if let Some((objects, owner)) = first(&comparison.shared) {
        return Some(format!(
            "{objects} belongs to Application {owner}; nothing is applied until it lets go"
        ));
    }
    let (objects, other) = first(&comparison.claimed)?;
    Some(format!(
        "{objects} is desired by Application {other} as well, which waits for it"
    ))
}

/// The hooks that keep an application from being Synced.
fn pending_hooks(view: &View<'_>) -> Option<String> {
    let compared = view
        .comparison
        .is_some_and(|comparison| comparison.hooks > 0);
    view.pending_hooks.clone().filter(|_| compared)
}

/// What would be pruned if the project permitted it.
fn forbidden(view: &View<'_>) -> Option<String> {
    let forbidden = &view.comparison?.forbidden;
    (!forbidden.is_empty()).then(|| some_of(forbidden))
}

/// What cannot be read.
fn unseen(view: &View<'_>) -> Option<String> {
    let unseen = &view.comparison?.unseen;
    let texts: Vec<_> = unseen
        .iter()
        .map(|(key, why)| format!("{key}: {why}"))
        .collect();
    (!texts.is_empty()).then(|| some_of(&texts))
}

fn repeated_keys(view: &View<'_>) -> Option<String> {
    let keys = &view.desired?.notes.repeated_keys;
    (!keys.is_empty()).then(|| format!("the last one counts: {}", some_of(keys)))
}

/// Items of lists that an apply refused as they were there twice.
fn repeated_items(view: &View<'_>) -> Option<String> {
    let desired = &view.desired?.objects;
    let stored = view.stored?.iter();
    let stored = stored.filter(|(key, _)| desired.contains_key(*key));
    let repeated = stored.flat_map(|(key, fields)| {
        let fields = fields.iter().filter(|field| field.repeated);
        fields.map(move |field| format!("{key}: {}", field.path))
    });
    let mut items: Vec<_> = repeated.collect();
    items.dedup();
    (!items.is_empty()).then(|| format!("the last one counts: {}", some_of(&items)))
}

/// How many files hold no manifest, and which.
fn skipped_files(view: &View<'_>) -> Option<String> {
    let files = &view.desired?.notes.skipped_files;
    let count = match files.len() {
        0 => return None,
        1 => "1 file holds no manifest and is left out".to_owned(),
        count => format!("{count} files hold no manifests and are left out"),
    };
    Some(format!("{count}: {}", some_of(files)))
}

fn repeated(view: &View<'_>) -> Option<String> {
    let repeated = &view.desired?.repeated;
    let key = repeated.first()?;
    Some(format!("{key} is described {} times more", repeated.len()))
}
