//! Repositories: how each does and who uses it, as far as the caller may list these applications.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Api, Identity, Problem};
use crate::crd::ApplicationKey;
use crate::object::rfc3339_before;

/// One repository.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryRow {
    /// Without a login that may be in it.
    pub(crate) url: String,
    /// When it was asked last (RFC 3339), empty before the first answer.
    pub(crate) last_asked: String,
    /// Seconds until it is asked again without a push.
    pub(crate) next_in_seconds: Option<u64>,
    /// Since when it cannot be read (RFC 3339), and why.
    pub(crate) stale_since: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) users: Vec<RepositoryUser>,
}

/// An application that follows a repository.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RepositoryUser {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `HEAD` where the Application names none.
    pub(crate) target_revision: String,
    /// The commit that it was at, empty before the first answer.
    pub(crate) commit: String,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Json<Vec<RepositoryRow>>, Problem> {
    api.repositories(&identity).await.map(Json)
}

impl Api {
    /// The repositories of applications that somebody may list.
    pub(crate) async fn repositories(
        &self,
        identity: &Identity,
    ) -> Result<Vec<RepositoryRow>, Problem> {
        let mut permitted = Permitted::default();
        let mut rows = Vec::new();
        for look in self.sources.looks() {
            let mut users = Vec::new();
            for (application, revision, commit) in look.followers {
                if permitted.may_list(self, identity, &application).await? {
                    users.push(RepositoryUser {
                        namespace: application.namespace,
                        name: application.name,
                        target_revision: match revision.as_str() {
                            "" => "HEAD".to_owned(),
                            _ => revision,
                        },
                        commit: commit.unwrap_or_default(),
                    });
                }
            }
            if users.is_empty() {
                continue;
            }
            let left = |next: Instant| next.saturating_duration_since(Instant::now());
            rows.push(RepositoryRow {
                url: look.url,
                last_asked: look.last.map_or_else(String::new, |last| {
                    rfc3339_before(Timestamp::now(), last.elapsed())
                }),
                next_in_seconds: look.next.map(left).as_ref().map(Duration::as_secs),
                stale_since: look.stale_since,
                error: look.error,
                users,
            });
        }
        Ok(rows)
    }
}

/// Namespaces that were asked about for one answer.
#[derive(Default)]
pub(super) struct Permitted(BTreeMap<String, bool>);

impl Permitted {
    /// Whether somebody may list the Applications beside this one.
    pub(super) async fn may_list(
        &mut self,
        api: &Api,
        identity: &Identity,
        application: &ApplicationKey,
    ) -> Result<bool, Problem> {
        let namespace = &application.namespace;
        if let Some(known) = self.0.get(namespace) {
            return Ok(*known);
        }
        let may = api.may_list(identity, namespace).await?;
        self.0.insert(namespace.clone(), may);
        Ok(may)
    }
}
