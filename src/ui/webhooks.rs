//! Webhooks: each receiver with how to set it up at its forge, and what its last deliveries came to.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{address, html as page_of, layout, waterfall, words};
use crate::api::{Api, DeliveryRow, Identity, Problem, ReceiverRow};
use crate::trigger::Verdict;

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let rows = api.receivers(&identity).await?;
    let content = html! {
        h1 { "Webhooks" }
        @if rows.is_empty() {
            p .empty { "There is no receiver: pushes are noticed by polling. Name one under "
                code { "receivers" } " in the settings to have them at once." }
        }
        @for row in &rows { (one(row)) }
    };
    let user = identity.name();
    Ok(page_of(layout::page("Webhooks", user, Some(""), &content)))
}

fn one(row: &ReceiverRow) -> Markup {
    html! {
        section .card aria-label=(row.name) {
            h2 { (row.name) " " span .badge .dim { (row.provider) } }
            p { "Address: " code { "https://<your host>" (row.path) } ", on the port for webhooks (8081)." }
            details { summary { "Set it up at " (row.provider) } (set_up(&row.provider)) }
            @if !row.answers.is_empty() {
                ul .tallies aria-label="Answers" {
                    @for it in &row.answers { li { strong { (it.count) } " " (it.answer.replace('_', " ")) } }
                }
            }
            @if row.deliveries.is_empty() { p .empty { "Nothing was delivered since the agent began." } }
            @else {
                div .scroll { table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Event" }
                        th scope="col" { "Repository and ref" } th scope="col" { "Came to" } } }
                    tbody { @for delivery in &row.deliveries { (self::delivery(delivery)) } }
                } }
            }
        }
    }
}

/// What to enter at a forge.
fn set_up(provider: &str) -> Markup {
    html! {
        @if provider == "GitLab" {
            ol {
                li { "In the project: Settings, Webhooks, Add new webhook." }
                li { "URL: the address above. Secret token: the content of the receiver's secret file, \
                    or a signing token where the receiver has one." }
                li { "Trigger: push events, and tag push events if applications follow tags." }
                li { "Test, Push events: it must be answered with 202." }
            }
        } @else {
            ol {
                li { "In the repository: Settings, Webhooks, Add webhook." }
                li { "Payload URL: the address above. Content type: application/json." }
                li { "Secret: the content of the receiver's secret file." }
                li { "Just the push event. The ping that follows must be answered with 202." }
            }
        }
    }
}

fn delivery(row: &DeliveryRow) -> Markup {
    html! {
        tr {
            td { (words::ago(&row.at)) }
            td { (row.event) @if !row.id.is_empty() { div .message { (row.id) } } }
            td { bdi { (row.repository) } " " @if !row.reference.is_empty() { code { bdi { (row.reference) } } } }
            td {
                @if row.event == "push" && row.verdicts.is_empty() && row.more == 0 {
                    "no such source: no application follows this repository"
                }
                ul .plain { @for it in &row.verdicts {
                    li {
                        a href=(address(&it.namespace, &it.name, "history")) { (it.namespace) "/" (it.name) }
                        ": " (verdict(it.verdict))
                        @if let Some(timing) = &it.timing {
                            details { summary { (spoken(timing)) } (waterfall::bars(timing)) }
                        }
                    }
                } }
                @if row.more > 0 { p .dim { "and " (row.more) " more" } }
            }
        }
    }
}

/// The last stage that is known.
fn spoken(timing: &crate::crd::Timing) -> String {
    match (timing.healthy_ms, timing.applied_ms) {
        (Some(ms), _) => format!("healthy after {ms} ms"),
        (None, 0) => format!("rendered after {} ms", timing.rendered_ms),
        (None, ms) => format!("applied after {ms} ms"),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Waiting => "the repository is being asked",
        Verdict::Changed => "matched and changed",
        Verdict::Unchanged => "tree unchanged",
        Verdict::OtherRevision => "follows another branch or tag",
        Verdict::Failed => "the repository could not be read",
    }
}
