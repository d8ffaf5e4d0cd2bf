//! Watches: one stream of events a kind, restarted for as long as somebody listens.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, TypeMeta},
    runtime::watcher::{self, watcher},
};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::answers::{is_too_large, smaller};
use super::versions::is_cut;
use super::{Cluster, Served};
use crate::object::Object;
use crate::supervise::{attempt, pause_after};
use crate::telemetry::{Answer, KubeVerb, Task};

/// One event of a watch.
pub(crate) enum WatchEvent {
    /// A list begins: what is not among the next `Applied` until `Listed` is gone.
    Listing,
    Applied(Object),
    Deleted(Object),
    /// The list is complete.
    Listed,
    /// The cluster was set back to an older state, or may have been: versions that were seen say nothing
    /// any more. A list follows.
    SetBack,
    /// The watch failed and is tried again; the text says why.
    Failed(String),
    /// The API server answers, and refuses the watch: what was seen is of the past, and what happens is
    /// not seen until a list is complete.
    Refused(String),
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
    /// tried again after a delay that grows from 0.5 s to 30 s. An event whose handling panics is
    /// left out, and after a pause all is listed again.
    pub(crate) async fn watch(
        &self,
        served: &Served,
        selection: Selection,
        mut handle: impl FnMut(WatchEvent) + Send,
    ) {
        let (api, config) = (self.api_of(served, &selection), config_of(&selection));
        let mut setbacks = self.course.setbacks();
        // In a row, over all lists.
        let mut panics = 0;
        let mut hear = |event: WatchEvent, panics: &mut u32| {
            let work = || handle(event);
            attempt(&self.metrics, Task::Watch, &served.kind, panics, work)
        };
        loop {
            let listing = self.follow(&api, &config, served, |event, again| {
                let listed = matches!(event, WatchEvent::Listed);
                if !hear(event, &mut panics) {
                    again.get_or_insert(Instant::now() + pause_after(panics));
                } else if listed && again.is_none() {
                    panics = 0;
                }
            });
            let set_back = tokio::select! {
                () = listing => false,
                // An error means that nobody could say so, which does not happen: it is ours.
                _ = setbacks.changed() => true,
            };
            if set_back {
                hear(WatchEvent::SetBack, &mut panics);
            }
        }
    }

    /// Hands on the events of one watch until it shall begin again, at the moment that `hear` sets.
    async fn follow(
        &self,
        api: &Api<DynamicObject>,
        config: &watcher::Config,
        served: &Served,
        mut hear: impl FnMut(WatchEvent, &mut Option<Instant>) + Send,
    ) {
        let mut again = None;
        let mut delay = Duration::from_millis(500);
        let mut config = config.clone();
        let mut events = pin!(watcher(api.clone(), config.clone()).into_stream());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = at(again) => None,
            };
            let Some(event) = event else {
                return;
            };
            if let Err(error) = &event
                && is_too_large(error)
                && let Some(page) = config.page_size.and_then(smaller)
            {
                tracing::debug!(kind = %served.kind, page, "large objects are listed in smaller pages");
                config.page_size = Some(page);
                events.set(watcher(api.clone(), config.clone()).into_stream());
                continue;
            }
            let failed = event.is_err();
            let refused = event.as_ref().is_err_and(is_refused);
            if event.as_ref().is_err_and(is_cut) {
                self.discovery.interrupt();
                self.course.cut();
            }
            // One that was there: what may never be listed is known to be refused.
            let listed = !matches!(event, Err(watcher::Error::InitialListFailed(_)));
            if refused && listed {
                self.course.cut();
            }
            match &event {
                Ok(watcher::Event::Init) => self.metrics.kube_request(KubeVerb::List, Answer::Ok),
                Err(_) => self.metrics.kube_request(KubeVerb::Watch, Answer::Failed),
                Ok(_) => {}
            }
            // A list that is only begun may fail as the one before did.
            let begun = matches!(event, Ok(watcher::Event::Init));
            hear(convert(served, event), &mut again);
            if failed {
                sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(30));
                if refused {
                    // Not where it was: what happens meanwhile may be forgotten until then.
                    events.set(watcher(api.clone(), config.clone()).into_stream());
                }
            } else if !begun {
                delay = Duration::from_millis(500);
            }
        }
    }

    fn api_of(&self, served: &Served, selection: &Selection) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: served.kind.group.clone(),
            version: served.kind.version.clone(),
            api_version: served.kind.api_version(),
            kind: served.kind.kind.clone(),
            plural: served.plural.clone(),
        };
        match &selection.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

fn config_of(selection: &Selection) -> watcher::Config {
    // Small pages: a page is held whole while it is read.
    let config = watcher::Config::default().page_size(100);
    match &selection.labels {
        Some(labels) => config.labels(labels),
        None => config,
    }
}

/// Ends at a moment, never without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Whether the API server answered that it may not be watched.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
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
        Err(error) if is_refused(&error) => WatchEvent::Refused(error.to_string()),
        Err(error) => WatchEvent::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
