//! What the agent keeps going from its start to its end, whatever panics in it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::sync::Semaphore;

use crate::cluster::{Applications, Cluster, Selection, Served, WatchEvent};
use crate::controller::{LiveTable, Registry, watch_applications};
use crate::crd::names::SECRET_TYPE_LABELS;
use crate::object::Kind;
use crate::source::Credentials;
use crate::supervise::supervise;
use crate::telemetry::{Metrics, Task};

/// Begins what goes on beside everything else.
pub(super) fn keep(
    cluster: &Cluster,
    applications: &Applications,
    registry: &Arc<Registry>,
    live: &Arc<LiveTable>,
    namespace: &str,
) {
    let metrics = &cluster.metrics();
    let (registry, live, counts) = (Arc::clone(registry), Arc::clone(live), Arc::clone(metrics));
    supervise(metrics, Task::Keeper, "the counts", move |_| {
        count(
            Arc::clone(&registry),
            Arc::clone(&live),
            Arc::clone(&counts),
        )
    });
    let (cluster, applications) = (cluster.clone(), applications.clone());
    let namespace = namespace.to_owned();
    let name = "the version of the cluster";
    supervise(metrics, Task::Keeper, name, move |_| {
        let (cluster, applications) = (cluster.clone(), applications.clone());
        let namespace = namespace.clone();
        async move { cluster.follow_course(&applications, &namespace).await }
    });
}

/// How often the gauges are brought up to date.
const GAUGES: Duration = Duration::from_secs(10);

/// Counts applications and objects now and then, for the metrics.
async fn count(registry: Arc<Registry>, live: Arc<LiveTable>, metrics: Arc<Metrics>) {
    loop {
        let codes = registry.codes();
        metrics.applications(codes.iter().map(|(sync, health)| {
            (
                sync,
                health.map_or_else(|| "Unknown".to_owned(), |health| health.to_string()),
            )
        }));
        metrics.managed_objects(live.len());
        tokio::time::sleep(GAUGES).await;
    }
}

/// Watches the Applications of every namespace; `pending` counts the lists that are missing.
pub(super) fn watch_all(
    registry: &Arc<Registry>,
    cluster: &Cluster,
    served: &Served,
    namespaces: Vec<String>,
    pending: &Arc<AtomicUsize>,
) {
    pending.store(namespaces.len(), Ordering::Relaxed);
    for namespace in namespaces {
        let pending = Arc::clone(pending);
        let listed = OnceLock::new();
        let ready = move || {
            listed.get_or_init(|| pending.fetch_sub(1, Ordering::Relaxed));
        };
        let (registry, cluster) = (Arc::clone(registry), cluster.clone());
        let (served, ready) = (served.clone(), Arc::new(ready));
        let name = format!("Applications of {namespace}");
        supervise(&cluster.metrics(), Task::Watch, name, move |_| {
            let ready = Arc::clone(&ready);
            watch_applications(
                Arc::clone(&registry),
                cluster.clone(),
                served.clone(),
                namespace.clone(),
                move || ready(),
            )
        });
    }
}

/// Follows the labelled Secrets; returns when the first lists are complete, so that no source is
/// tried without its credential.
pub(super) async fn watch_secrets(
    cluster: &Cluster,
    namespace: &str,
    credentials: &Arc<Credentials>,
) -> Result<()> {
    let kind = Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Secret".to_owned(),
    };
    let served = cluster.served(&kind).await?;
    for label in SECRET_TYPE_LABELS {
        let listed = Arc::new(Semaphore::new(0));
        let first = Arc::clone(&listed);
        let (cluster, served) = (cluster.clone(), served.clone());
        let credentials = Arc::clone(credentials);
        let selection = Selection {
            namespace: Some(namespace.to_owned()),
            labels: Some(label.to_owned()),
        };
        supervise(&cluster.metrics(), Task::Watch, label, move |_| {
            let (cluster, served) = (cluster.clone(), served.clone());
            let (credentials, selection) = (Arc::clone(&credentials), selection.clone());
            let listed = Arc::clone(&listed);
            async move {
                let handle = |event| match event {
                    WatchEvent::Applied(secret) => credentials.set(label, &secret),
                    WatchEvent::Deleted(secret) => credentials.remove(label, &secret),
                    WatchEvent::Listing => credentials.begin_list(label),
                    WatchEvent::Listed => {
                        credentials.end_list(label);
                        listed.add_permits(1);
                    }
                    WatchEvent::SetBack => {}
                    WatchEvent::Failed(message) | WatchEvent::Refused(message) => {
                        tracing::warn!(message, "the watch of repository Secrets failed");
                    }
                };
                cluster.watch(&served, selection, handle).await;
            }
        });
        if tokio::time::timeout(Duration::from_secs(30), first.acquire())
            .await
            .is_err()
        {
            bail!("could not list the Secrets of namespace {namespace} within 30 s");
        }
    }
    Ok(())
}
