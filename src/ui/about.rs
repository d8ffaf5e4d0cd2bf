//! What the agent says about itself.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::html;

use super::{html as page_of, layout};
use crate::api::{Api, Identity, Problem};

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let about = api.about();
    let counts = api.counts();
    let content = html! {
        (layout::as_of(api.as_of().as_ref()))
        h1 { "About" }
        dl {
            dt { "Trimtab" } dd { (about.version) }
            dt { "Kubernetes" } dd { (about.kube_version) }
            dt { "Applications in" } dd { (about.namespaces.join(", ")) }
            dt { "API group" } dd { (about.group) }
            dt { "You" } dd { (identity.name()) }
        }
        h2 { "Right now" }
        dl {
            dt { "Applications" } dd { (counts.applications) }
            dt { "Live objects watched" } dd { (counts.objects) }
            dt { "Repositories" } dd { (counts.repositories) }
            dt { "Open streams" } dd { (counts.streams) }
            @if let Some(memory) = counts.memory_mib { dt { "Memory" } dd { (memory) " MiB resident" } }
        }
        h2 { "Limits" }
        dl {
            dt { "Looks at a repository without a push" } dd { "every " (about.poll_seconds) " s" }
            @for (name, value) in &about.limits { dt { (name) } dd { (value) } }
            dt { "Sandbox of kustomize and helm" } dd { (about.sandbox) }
        }
        h2 { "What a renderer was kept from when the agent started" }
        dl {
            @for (what, holds) in &about.sandbox_checks {
                dt { (what) } dd { @if *holds { "as it should be" } @else { "does not hold" } }
            }
        }
        p { "The API is described in " a href="/api/v1/openapi.json" { "openapi.json" } "." }
    };
    let user = identity.name();
    Ok(page_of(layout::page("About", user, None, &content)))
}
