//! Which kinds the cluster serves, under which path and in which scope. Asked per API version
//! on first use and remembered; an unknown kind is asked for again, as its CRD may be new.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::object::{Kind, ResourceKey};

use super::{Cluster, Error, bounded};

/// How the API server serves a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether it can be watched; some aggregated kinds cannot.
    pub(crate) watchable: bool,
}

impl Served {
    /// The URL path of the collection, in a namespace where there is one.
    pub(super) fn path(&self, namespace: &str) -> String {
        let root = if self.kind.group.is_empty() {
            format!("/api/{}", self.kind.version)
        } else {
            format!("/apis/{}/{}", self.kind.group, self.kind.version)
        };
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }

    pub(super) fn object_path(&self, key: &ResourceKey) -> String {
        format!("{}/{}", self.path(&key.namespace), key.name)
    }
}

/// What is known of the API server.
#[derive(Default)]
pub(super) struct Discovery {
    /// Kinds by API version.
    pub(super) kinds: Mutex<HashMap<String, Arc<Vec<Served>>>>,
    /// A watch was cut.
    interrupted: Notify,
}

impl Discovery {
    pub(super) async fn interrupted(&self) {
        self.interrupted.notified().await;
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.notify_one();
    }
}

impl Cluster {
    /// How a kind is served. Asks the API server when the kind is not known yet.
    pub(crate) async fn served(&self, kind: &Kind) -> Result<Served, Error> {
        let api_version = kind.api_version();
        let known = self.known(&api_version);
        if let Some(served) = known
            .iter()
            .flat_map(|list| list.iter())
            .find(|s| s.kind == *kind)
        {
            return Ok(served.clone());
        }
        let served = Arc::new(self.discover(kind, &api_version).await?);
        let mut cache = self
            .discovery
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.insert(api_version, Arc::clone(&served));
        served
            .iter()
            .find(|served| served.kind == *kind)
            .cloned()
            .ok_or_else(|| Error::UnknownKind(kind.clone()))
    }

    /// Forgets what is known of a kind, because it seems to be served no more or in another way.
    pub(crate) fn forget_kind(&self, kind: &Kind) {
        let mut cache = self
            .discovery
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.remove(&kind.api_version());
    }

    fn known(&self, api_version: &str) -> Option<Arc<Vec<Served>>> {
        let cache = self
            .discovery
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.get(api_version).cloned()
    }

    async fn discover(&self, kind: &Kind, api_version: &str) -> Result<Vec<Served>, Error> {
        let doing = format!("look up {api_version}");
        let doing = doing.as_str();
        let answer = if kind.group.is_empty() {
            bounded(doing, self.client.list_core_api_resources(&kind.version)).await
        } else {
            bounded(doing, self.client.list_api_group_resources(api_version)).await
        };
        let list = match answer {
            Err(error) if error.is_not_found() => return Err(Error::UnknownKind(kind.clone())),
            answer => answer?,
        };
        let served = list
            .resources
            .into_iter()
            .filter(|resource| !resource.name.contains('/'));
        Ok(served
            .map(|resource| Served {
                kind: Kind {
                    kind: resource.kind,
                    ..kind.clone()
                },
                plural: resource.name,
                namespaced: resource.namespaced,
                watchable: resource.verbs.iter().any(|verb| verb == "watch"),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        let served = |group: &str, namespaced| Served {
            kind: Kind {
                group: group.into(),
                version: "v1".into(),
                kind: "Thing".into(),
            },
            plural: "things".into(),
            namespaced,
            watchable: true,
        };
        assert_eq!(
            served("", true).path("shop"),
            "/api/v1/namespaces/shop/things"
        );
        assert_eq!(served("", true).path(""), "/api/v1/things");
        assert_eq!(served("a.io", false).path("shop"), "/apis/a.io/v1/things");
    }
}
