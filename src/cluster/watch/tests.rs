//! A watch whose handler panics, and one of a cluster that was set back, over an API server that
//! answers lists and leaves watches open.

use std::convert::Infallible;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kube::client::Body;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::object::Kind;
use crate::telemetry::Metrics;

/// Long enough that only a fault reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster with the ConfigMaps `a`, `bad` and `c`.
fn cluster(metrics: &Arc<Metrics>) -> Cluster {
    let service = tower::service_fn(|request: http::Request<Body>| async move {
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=") {
            std::future::pending::<()>().await;
        }
        let items = ["a", "bad", "c"].map(
            |name| json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": "7"}}),
        );
        let list = json!({
            "apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "9"},
            "items": items,
        });
        Ok::<_, Infallible>(http::Response::new(Body::from(
            list.to_string().into_bytes(),
        )))
    });
    Cluster::new(kube::Client::new(service, "default"), Arc::clone(metrics))
}

/// Follows the ConfigMaps and says what it heard; the handler panics at the first so many of `bad`.
fn follow(cluster: &Cluster, panics: usize) -> UnboundedReceiver<String> {
    let served = Served {
        kind: Kind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
        },
        plural: "configmaps".to_owned(),
        namespaced: true,
        watchable: true,
    };
    let (said, heard) = unbounded_channel();
    let cluster = cluster.clone();
    let left = AtomicUsize::new(panics);
    tokio::spawn(async move {
        let handle = |event| {
            let text = match event {
                WatchEvent::Listing => "listing".to_owned(),
                WatchEvent::Listed => "listed".to_owned(),
                WatchEvent::SetBack => "set back".to_owned(),
                WatchEvent::Failed(why) | WatchEvent::Refused(why) => why,
                WatchEvent::Deleted(object) => format!("{} is gone", object.name()),
                WatchEvent::Applied(object) => object.name().to_owned(),
            };
            let panics = text == "bad" && left.load(Ordering::Relaxed) > 0;
            if panics {
                left.fetch_sub(1, Ordering::Relaxed);
            }
            assert!(!panics, "canary");
            said.send(text).unwrap();
        };
        cluster.watch(&served, Selection::default(), handle).await;
    });
    heard
}

async fn hear(heard: &mut UnboundedReceiver<String>, expected: &[&str]) {
    for wanted in expected {
        let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
        assert_eq!(next.unwrap().as_deref(), Some(*wanted));
    }
}

#[tokio::test]
async fn an_event_that_panics_is_left_out_and_all_is_listed_again() {
    let metrics = Arc::new(Metrics::new("1"));
    let cluster = cluster(&metrics);
    let mut heard = follow(&cluster, 2);
    let without = ["listing", "a", "c", "listed"];
    hear(&mut heard, &without).await;
    hear(&mut heard, &without).await;
    hear(&mut heard, &["listing", "a", "bad", "c", "listed"]).await;
    let line = "trimtab_task_panics_total{task=\"watch\"} 2";
    let text = metrics.encode();
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[tokio::test]
async fn a_cluster_that_was_set_back_is_listed_again() {
    let cluster = cluster(&Arc::new(Metrics::new("1")));
    let mut heard = follow(&cluster, 0);
    let all = ["listing", "a", "bad", "c", "listed"];
    hear(&mut heard, &all).await;
    cluster.list_again();
    hear(&mut heard, &["set back"]).await;
    hear(&mut heard, &all).await;
}
