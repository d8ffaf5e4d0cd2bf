//! One object of an application: desired beside live, its log and Events, and what is done to it by
//! hand.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use maud::{Markup, html};
use serde_json::Value;

use super::application::{Head, Named, event_table};
use super::{layout, words};
use crate::api::{Api, Identity, LiveRights, ObjectQuery, Problem};
use crate::crd::{Health, HealthCode, ResourceStatus};
use crate::diff::as_manifest;
use crate::object::{Object, to_yaml};

/// How an object does; of one that is not there what is known of it, such as that it completed.
fn health_of(live: Option<&Object>, row: Option<&ResourceStatus>) -> Option<Health> {
    let Some(live) = live else {
        let said = row.and_then(|row| row.health.clone());
        return said.filter(|health| health.status != HealthCode::Missing);
    };
    crate::health::assess(live)
}

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Query(query): Query<ObjectQuery>,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let key = query.key()?;
    let live = match api.live(&identity, &query).await {
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => None,
        live => Some(live?),
    };
    let mut listed = head.application.status.resources.iter();
    let row = listed.find(|row| row.is(&key));
    let managed = head.application.status.manages(&key);
    // A pod that a Deployment owns is desired by nobody: nothing is rendered for it.
    let (desired, unknown) = match managed {
        false => (None, None),
        true => match api.desired(&identity, &head.application, &query).await {
            Ok(desired) => (desired, None),
            Err(problem) => (None, Some(problem.message().to_owned())),
        },
    };
    if live.is_none() && !managed {
        return Err(Problem::missing(&key.to_string()));
    }
    let events = api.events(&identity, &head.application.key, &query).await;
    let health = health_of(live.as_ref(), row);
    let may = api.live_actions(&identity, &query).await?;
    let yaml = |object: &Object| to_yaml(&as_manifest(object)).unwrap_or_default();
    let content = html! {
        div .title { h2 { (key) } @if live.is_some() || health.is_some() {
            (words::health_of(health.as_ref())) } }
        @if let Some(message) = health.map(|health| health.message).filter(|it| !it.is_empty()) {
            p { (message) }
        }
        @if managed {
            p { a href={ (head.page("diff")) "?all=true&kind=" (key.kind) "&resource=" (key.name) } {
                "What differs of it" } }
        }
        @if let Some(live) = &live {
            (live_actions(&format!("{}?{}", head.action("resource"), query.to_query()), live, &may))
            @if key.kind == "Pod" {
                div data-keep={ "log " (key) } {
                h3 { "Log" }
                (log_choices(live))
                pre .log tabindex="0" aria-label="Log" data-log={ (head.action("logs"))
                    "?follow=true&resourceNamespace=" (key.namespace) "&resource=" (key.name)
                    "&container=" (default_container(live)) } {}
                noscript { p { "The log needs the script; " code { "kubectl logs" } " does not." } }
                }
            }
        }
        div .beside {
            @if let Some(desired) = &desired {
                div { h3 { "Desired" } (words::code(&yaml(desired))) }
            }
            div { h3 { "Live" }
                @match &live {
                    Some(live) => { (words::code(&yaml(live))) }
                    None => { p .empty { "It is not there." } }
                }
            }
        }
        @if let Some(why) = &unknown { p .dim { "What is desired cannot be told: " (why) } }
        h3 { "Events" }
        @match &events {
            Ok(rows) => { (event_table(rows)) }
            Err(problem) => { p .dim { (problem.message()) } }
        }
    };
    Ok(head.show("Object", &content))
}

/// What this person may do to a live object.
fn live_actions(target: &str, live: &Object, may: &LiveRights) -> Markup {
    let kind = live.kind();
    let workload = matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet");
    html! {
        div .actions {
            @if workload && may.patch { (layout::button("Restart", target, r#"{"restart":{}}"#)) }
            @if scales(kind) && may.scale { (scale_dialog(target, live)) }
            @if may.delete { (delete_live(target, live.name())) }
        }
    }
}

/// The containers of a pod, those that run first.
fn containers(pod: &Object) -> Vec<&str> {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let lists = lists
        .iter()
        .filter_map(|pointer| pod.get(pointer)?.as_array());
    lists
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .collect()
}

/// The container whose log is shown when nobody chose one, as kubectl does it.
fn default_container(pod: &Object) -> &str {
    let all = containers(pod);
    let named = pod.annotation("kubectl.kubernetes.io/default-container");
    let named = named.filter(|name| all.contains(name));
    named.or(all.first().copied()).unwrap_or_default()
}

/// Which log is shown: the script puts these into its request.
fn log_choices(pod: &Object) -> Markup {
    let chosen = default_container(pod);
    html! {
        form .filters .scripted data-log-choices {
            label { "Container" select name="container" {
                @for name in containers(pod) {
                    option value=(name) selected[name == chosen] { (name) }
                }
            } }
            label { "Last lines" select name="tail" {
                @for lines in ["500", "100", "2000"] { option { (lines) } }
            } }
            label { "Younger than" select name="since" {
                option value="" { "any" } option value="300" { "5 min" } option value="3600" { "1 h" }
            } }
            label .check { input type="checkbox" name="previous" value="true";
                "before the last restart" }
        }
    }
}

fn scales(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet")
}

fn scale_dialog(target: &str, live: &Object) -> Markup {
    let send = layout::Send {
        title: "Scale",
        go: "Scale",
        method: "POST",
        to: target,
    };
    let now = live
        .get("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let fields = html! {
        label { "Replicas" input type="number" name="replicas" min="0" max="10000" required
            value=(now) data-inside="scale"; }
        p .dim { "With self-heal, what the source says about replicas is put back at once." }
    };
    layout::dialog("scale", "Scale…", &send, &fields)
}

fn delete_live(target: &str, name: &str) -> Markup {
    let send = layout::Send {
        title: "Delete this live object?",
        go: "Delete",
        method: "POST",
        to: target,
    };
    let fields = html! {
        p { strong { (name) } " is deleted now. What is desired is made again by the next sync." }
        input type="hidden" name="delete" value="{}" data-json;
    };
    layout::dialog("delete-live", "Delete object…", &send, &fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_log_is_that_of_the_container_that_kubectl_takes() {
        let pod = |annotations: Value| {
            let containers = [json!({"name": "one"}), json!({"name": "two"})];
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": annotations},
                "spec": {"containers": containers, "initContainers": [{"name": "first"}]},
            });
            Object::new(pod).unwrap()
        };
        let name = "kubectl.kubernetes.io/default-container";
        for (annotations, expected) in [
            (json!({}), "one"),
            (json!({name: "two"}), "two"),
            (json!({name: "gone"}), "one"),
        ] {
            assert_eq!(default_container(&pod(annotations)), expected);
        }
        assert_eq!(containers(&pod(json!({}))), ["one", "two", "first"]);
    }
}
