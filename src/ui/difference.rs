//! What differs, field by field and as text: unified or side by side.

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::words;
use crate::api::{DiffQuery, Visible};
use crate::controller::{Difference, Fate};
use crate::diff::Change;

/// Lines of one object that are shown.
const LINES: usize = 4000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    /// `split` for side by side.
    view: String,
}

pub(super) fn page(visible: &Visible, shown: &Shown, base: &str, query: &DiffQuery) -> Markup {
    let split = shown.view == "split";
    let all = visible.inspection.objects.iter();
    let count = all.filter(|it| it.fate != Fate::Unchanged).count();
    let mut other = format!("{base}?view={}", if split { "unified" } else { "split" });
    let query = query.to_query();
    let said = |pair: &&str| !pair.ends_with('=') && *pair != "all=false";
    for pair in query.split('&').filter(said) {
        other.push_str(&format!("&{pair}"));
    }
    html! {
        p { strong { (count) } " of " (visible.inspection.desired) " objects would change. "
            a href=(other) { @if split { "Unified" } @else { "Side by side" } } }
        (objects(visible, split))
    }
}

/// Every object that differs.
pub(super) fn objects(visible: &Visible, split: bool) -> Markup {
    let objects = &visible.inspection.objects;
    html! {
        @if visible.hidden > 0 {
            p .dim { (visible.hidden) " more differ that you may not see." }
        }
        @for object in objects.iter().filter(|it| it.fate != Fate::Unchanged || !it.stored.is_empty()) {
            (one(object, split))
        }
    }
}

fn one(object: &Difference, split: bool) -> Markup {
    let (tone, what) = match object.fate {
        Fate::Unchanged => ("dim", "unchanged"),
        Fate::Created => ("good", "would be created"),
        Fate::Changed => ("busy", "would be changed"),
        Fate::Pruned => ("bad", "would be deleted"),
        Fate::Run => ("busy", "would run"),
        Fate::Unknown => ("bad", "could not be compared"),
    };
    html! {
        article .difference {
            h3 { (object.kind) " " @if !object.namespace.is_empty() { (object.namespace) "/" } (object.name)
                " " span class={ "badge " (tone) } { (what) } }
            @if !object.error.is_empty() { p .error { (object.error) } }
            @if !object.stored.is_empty() {
                p { "The API server stores something else than it was sent:" }
                ul .changes { @for field in &object.stored { li { (field.words()) } } }
            }
            @if !object.changes.is_empty() {
                ul .changes { @for change in object.changes.iter().take(100) { li { (field(change)) } } }
            }
            @if !object.text.is_empty() {
                @if split { (side_by_side(&object.text)) } @else { (unified(&object.text)) }
            }
        }
    }
}

/// `data.value: 1 → 2, written by kubectl-edit`.
fn field(change: &Change) -> Markup {
    html! {
        code { (change.path) } ": "
        @match &change.live { Some(live) => { del { (short(live)) } } None => { "nothing" } }
        " → "
        @match &change.desired { Some(desired) => { ins { (short(desired)) } } None => { "nothing" } }
        @if let Some(by) = &change.by {
            span .dim { ", live by " (by.manager)
                @if !by.time.is_empty() { " " (words::ago(&by.time)) } }
        }
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match text.chars().count() {
        0..=120 => text,
        _ => text.chars().take(119).chain(['…']).collect(),
    }
}

fn unified(text: &str) -> Markup {
    html! {
        pre .diff tabindex="0" {
            @for line in text.lines().skip(2).take(LINES) {
                span class=(tone(line)) { (words::line(line)) "\n" }
            }
        }
    }
}

fn tone(line: &str) -> &'static str {
    match line.chars().next() {
        Some('+') => "added",
        Some('-') => "removed",
        Some('@') => "place",
        _ => "",
    }
}

/// Removed lines on the left beside the added ones that follow them on the right.
fn side_by_side(text: &str) -> Markup {
    let mut rows: Vec<(String, String, bool)> = Vec::new();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for line in text.lines().skip(2).take(LINES).chain([" "]) {
        match line.chars().next() {
            Some('-') => removed.push(line.get(1..).unwrap_or_default().to_owned()),
            Some('+') => added.push(line.get(1..).unwrap_or_default().to_owned()),
            _ => {
                for row in 0..removed.len().max(added.len()) {
                    let left = removed.get(row).cloned().unwrap_or_default();
                    rows.push((left, added.get(row).cloned().unwrap_or_default(), true));
                }
                removed.clear();
                added.clear();
                let line = match line.starts_with('@') {
                    true => "…".to_owned(),
                    false => line.get(1..).unwrap_or_default().to_owned(),
                };
                rows.push((line.clone(), line, false));
            }
        }
    }
    html! {
        div .scroll { table .split {
            thead { tr { th scope="col" { "Live" } th scope="col" { "Desired" } } }
            tbody { @for (left, right, differs) in &rows {
                tr {
                    td .removed[*differs && !left.is_empty()] { pre { (words::line(left)) } }
                    td .added[*differs && !right.is_empty()] { pre { (words::line(right)) } }
                }
            } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_beside_each_other() {
        let text = "--- live\n+++ desired\n@@ -1,3 +1,3 @@\n a: 1\n-b: 1\n+b: <2>\n+c: 3\n d: 1\n";
        let found = side_by_side(text).into_string();
        let pair =
            "<td class=\"removed\"><pre>b: 1</pre></td><td class=\"added\"><pre>b: &lt;2&gt;</pre>";
        assert!(found.contains(pair), "{found}");
        assert!(
            found.contains("<pre></pre></td><td class=\"added\"><pre>c: 3</pre>"),
            "{found}"
        );
        assert!(
            unified(text)
                .into_string()
                .contains("<span class=\"removed\">-b: 1")
        );
    }
}
