//! Applications: the list, one of them, and what differs.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::{Filter, health_name};
use super::{About, Api, Counts, Explanation, Identity, Problem, explain};
use crate::cluster::AsOf;
use crate::controller::{Against, Fate, Inspection, Summary};
use crate::crd::{Application, ApplicationKey};
use crate::object::{Object, ResourceKey, redact_url, rfc3339};

/// Applications of one answer.
const MOST: usize = 5000;

/// A list of applications.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct List {
    /// How many the filter takes.
    pub(crate) total: usize,
    /// How many there are by sync and by health, before the filter.
    pub(crate) sync: BTreeMap<String, usize>,
    pub(crate) health: BTreeMap<String, usize>,
    pub(crate) items: Vec<Arc<Summary>>,
}

/// One application.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Detail {
    /// The Application as it is stored.
    application: Value,
    explanation: Explanation,
    /// What the source is at; none where the agent has not read it.
    commit: Option<Commit>,
    /// What the caller may do.
    may: BTreeMap<&'static str, bool>,
}

/// A commit, in its author's words.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// `Name <address>`.
    pub(crate) author: String,
    /// The first 2 KiB.
    pub(crate) message: String,
    /// When it was committed (RFC 3339).
    pub(crate) at: String,
}

/// The agent, and who asks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AboutAnswer {
    user: String,
    agent: About,
    now: Counts,
    /// Set while the cluster does not answer: what is known of it is as of then.
    #[serde(rename = "asOf", skip_serializing_if = "Option::is_none")]
    as_of: Option<AsOf>,
}

/// What differs, as far as the caller may see it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Visible {
    /// How many objects the caller may not `get`.
    pub(crate) hidden: usize,
    #[serde(flatten)]
    #[schemars(with = "Value")]
    pub(crate) inspection: Inspection,
}

/// What is to be compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub(crate) struct DiffQuery {
    /// A branch, tag or commit instead of the newest.
    revision: String,
    /// The id of a deployment of the history.
    deployment: Option<i64>,
    /// Only objects of this name.
    resource: String,
    /// Only objects of this kind.
    kind: String,
    /// Compares also what is known to be in sync.
    all: bool,
}

impl DiffQuery {
    /// Whether every object is meant.
    pub(crate) fn is_whole(&self) -> bool {
        self.resource.is_empty() && self.kind.is_empty()
    }

    /// As the query of an address.
    pub(crate) fn to_query(&self) -> String {
        serde_urlencoded::to_string(self).unwrap_or_default()
    }

    /// What live is compared with.
    pub(crate) fn against(&self) -> Result<Against, Problem> {
        match (&self.revision, self.deployment) {
            (revision, None) if revision.is_empty() => Ok(Against::Now),
            (revision, None) => Ok(Against::Revision(revision.clone())),
            (revision, Some(id)) if revision.is_empty() => Ok(Against::Deployment(id)),
            _ => Err(Problem::wrong("give a revision or a deployment, not both")),
        }
    }
}

/// Actions that pages offer, with the verbs that they need.
pub(super) const ACTIONS: [&str; 6] = ["sync", "refresh", "rollback", "pause", "update", "delete"];

pub(super) async fn about(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Json<AboutAnswer> {
    Json(AboutAnswer {
        user: identity.name().to_owned(),
        agent: api.about.clone(),
        now: api.counts(),
        as_of: api.as_of(),
    })
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(filter): Query<Filter>,
) -> Result<Json<List>, Problem> {
    api.list(&identity, &filter).await.map(Json)
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Detail>, Problem> {
    let key = ApplicationKey { namespace, name };
    let application = api.application(&key).await?;
    let may = api.actions(&identity, &key).await?;
    let explanation = explain(&application);
    let commit = api.commit(&key, &application.status.sync.revision).await;
    Ok(Json(Detail {
        commit,
        application: stored(application),
        explanation,
        may,
    }))
}

pub(super) async fn diff(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Visible>, Problem> {
    let key = ApplicationKey { namespace, name };
    let against = query.against()?;
    api.compare(&identity, &key, against, &query)
        .await
        .map(Json)
}

pub(super) async fn diff_manifests(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<DiffQuery>,
    Json(manifests): Json<Vec<Value>>,
) -> Result<Json<Visible>, Problem> {
    let key = ApplicationKey { namespace, name };
    if !query.revision.is_empty() || query.deployment.is_some() {
        return Err(Problem::wrong(
            "manifests are compared as they are: no revision, no deployment",
        ));
    }
    let objects: Result<Vec<Object>, _> = manifests.into_iter().map(Object::new).collect();
    let objects = objects.map_err(|error| Problem::wrong(error.to_string()))?;
    let against = Against::Manifests(objects);
    api.compare(&identity, &key, against, &query)
        .await
        .map(Json)
}

impl Api {
    /// The applications that somebody may list and the filter takes.
    pub(crate) async fn list(&self, identity: &Identity, filter: &Filter) -> Result<List, Problem> {
        let mut all = self.registry.summaries();
        let mut permitted: BTreeMap<String, bool> = BTreeMap::new();
        for summary in &all {
            if !permitted.contains_key(&summary.namespace) {
                let may = self.may_list(identity, &summary.namespace).await?;
                permitted.insert(summary.namespace.clone(), may);
            }
        }
        all.retain(|summary| permitted.get(&summary.namespace) == Some(&true));
        let (mut sync, mut health) = (BTreeMap::new(), BTreeMap::new());
        for summary in &all {
            *sync.entry(summary.sync.to_string()).or_default() += 1;
            *health.entry(health_name(summary)).or_default() += 1;
        }
        all.retain(|summary| filter.takes(summary));
        filter.order(&mut all)?;
        let total = all.len();
        let limit = filter.limit.unwrap_or(MOST).min(MOST);
        let items = all.into_iter().skip(filter.offset).take(limit).collect();
        Ok(List {
            total,
            sync,
            health,
            items,
        })
    }

    /// A commit of an application's source, from what was fetched of it; none when it is not there.
    pub(crate) async fn commit(&self, application: &ApplicationKey, id: &str) -> Option<Commit> {
        let mirror = self.sources.mirror(application)?;
        let id = id.to_owned();
        let look = move || {
            let found = mirror.commit_info(&id).ok()?;
            let at = Timestamp::from_second(found.time).unwrap_or_default();
            Some(Commit {
                id,
                author: found.author,
                message: found.message,
                at: rfc3339(at),
            })
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Whether somebody may list the Applications of a namespace.
    pub(crate) async fn may_list(
        &self,
        identity: &Identity,
        namespace: &str,
    ) -> Result<bool, Problem> {
        self.may_in(identity, "list", namespace).await
    }

    /// Whether somebody may do this to all Applications of a namespace.
    async fn may_in(
        &self,
        identity: &Identity,
        verb: &str,
        namespace: &str,
    ) -> Result<bool, Problem> {
        let all = ApplicationKey {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        self.may(identity, verb, &all).await
    }

    /// The namespaces in which somebody may create Applications.
    pub(crate) async fn creatable(&self, identity: &Identity) -> Result<Vec<String>, Problem> {
        let mut creatable = Vec::new();
        for namespace in &self.about.namespaces {
            if self.may_in(identity, "create", namespace).await? {
                creatable.push(namespace.clone());
            }
        }
        Ok(creatable)
    }

    /// Which actions somebody may take.
    pub(crate) async fn actions(
        &self,
        identity: &Identity,
        key: &ApplicationKey,
    ) -> Result<BTreeMap<&'static str, bool>, Problem> {
        let mut may = BTreeMap::new();
        for verb in ACTIONS {
            may.insert(verb, self.may(identity, verb, key).await?);
        }
        Ok(may)
    }

    /// What differs, without what somebody may not see.
    pub(crate) async fn compare(
        &self,
        identity: &Identity,
        key: &ApplicationKey,
        against: Against,
        query: &DiffQuery,
    ) -> Result<Visible, Problem> {
        let application = self.application(key).await?;
        let chosen = |key: &ResourceKey| {
            (query.resource.is_empty() || query.resource == key.name)
                && (query.kind.is_empty() || query.kind == key.kind)
        };
        let inspection = self
            .registry
            .inspect(&application, against, query.all, chosen)
            .await?;
        self.visible(identity, inspection).await
    }

    /// A difference without what somebody may not see.
    pub(super) async fn visible(
        &self,
        identity: &Identity,
        mut inspection: Inspection,
    ) -> Result<Visible, Problem> {
        let mut shown = Vec::new();
        let mut hidden = 0;
        for object in std::mem::take(&mut inspection.objects) {
            let kind = crate::object::Kind {
                group: object.group.clone(),
                version: object.version.clone(),
                kind: object.kind.clone(),
            };
            if self.may_see(identity, &kind, &object.namespace).await? {
                shown.push(object);
            } else if object.live.is_some() || object.fate != Fate::Unchanged {
                hidden += 1;
            }
        }
        inspection.objects = shown;
        Ok(Visible { hidden, inspection })
    }

    /// Whether somebody may `get` the objects of a kind in a namespace.
    pub(super) async fn may_see(
        &self,
        identity: &Identity,
        kind: &crate::object::Kind,
        namespace: &str,
    ) -> Result<bool, Problem> {
        // Nobody can hold rights on a kind that the cluster does not know.
        let Ok(served) = self.cluster.served(kind).await else {
            return Ok(false);
        };
        let all = ResourceKey {
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        self.permissions
            .live(identity, "get", &served, &all, "")
            .await
    }
}

/// The Application as it is stored, without a login in the address of its repository.
pub(crate) fn stored(application: Application) -> Value {
    let status = serde_json::to_value(&application.status).unwrap_or_default();
    let mut object = application.object.into_value();
    object["status"] = status;
    if let Some(url) = object.pointer_mut("/spec/source/repoURL")
        && let Some(text) = url.as_str()
    {
        *url = redact_url(text).into();
    }
    object
}
