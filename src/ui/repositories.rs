//! Repositories: when each was asked, what is wrong with it, and who uses it.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{address, html as page_of, layout, words};
use crate::api::{Api, Identity, Problem, RepositoryRow};

/// Applications of one repository that are named.
const USERS: usize = 100;

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let rows = api.repositories(&identity).await?;
    let content = html! {
        h1 { "Repositories" }
        @if rows.is_empty() { p .empty { "No application that you may see follows a repository." } }
        @for row in &rows { (one(row)) }
    };
    let user = identity.name();
    Ok(page_of(layout::page(
        "Repositories",
        user,
        Some(""),
        &content,
    )))
}

fn one(row: &RepositoryRow) -> Markup {
    html! {
        section .card aria-label=(row.url) {
            div .title {
                h2 { (row.url) }
                @if row.error.is_some() { span .badge .bad { "cannot be read" } }
                @else if row.last_asked.is_empty() { span .badge .busy { "being read" } }
                @else { span .badge .good { "read" } }
            }
            @if let (Some(error), Some(since)) = (&row.error, &row.stale_since) {
                p .error { (error) }
                p { "Stale since " (words::ago(since)) ". What was deployed last stays as it is and is \
                    repaired; it is tried again with growing pauses, at most 3 minutes apart. "
                    a href="/repositories" { "Look again" } }
            }
            dl {
                @if !row.last_asked.is_empty() { dt { "Asked" } dd { (words::ago(&row.last_asked)) } }
                @if let Some(seconds) = row.next_in_seconds {
                    dt { "Next" } dd { "in " (seconds) " s, or with the next push" }
                }
            }
            div .scroll { table {
                thead { tr { th scope="col" { "Application" } th scope="col" { "Follows" }
                    th scope="col" { "Commit" } } }
                tbody { @for user in row.users.iter().take(USERS) {
                    tr {
                        td { a href=(address(&user.namespace, &user.name, "")) {
                            (user.namespace) "/" (user.name) } }
                        td { (user.target_revision) }
                        td { (words::commit(&user.commit, &row.url)) }
                    }
                } }
            } }
            @if row.users.len() > USERS { p .dim { "and " (row.users.len() - USERS) " more" } }
        }
    }
}
