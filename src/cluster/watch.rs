//! Watches: one stream of events a kind, restarted for as long as somebody listens.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, TypeMeta},
    runtime::watcher::{self, watcher},
};
use serde_json::Value;

use super::versions::is_cut;
use super::{Cluster, Served};
use crate::object::Object;
use crate::telemetry::{Answer, KubeVerb};

/// One event of a watch.
pub(crate) enum WatchEvent {
    /// A list begins: what is not among the next `Applied` until `Listed` is gone.
    Listing,
    Applied(Object),
    Deleted(Object),
    /// The list is complete.
    Listed,
    /// The watch failed and is tried again; the text says why.
    Failed(String),
}

/// What to watch of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// All namespaces when none.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Option<String>,
}

impl Cluster {
    /// Watches a kind and hands every event to `handle`, for ever. Failures are handed on and
    /// tried again after a delay that grows from 0.5 s to 30 s.
    pub(crate) async fn watch(
        &self,
        served: &Served,
        selection: Selection,
        mut handle: impl FnMut(WatchEvent) + Send,
    ) {
        let resource = ApiResource {
            group: served.kind.group.clone(),
            version: served.kind.version.clone(),
            api_version: served.kind.api_version(),
            kind: served.kind.kind.clone(),
            plural: served.plural.clone(),
        };
        let api: Api<DynamicObject> = match &selection.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        // Small pages: a page is held whole while it is read.
        let mut config = watcher::Config::default().page_size(100);
        if let Some(labels) = &selection.labels {
            config = config.labels(labels);
        }
        let mut delay = Duration::from_millis(500);
        let mut events = pin!(watcher(api, config).into_stream());
        while let Some(event) = events.next().await {
            let failed = event.is_err();
            if event.as_ref().is_err_and(is_cut) {
                self.discovery.interrupt();
            }
            match &event {
                Ok(watcher::Event::Init) => self.metrics.kube_request(KubeVerb::List, Answer::Ok),
                Err(_) => self.metrics.kube_request(KubeVerb::Watch, Answer::Failed),
                Ok(_) => {}
            }
            // A list that is only begun may fail as the one before did.
            let begun = matches!(event, Ok(watcher::Event::Init));
            handle(convert(served, event));
            if failed {
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(30));
            } else if !begun {
                delay = Duration::from_millis(500);
            }
        }
    }
}

fn convert(served: &Served, event: watcher::Result<watcher::Event<DynamicObject>>) -> WatchEvent {
    let object = |mut object: DynamicObject| {
        // Items of a list carry no kind of their own.
        object.types.get_or_insert_with(|| TypeMeta {
            api_version: served.kind.api_version(),
            kind: served.kind.kind.clone(),
        });
        let value = serde_json::to_value(object).unwrap_or(Value::Null);
        Object::new(value).map_err(|error| format!("an object that is none: {error}"))
    };
    match event {
        Ok(watcher::Event::Init) => WatchEvent::Listing,
        Ok(watcher::Event::InitDone) => WatchEvent::Listed,
        Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => {
            object(found).map_or_else(WatchEvent::Failed, WatchEvent::Applied)
        }
        Ok(watcher::Event::Delete(found)) => {
            object(found).map_or_else(WatchEvent::Failed, WatchEvent::Deleted)
        }
        Err(error) => WatchEvent::Failed(error.to_string()),
    }
}
