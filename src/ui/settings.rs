//! New application, and what the agent says about itself.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::html;

use super::{html as page_of, layout};
use crate::api::{Api, Identity, Problem};

pub(super) async fn new_page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let about = api.about();
    let content = html! {
        h1 { "New application" }
        form #new .new .scripted data-new {
            input type="hidden" name="group" value=(about.group);
            label { "Name" input name="name" required pattern="[a-z0-9]([a-z0-9.-]*[a-z0-9])?" maxlength="253"; }
            label { "Namespace of the Application" select name="home" {
                @for namespace in &about.namespaces { option { (namespace) } }
            } }
            label { "Repository" input name="repoURL" type="url" required placeholder="https://github.com/org/repo"; }
            label { "Path" input name="path" placeholder="deploy"; }
            label { "Branch, tag or commit" input name="targetRevision" placeholder="HEAD"; }
            label { "Namespace it goes to" input name="destination" required pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?" maxlength="63"; }
            label .check { input type="checkbox" name="automated" checked; "Sync by itself after a push" }
            label .check { input type="checkbox" name="prune" checked; "Prune what is no longer desired" }
            label .check { input type="checkbox" name="selfHeal" checked; "Repair drift" }
            label .check { input type="checkbox" name="createNamespace"; "Create the namespace" }
            label .check { input type="checkbox" name="finalizer"; "Deleting the Application deletes its objects" }
            label { "YAML as JSON, as it will be stored"
                textarea name="manifest" rows="16" spellcheck="false" readonly {} }
            p .error role="alert" hidden {}
            div .buttons {
                button type="button" data-check { "Check" }
                button .go type="submit" { "Create" }
            }
        }
        noscript { p { "The form needs the script. Without it: " code { "kubectl apply -f application.yaml" } } }
    };
    let user = identity.name();
    Ok(page_of(layout::page(
        "New application",
        user,
        None,
        &content,
    )))
}

pub(super) async fn about_page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let about = api.about();
    let memory = resident();
    let content = html! {
        h1 { "About" }
        dl {
            dt { "Trimtab" } dd { (about.version) }
            dt { "Kubernetes" } dd { (about.kube_version) }
            dt { "Applications in" } dd { (about.namespaces.join(", ")) }
            dt { "API group" } dd { (about.group) }
            @if let Some(memory) = memory { dt { "Memory" } dd { (memory) " MiB resident" } }
            dt { "You" } dd { (identity.name()) }
        }
        p { "The API is described in " a href="/api/v1/openapi.json" { "openapi.json" } "." }
    };
    let user = identity.name();
    Ok(page_of(layout::page("About", user, None, &content)))
}

/// Resident memory of the agent in MiB, where the system says.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}
