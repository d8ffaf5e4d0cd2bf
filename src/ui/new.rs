//! New application: a form, and what it would make before it is made.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, response::Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{address, difference, html as page_of, layout, words};
use crate::api::{Api, Identity, Problem, Proposal};
use crate::crd::names::{KIND, VERSION};
use crate::object::{Object, to_yaml};

/// Patterns as browsers read them, where a hyphen in a class is escaped.
const NAME: &str = r"[a-z0-9]([a-z0-9.\-]*[a-z0-9])?";
const LABEL: &str = r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?";

/// The form as it is filled in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Draft {
    name: String,
    /// The namespace of the Application.
    home: String,
    project: String,
    #[serde(rename = "repoURL")]
    repo_url: String,
    path: String,
    target_revision: String,
    /// The namespace that it goes to.
    destination: String,
    automated: bool,
    prune: bool,
    self_heal: bool,
    create_namespace: bool,
    finalizer: bool,
}

impl Draft {
    /// The Application that the form describes; what is as it would be anyway is left out.
    fn manifest(&self, group: &str) -> Value {
        let mut source = json!({"repoURL": self.repo_url});
        for (field, text) in [
            ("path", &self.path),
            ("targetRevision", &self.target_revision),
        ] {
            if !text.is_empty() {
                source[field] = json!(text);
            }
        }
        let project = match self.project.as_str() {
            "" => "default",
            project => project,
        };
        let mut spec = json!({
            "project": project,
            "source": source,
            "destination": {"name": "in-cluster", "namespace": self.destination},
        });
        if self.automated {
            let automated = json!({"prune": self.prune, "selfHeal": self.self_heal});
            spec["syncPolicy"]["automated"] = automated;
        }
        if self.create_namespace {
            spec["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
        }
        let mut metadata = json!({"name": self.name, "namespace": self.home});
        if self.finalizer {
            metadata["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        }
        json!({
            "apiVersion": format!("{group}/{VERSION}"), "kind": KIND,
            "metadata": metadata, "spec": spec,
        })
    }
}

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Response, Problem> {
    let namespaces = api.creatable(&identity).await?;
    if namespaces.is_empty() {
        let why = format!("{} may not create applications", identity.name());
        return Err(Problem::refused(&why));
    }
    let content = html! {
        h1 { "New application" }
        form .new .scripted data-fill="/new/preview" {
            label { "Name" input name="name" required pattern=(NAME) maxlength="253"; }
            label { "Namespace of the Application" select name="home" {
                @for namespace in &namespaces { option { (namespace) } }
            } }
            label { "Project" input name="project" placeholder="default" maxlength="253"; }
            label { "Repository" input name="repoURL" type="url" required placeholder="https://github.com/org/repo"; }
            label { "Path" input name="path" placeholder="deploy"; }
            label { "Branch, tag or commit" input name="targetRevision" placeholder="HEAD"; }
            label { "Namespace it goes to" input name="destination" required pattern=(LABEL) maxlength="63"; }
            label .check { input type="checkbox" name="automated" checked; "Sync by itself after a push" }
            label .check { input type="checkbox" name="prune" checked; "Prune what is no longer desired" }
            label .check { input type="checkbox" name="selfHeal" checked; "Repair drift" }
            label .check { input type="checkbox" name="createNamespace"; "Create the namespace" }
            label .check { input type="checkbox" name="finalizer"; "Deleting the Application deletes its objects" }
            p .error role="alert" hidden {}
            div .buttons { button .go type="submit" { "Preview" } }
        }
        div #preview role="region" aria-live="polite" aria-label="Preview" {}
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

/// What the form would make, as a part of the page.
pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Json(draft): Json<Draft>,
) -> Result<Response, Problem> {
    let manifest = draft.manifest(&api.about().group);
    let proposal = api.propose(&identity, manifest.clone()).await?;
    Ok(page_of(shown(&draft, &manifest, &proposal)))
}

fn shown(draft: &Draft, manifest: &Value, proposal: &Proposal) -> Markup {
    let yaml = Object::new(manifest.clone()).ok();
    let yaml = yaml.and_then(|object| to_yaml(&object).ok());
    let created = address(&draft.home, &draft.name, "");
    html! {
        h2 { "The Application" }
        (words::code(&yaml.unwrap_or_default()))
        div .buttons {
            button .go type="button" data-post="/api/v1/applications" data-body=(manifest.to_string())
                data-then=(created) { "Create" }
        }
        h2 { "What it would make" }
        (difference::objects(&proposal.visible, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_an_application_without_what_goes_without_saying() {
        let draft = |value| -> Draft { serde_json::from_value(value).unwrap() };
        let least = draft(
            json!({"name": "shop", "home": "trimtab", "repoURL": "https://e.com/a",
            "destination": "web"}),
        );
        assert_eq!(
            least.manifest("trimtab.dev"),
            json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"name": "shop", "namespace": "trimtab"},
                "spec": {
                    "project": "default", "source": {"repoURL": "https://e.com/a"},
                    "destination": {"name": "in-cluster", "namespace": "web"},
                },
            })
        );
        let most = draft(
            json!({"name": "shop", "repoURL": "https://e.com/a", "path": "deploy",
            "targetRevision": "v1", "automated": true, "selfHeal": true, "createNamespace": true,
            "finalizer": true, "project": "team"}),
        );
        let made = most.manifest("trimtab.dev");
        assert_eq!(
            made["spec"]["syncPolicy"],
            json!({"automated": {"prune": false, "selfHeal": true}, "syncOptions": ["CreateNamespace=true"]})
        );
        assert_eq!(made["spec"]["source"]["targetRevision"], "v1");
        assert_eq!(made["spec"]["project"], "team");
        assert_eq!(
            made["metadata"]["finalizers"][0],
            "trimtab.dev/resources-finalizer"
        );
    }
}
