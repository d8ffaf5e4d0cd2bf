//! All applications: counts, filters that live in the address, and a table.

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

/// Rows of one page.
const ROWS: usize = 250;

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(mut filter): Query<Filter>,
) -> Result<Response, Problem> {
    let limit = filter.limit.unwrap_or(ROWS).min(ROWS);
    filter.limit = Some(limit);
    let list = api.list(&identity, &filter).await?;
    let content = content(&list, &filter, limit);
    let markup = layout::page("Applications", identity.name(), Some(""), &content);
    Ok(page_of(markup))
}

fn content(list: &List, filter: &Filter, limit: usize) -> Markup {
    let all: usize = list.sync.values().sum();
    html! {
        h1 { "Applications" }
        div .counts {
            (counts("sync", &list.sync, &filter.sync))
            (counts("health", &list.health, &filter.health))
        }
        form .filters method="get" action="/" role="search" data-filters {
            label { "Search" input type="search" name="q" value=(filter.q) placeholder="name, repository, namespace"; }
            (choice("Sync", "sync", &filter.sync, &["Synced", "OutOfSync", "Unknown"]))
            (choice("Health", "health", &filter.health,
                &["Healthy", "Progressing", "Degraded", "Missing", "Suspended", "Unknown"]))
            label { "Label" input name="label" value=(filter.label) placeholder="team=shop"; }
            (choice("Paused", "paused", &filter.paused.map(|it| it.to_string()).unwrap_or_default(),
                &["true", "false"]))
            @for (name, value) in [("repository", &filter.repository), ("namespace", &filter.namespace),
                ("destination", &filter.destination), ("project", &filter.project)] {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            button type="submit" { "Filter" }
            @if list.total != all { a href="/" { "Show all" } }
        }
        @if all == 0 {
            div .empty {
                p { "There is no application yet that you may see." }
                p { a href="/new" { "Create one" } " or apply one with kubectl." }
            }
        } @else if list.items.is_empty() {
            p .empty { "No application matches." }
        } @else {
            (table(&list.items))
            (paging(list.total, filter, limit))
        }
    }
}

fn counts(name: &str, counts: &BTreeMap<String, usize>, chosen: &str) -> Markup {
    html! {
        ul aria-label={ "By " (name) } {
            @for (state, count) in counts {
                li { a href={ "/?" (name) "=" (state) } .chosen[state == chosen]
                    aria-current=[(state == chosen).then_some("true")] {
                    strong { (count) } " " (state)
                } }
            }
        }
    }
}

fn choice(label: &str, name: &str, chosen: &str, values: &[&str]) -> Markup {
    html! {
        label { (label)
            select name=(name) {
                option value="" { "any" }
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

fn paging(total: usize, filter: &Filter, limit: usize) -> Markup {
    let (from, to) = (filter.offset, (filter.offset + limit).min(total));
    let link = |offset: usize| {
        let filter = Filter {
            offset,
            limit: None,
            ..filter.clone()
        };
        format!(
            "/?{}",
            serde_urlencoded::to_string(filter).unwrap_or_default()
        )
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
