//! Live objects: their manifest, Events and logs, and what people do to them by hand.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::actions::Done;
use super::body::Fields;
use super::stream::Visit;
use super::{Api, Identity, Problem};
use crate::cluster::{LogRequest, Served};
use crate::crd::{Application, ApplicationKey};
use crate::diff::{as_manifest, masked};
use crate::object::{Kind, Object, ResourceKey, is_dns_label, is_dns_name};
use crate::server::Client;

/// Lines of a log when not given.
const TAIL: u32 = 500;
const MOST_LINES: u32 = 100_000;
/// Events of one answer.
const EVENTS: usize = 200;

/// Names one object.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ObjectQuery {
    /// API group, empty for the core.
    group: String,
    /// API version.
    version: String,
    kind: String,
    /// Namespace of the object, empty for none.
    resource_namespace: String,
    /// Name of the object.
    resource: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LogQuery {
    /// Namespace of the pod.
    resource_namespace: String,
    /// Name of the pod.
    resource: String,
    /// The only one when not given.
    container: String,
    /// Goes on with what is written later.
    follow: bool,
    /// Of the container before its last restart.
    previous: bool,
    /// Only what is younger, in seconds.
    since: Option<u32>,
    /// So many of the last lines, 500 when not given, at most 100000.
    tail: Option<u32>,
}

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct EventRow {
    /// The last time (RFC 3339).
    pub(crate) at: String,
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) object: String,
    pub(crate) count: i64,
}

/// What a person does to one live object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) enum LiveAction {
    Restart {},
    Scale { replicas: u32 },
    Delete {},
}

/// What somebody may do to one live object.
pub(crate) struct LiveRights {
    pub(crate) patch: bool,
    pub(crate) scale: bool,
    pub(crate) delete: bool,
}

impl ObjectQuery {
    /// As the query of an address.
    pub(crate) fn to_query(&self) -> String {
        serde_urlencoded::to_string(self).unwrap_or_default()
    }

    /// The object that is named, if it can be one.
    pub(crate) fn key(&self) -> Result<ResourceKey, Problem> {
        // All of it ends up in an address of the API server. Names of roles may hold a colon.
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let named = |text: &str| {
            !matches!(text, "" | "." | "..") && text.len() <= 253 && text.chars().all(in_name)
        };
        let word = |text: &str| {
            !text.is_empty() && text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric())
        };
        let group = self.group.is_empty() || is_dns_name(&self.group);
        let space = self.resource_namespace.is_empty() || is_dns_label(&self.resource_namespace);
        if !(named(&self.resource) && word(&self.kind) && word(&self.version) && group && space) {
            return Err(Problem::wrong(
                "name an object by group, version, kind, resourceNamespace and resource",
            ));
        }
        Ok(ResourceKey {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.resource_namespace.clone(),
            name: self.resource.clone(),
        })
    }
}

pub(super) async fn resource(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<ObjectQuery>,
) -> Result<Json<Value>, Problem> {
    let live = api.live(&identity, &query).await?;
    Ok(Json(as_manifest(&live).into_value()))
}

pub(super) async fn desired(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<ObjectQuery>,
) -> Result<Json<Value>, Problem> {
    let application = api.application(&ApplicationKey { namespace, name }).await?;
    let desired = api.desired(&identity, &application, &query).await?;
    let desired = desired.ok_or_else(|| Problem::missing("such desired object"))?;
    Ok(Json(desired.into_value()))
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<ObjectQuery>,
) -> Result<Json<Vec<EventRow>>, Problem> {
    let key = ApplicationKey { namespace, name };
    api.events(&identity, &key, &query).await.map(Json)
}

pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
    Extension(client): Extension<Client>,
) -> Result<Response, Problem> {
    let object = ObjectQuery {
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        resource_namespace: query.resource_namespace,
        resource: query.resource,
        group: String::new(),
    };
    let key = object.key()?;
    let served = api.permitted(&identity, "get", &key, "v1", "log").await?;
    debug_assert!(served.namespaced);
    let wanted = LogRequest {
        container: query.container,
        follow: query.follow,
        previous: query.previous,
        since: query.since.map(|since| i64::from(since).max(1)),
        tail: Some(query.tail.unwrap_or(TAIL).min(MOST_LINES).into()),
    };
    let visit = Visit::begin(Arc::clone(&api), identity, headers, client)?;
    let lines = api.cluster.logs(&key.namespace, &key.name, &wanted).await?;
    let lines = lines.map_ok(|mut line| {
        line.push('\n');
        line
    });
    let lines = futures::StreamExt::take_until(lines, Box::pin(reads_until_refused(visit, key)));
    let head = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((head, Body::from_stream(lines)).into_response())
}

/// Waits until somebody may not read the log of this pod any more, or the agent ends.
async fn reads_until_refused(mut visit: Visit, pod: ResourceKey) {
    while visit.pause().await.is_some() {
        let Visit { api, identity, .. } = &visit;
        let permitted = api.permitted(identity, "get", &pod, "v1", "log").await;
        if permitted.is_err() {
            return;
        }
    }
}

pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<ObjectQuery>,
    Fields(action): Fields<LiveAction>,
) -> Result<Json<Done>, Problem> {
    let key = query.key()?;
    let (verb, subresource) = match &action {
        LiveAction::Restart {} => ("patch", ""),
        LiveAction::Scale { .. } => ("patch", "scale"),
        LiveAction::Delete {} => ("delete", ""),
    };
    let served = api
        .permitted(&identity, verb, &key, &query.version, subresource)
        .await?;
    let done = match action {
        LiveAction::Restart {} => {
            if !matches!(
                key.kind.as_str(),
                "Deployment" | "StatefulSet" | "DaemonSet"
            ) {
                return Err(Problem::wrong("a workload can be restarted, nothing else"));
            }
            // As `kubectl rollout restart`: the annotation is not ours, so it is no drift.
            let at = Timestamp::now().to_string();
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": at});
            let template = json!({"metadata": {"annotations": annotations}});
            let patch = json!({"spec": {"template": template}});
            api.cluster.patch_live(&served, &key, "", &patch).await?;
            format!("restarted {key}")
        }
        LiveAction::Scale { replicas } => {
            let patch = json!({"spec": {"replicas": replicas}});
            api.cluster
                .patch_live(&served, &key, "scale", &patch)
                .await?;
            format!("scaled {key} to {replicas}")
        }
        LiveAction::Delete {} => {
            let live = api.cluster.get(&served, &key).await?;
            let live = live.ok_or_else(|| Problem::missing(&key.to_string()))?;
            api.cluster.delete_live(&served, &key, live.uid()).await?;
            format!("deleted {key}")
        }
    };
    tracing::info!(user = identity.name(), object = %key, done, "an action on a live object");
    Ok(Json(Done { done }))
}

impl Api {
    /// One live object, with the values of a Secret masked.
    pub(crate) async fn live(
        &self,
        identity: &Identity,
        query: &ObjectQuery,
    ) -> Result<Object, Problem> {
        let key = query.key()?;
        let served = self
            .permitted(identity, "get", &key, &query.version, "")
            .await?;
        let live = self.cluster.get(&served, &key).await?;
        live.map(masked)
            .ok_or_else(|| Problem::missing(&key.to_string()))
    }

    /// One object as an application desires it; none when it does not. Masked as the live one.
    pub(crate) async fn desired(
        &self,
        identity: &Identity,
        application: &Application,
        query: &ObjectQuery,
    ) -> Result<Option<Object>, Problem> {
        let key = query.key()?;
        self.permitted(identity, "get", &key, &query.version, "")
            .await?;
        Ok(self.registry.manifest(application, &key).await?)
    }

    /// What somebody may do to it; what they may not is not offered.
    pub(crate) async fn live_actions(
        &self,
        identity: &Identity,
        query: &ObjectQuery,
    ) -> Result<LiveRights, Problem> {
        let key = query.key()?;
        let kind = Kind {
            group: key.group.clone(),
            version: query.version.clone(),
            kind: key.kind.clone(),
        };
        let served = self.cluster.served(&kind).await?;
        let may = async |verb, subresource| {
            let asked = self
                .permissions
                .live(identity, verb, &served, &key, subresource);
            asked.await
        };
        Ok(LiveRights {
            patch: may("patch", "").await?,
            scale: may("patch", "scale").await?,
            delete: may("delete", "").await?,
        })
    }

    /// How a kind is served, if somebody may do this to an object of it.
    async fn permitted(
        &self,
        identity: &Identity,
        verb: &str,
        key: &ResourceKey,
        version: &str,
        subresource: &str,
    ) -> Result<Served, Problem> {
        let kind = Kind {
            group: key.group.clone(),
            version: version.to_owned(),
            kind: key.kind.clone(),
        };
        let served = self.cluster.served(&kind).await?;
        let may = self
            .permissions
            .live(identity, verb, &served, key, subresource);
        if may.await? {
            return Ok(served);
        }
        let what = format!("{verb} {key}");
        Err(Problem::forbidden(identity.name(), what.trim()))
    }

    /// The newest Events first: of the object that is named, or of the Application itself.
    pub(crate) async fn events(
        &self,
        identity: &Identity,
        application: &ApplicationKey,
        query: &ObjectQuery,
    ) -> Result<Vec<EventRow>, Problem> {
        let (kind, namespace, name) = match query.resource.is_empty() {
            true => (
                crate::crd::names::KIND.to_owned(),
                application.namespace.clone(),
                application.name.clone(),
            ),
            false => {
                let key = query.key()?;
                (key.kind, key.namespace, key.name)
            }
        };
        // Events of what has no namespace are in `default`.
        let place = match namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let key = ResourceKey {
            group: String::new(),
            kind: "Event".to_owned(),
            namespace: place.to_owned(),
            name: String::new(),
        };
        let served = self.permitted(identity, "list", &key, "v1", "").await?;
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let found = self.cluster.list(&served, place, &fields).await?;
        let mut rows: Vec<EventRow> = found.iter().map(row).collect();
        rows.sort_by(|a, b| b.at.cmp(&a.at));
        rows.truncate(EVENTS);
        Ok(rows)
    }
}

/// An Event, whichever of the two APIs it was written by.
fn row(event: &Object) -> EventRow {
    let text = |pointer: &str| {
        let found = event.get(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let times = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/firstTimestamp",
    ];
    let at = times.iter().map(|pointer| text(pointer));
    let counts = ["/series/count", "/count"];
    let count = counts
        .iter()
        .find_map(|pointer| event.get(pointer)?.as_i64());
    EventRow {
        at: at.into_iter().find(|at| !at.is_empty()).unwrap_or_default(),
        warning: text("/type") == "Warning",
        reason: text("/reason"),
        message: text("/message"),
        object: format!(
            "{}/{}",
            text("/involvedObject/kind"),
            text("/involvedObject/name")
        ),
        count: count.unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_never_reaches_an_address() {
        let query = |version: &str, kind: &str, namespace: &str, name: &str| ObjectQuery {
            group: String::new(),
            version: version.into(),
            kind: kind.into(),
            resource_namespace: namespace.into(),
            resource: name.into(),
        };
        for (query, expected) in [
            (query("v1", "Pod", "shop", "web-1"), true),
            (query("v1", "ClusterRole", "", "system:node.x"), true),
            (query("v1", "Pod", "shop", ".."), false),
            (query("v1", "Pod", "shop", "a/b"), false),
            (query("v1", "Pod", "shop", "a%2fb"), false),
            (query("../v1", "Pod", "shop", "a"), false),
            (query("v1", "Pod?x", "shop", "a"), false),
            (query("v1", "Pod", "a/b", "a"), false),
            (query("v1", "Pod", "shop", "a b"), false),
        ] {
            assert_eq!(query.key().is_ok(), expected, "{query:?}");
        }
    }
}
