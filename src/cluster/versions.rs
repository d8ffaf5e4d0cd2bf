//! What the API server serves as a whole, for charts that ask: every version and kind, and when
//! that may have changed.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::{PartialObjectMeta, discovery::v2::APIGroupDiscoveryList},
    runtime::watcher::{self, watcher},
};

use super::{Cluster, Error, bounded};
use crate::telemetry::{Answer, KubeVerb};

/// What is heard of the kinds that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KindNews {
    /// All are known: what was there before the watch is no news.
    Listed,
    Changed,
    /// The watch failed and is tried again.
    Failed,
}

/// Kinds whose objects bring kinds: group, version, kind and plural.
const BRINGERS: [[&str; 4]; 2] = [
    [
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    ],
    ["apiregistration.k8s.io", "v1", "APIService", "apiservices"],
];

/// Every version (`group/version`) and kind (`group/version/Kind`) that is served, in order. Two
/// requests, whatever the number of kinds.
pub(crate) async fn served_versions(client: &Client) -> Result<Vec<String>, Error> {
    let doing = "ask which kinds the API server serves";
    let core = bounded(doing, client.list_core_api_versions_aggregated());
    let groups = bounded(doing, client.list_api_groups_aggregated());
    let (core, groups) = futures::try_join!(core, groups)?;
    Ok(versions(&[core, groups]))
}

impl Cluster {
    /// What [`served_versions`] says of this cluster.
    pub(crate) async fn api_versions(&self) -> Result<Vec<String>, Error> {
        served_versions(&self.client).await
    }

    /// Hears of definitions and of servers beside the API server, for ever. What they say is not
    /// read.
    pub(crate) async fn watch_kinds(&self, handle: impl Fn(KindNews) + Send + Sync) {
        let [one, other] = BRINGERS.map(|bringer| self.watch_bringer(bringer, &handle));
        futures::join!(one, other);
    }

    async fn watch_bringer(
        &self,
        [group, version, kind, plural]: [&str; 4],
        handle: &(impl Fn(KindNews) + Send + Sync),
    ) {
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.client.clone(), &resource);
        let config = watcher::Config::default().page_size(20);
        let mut setbacks = self.course.setbacks();
        let mut delay = Duration::from_millis(500);
        let mut events = pin!(watcher(api.clone(), config.clone()));
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = setbacks.changed() => {
                    events.set(watcher(api.clone(), config.clone()));
                    handle(KindNews::Changed);
                    continue;
                }
            };
            let Some(event) = event else {
                return;
            };
            match event {
                Ok(watcher::Event::Init) => self.metrics.kube_request(KubeVerb::List, Answer::Ok),
                Ok(watcher::Event::InitApply(_)) => {}
                Ok(watcher::Event::InitDone) => handle(KindNews::Listed),
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    delay = Duration::from_millis(500);
                    handle(KindNews::Changed);
                }
                Err(error) => {
                    self.metrics.kube_request(KubeVerb::Watch, Answer::Failed);
                    tracing::warn!(kind, %error, "a watch of what is served failed");
                    handle(KindNews::Failed);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(30));
                }
            }
        }
    }
}

fn versions(lists: &[APIGroupDiscoveryList]) -> Vec<String> {
    let mut found = Vec::new();
    for group in lists.iter().flat_map(|list| &list.items) {
        let name = group.metadata.as_ref().and_then(|it| it.name.as_deref());
        for version in &group.versions {
            let version_name = version.version.as_deref().unwrap_or_default();
            let api_version = match name.unwrap_or_default() {
                "" => version_name.to_owned(),
                group => format!("{group}/{version_name}"),
            };
            let kinds = version
                .resources
                .iter()
                .filter_map(|resource| resource.response_kind.as_ref()?.kind.as_deref())
                .map(|kind| format!("{api_version}/{kind}"));
            found.extend(kinds);
            found.push(api_version);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether nobody answered: the API server may be another one when it is reached again.
pub(super) fn is_cut(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => !matches!(error, kube::Error::Api(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_and_kinds_are_named_as_helm_asks_for_them() {
        let list = |items| serde_json::from_value(json!({"items": items})).unwrap();
        let resource = |plural: &str, kind: &str| {
            let kind = json!({"group": "", "version": "", "kind": kind});
            json!({"resource": plural, "responseKind": kind, "scope": "Namespaced", "verbs": []})
        };
        let core = list(json!([{"versions": [{
            "version": "v1", "resources": [resource("pods", "Pod"), resource("bindings", "Binding")],
        }]}]));
        let groups = list(json!([{"metadata": {"name": "policy"}, "versions": [
            {"version": "v1", "resources": [resource("poddisruptionbudgets", "PodDisruptionBudget")]},
            {"version": "v1beta1", "freshness": "Stale"},
        ]}]));
        assert_eq!(
            versions(&[core, groups]),
            [
                "policy/v1",
                "policy/v1/PodDisruptionBudget",
                "policy/v1beta1",
                "v1",
                "v1/Binding",
                "v1/Pod",
            ]
        );
    }
}
