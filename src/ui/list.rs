//! All applications: counts, filters that live in the address, and a table or tiles.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};

use super::{address, html as page_of, layout, words};
use crate::api::{Api, Filter, Identity, List, Problem};
use crate::controller::Summary;

/// Applications of one page: a change reads the page again, so it is kept small.
const ROWS: usize = 100;

/// How applications are shown; each has an address of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Table,
    Tiles,
}

impl View {
    fn address(self) -> &'static str {
        match self {
            Self::Table => "/",
            Self::Tiles => "/tiles",
        }
    }
}

pub(super) async fn page(
    api: State<Arc<Api>>,
    identity: Extension<Identity>,
    filter: Query<Filter>,
) -> Result<Response, Problem> {
    show(api, identity, filter, View::Table).await
}

pub(super) async fn tiles_page(
    api: State<Arc<Api>>,
    identity: Extension<Identity>,
    filter: Query<Filter>,
) -> Result<Response, Problem> {
    show(api, identity, filter, View::Tiles).await
}

async fn show(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(mut filter): Query<Filter>,
    view: View,
) -> Result<Response, Problem> {
    let limit = filter.limit.unwrap_or(ROWS).min(ROWS);
    filter.limit = Some(limit);
    let list = api.list(&identity, &filter).await?;
    let creates = !api.creatable(&identity).await?.is_empty();
    let content = html! {
        (layout::as_of(api.as_of().as_ref()))
        div .title { h1 { "Applications" }
            @if creates { a .button href="/new" { "New application" } } }
        (content(&list, &filter, limit, view))
    };
    let markup = layout::page("Applications", identity.name(), Some(""), &content);
    Ok(page_of(markup))
}

fn content(list: &List, filter: &Filter, limit: usize, view: View) -> Markup {
    let all: usize = list.sync.values().sum();
    let base = view.address();
    html! {
        div .counts {
            (counts("sync", &list.sync, &filter.sync, |state| with(base, &Filter {
                sync: state.to_owned(), ..first(filter) })))
            (counts("health", &list.health, &filter.health, |state| with(base, &Filter {
                health: state.to_owned(), ..first(filter) })))
        }
        form .filters method="get" action=(base) role="search" data-filters {
            label { "Search" input type="search" name="q" value=(filter.q) placeholder="name, repository, namespace"; }
            (choice("Sync", "sync", &filter.sync, "any", &["Synced", "OutOfSync", "Unknown"]))
            (choice("Health", "health", &filter.health, "any",
                &["Healthy", "Progressing", "Degraded", "Missing", "Suspended", "Unknown"]))
            label { "Label" input name="label" value=(filter.label) placeholder="team=shop"; }
            (choice("Paused", "paused", &filter.paused.map(|it| it.to_string()).unwrap_or_default(), "any",
                &["true", "false"]))
            (choice("Order", "sort", &filter.sort, "by name", &["worst", "recent"]))
            (more_filters(filter))
            button type="submit" { "Filter" }
            @if list.total != all { a href=(base) { "Show all" } }
            (other_view(view, filter))
        }
        @if all == 0 {
            div .empty {
                p { "There is no application yet that you may see." }
                p { "Create one here, if you may, or apply one with kubectl." }
            }
        } @else if list.items.is_empty() {
            p .empty { "No application matches." }
        } @else {
            @if view == View::Table { (table(&list.items)) } @else { (tiles(&list.items)) }
            (paging(base, list.total, filter, limit))
        }
    }
}

/// The filters that few need, folded away while they are empty.
fn more_filters(filter: &Filter) -> Markup {
    let fields = [
        ("Repository", "repository", &filter.repository),
        ("Namespace", "namespace", &filter.namespace),
        ("Goes to", "destination", &filter.destination),
        ("Project", "project", &filter.project),
    ];
    let used = fields.iter().any(|(_, _, value)| !value.is_empty());
    html! {
        details open[used] { summary { "More filters" }
            div .filters { @for (label, name, value) in fields {
                label { (label) input name=(name) value=(value); }
            } }
        }
    }
}

/// Leads to the other way to show the same applications.
fn other_view(view: View, filter: &Filter) -> Markup {
    let (other, text) = match view {
        View::Table => (View::Tiles, "As tiles"),
        View::Tiles => (View::Table, "As a table"),
    };
    html! { a href=(with(other.address(), &first(filter))) { (text) } }
}

/// An address with what of a filter is chosen.
fn with(base: &str, filter: &Filter) -> String {
    let query = serde_urlencoded::to_string(filter).unwrap_or_default();
    let chosen: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.ends_with('=') && *pair != "offset=0")
        .collect();
    match chosen.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", chosen.join("&")),
    }
}

fn tiles(rows: &[Arc<Summary>]) -> Markup {
    html! {
        ul .tiles { @for row in rows {
            li data-app={ (row.namespace) "/" (row.name) } class=(tone(row)) {
                h2 { a href=(address(&row.namespace, &row.name, "")) { (row.name) } }
                p { (words::sync(row.sync)) " " (words::health(row.health)) }
                @if row.paused { span .badge .dim { "paused" } }
                @if !row.message.is_empty() { p .message { (row.message) } }
                p .source { (row.repository) " " (row.path) }
                p .source { "→ " (row.destination) " " (words::commit(&row.revision, &row.repository)) }
            }
        } }
    }
}

fn tone(row: &Summary) -> &'static str {
    row.health
        .map_or("dim", |health| words::health_sign(health).0)
}

/// The first page of the same choice.
fn first(filter: &Filter) -> Filter {
    Filter {
        offset: 0,
        limit: None,
        ..filter.clone()
    }
}

/// How many there are of each state; one that is chosen is taken back by its own link.
fn counts(
    name: &str,
    counts: &BTreeMap<String, usize>,
    chosen: &str,
    to: impl Fn(&str) -> String,
) -> Markup {
    html! {
        ul aria-label={ "By " (name) } {
            @for (state, count) in counts {
                li { a href=(to(if state == chosen { "" } else { state })) .chosen[state == chosen]
                    aria-current=[(state == chosen).then_some("true")] {
                    strong { (count) } " " (state)
                } }
            }
        }
    }
}

fn choice(label: &str, name: &str, chosen: &str, none: &str, values: &[&str]) -> Markup {
    html! {
        label { (label)
            select name=(name) {
                option value="" { (none) }
                @for value in values {
                    option value=(value) selected[*value == chosen] { (value) }
                }
            }
        }
    }
}

fn table(rows: &[Arc<Summary>]) -> Markup {
    html! {
        div .scroll {
            table .list {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Sync" } th scope="col" { "Health" }
                    th scope="col" { "Revision" } th scope="col" { "Source" }
                    th scope="col" { "Goes to" } th scope="col" { "Last sync" }
                } }
                tbody { @for row in rows { (self::row(row)) } }
            }
        }
    }
}

/// One row; the script replaces its cells by those of a fresh page.
fn row(summary: &Summary) -> Markup {
    let id = format!("{}/{}", summary.namespace, summary.name);
    html! {
        tr data-app=(id) {
            td {
                a href=(address(&summary.namespace, &summary.name, "")) { (summary.name) }
                @if summary.paused { " " span .badge .dim { "paused" } }
                @if summary.terminating { " " span .badge .busy { "deleting" } }
                @if !summary.message.is_empty() { div .message { (summary.message) } }
            }
            td { (words::sync(summary.sync))
                @if summary.differing > 0 { " " small { (summary.differing) " of " (summary.objects) } } }
            td { (words::health(summary.health)) }
            td { (words::commit(&summary.revision, &summary.repository)) }
            td .source { (summary.repository) @if !summary.path.is_empty() { " " (summary.path) } }
            td { (summary.destination) }
            td { @if !summary.operated_at.is_empty() { (words::ago(&summary.operated_at)) } }
        }
    }
}

fn paging(base: &str, total: usize, filter: &Filter, limit: usize) -> Markup {
    let (from, to) = (filter.offset, (filter.offset + limit).min(total));
    let link = |offset: usize| {
        let filter = Filter {
            offset,
            limit: None,
            ..filter.clone()
        };
        with(base, &filter)
    };
    html! {
        @if total > limit {
            nav .paging aria-label="Pages" {
                @if from > 0 { a href=(link(from.saturating_sub(limit))) rel="prev" { "Before" } }
                span { (from + 1) "–" (to) " of " (total) }
                @if to < total { a href=(link(to)) rel="next" { "Next" } }
            }
        }
    }
}
