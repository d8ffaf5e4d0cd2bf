//! An Application whose task panics, over an API server that knows this one.

use std::convert::Infallible;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    Claims, Context, Dependencies, LiveTable, ProjectsInForce, Registry, watch_applications,
};
use crate::bundle::Bundles;
use crate::cluster::{Applications, Cluster, Served};
use crate::config::Settings;
use crate::crd::ApplicationKey;
use crate::exec::{Shares, Slots};
use crate::object::{Kind, YamlLimits};
use crate::sync::{Capabilities, Engine};
use crate::telemetry::Metrics;
use crate::trigger::{Cause, Following, Inputs, Sources};

/// Long enough that only a fault reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn application() -> Value {
    json!({
        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "7",
        },
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://forge.example/web", "path": "app", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
        },
    })
}

/// A cluster with this Application alone, and what is written to it.
fn cluster(metrics: &Arc<Metrics>) -> (Cluster, UnboundedReceiver<Value>) {
    let (write, written) = unbounded_channel();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let write: UnboundedSender<Value> = write.clone();
        async move {
            let (parts, body) = request.into_parts();
            if parts.uri.query().unwrap_or_default().contains("watch=") {
                std::future::pending::<()>().await;
            }
            let answer = match (parts.method.as_str(), parts.uri.path()) {
                ("GET", "/version") => json!({
                    "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
                    "platform": "",
                }),
                ("PATCH", _) => {
                    let body = body.collect_bytes().await.unwrap_or_default();
                    drop(write.send(serde_json::from_slice(&body).unwrap_or_default()));
                    application()
                }
                (_, path) if path.ends_with("/web") => application(),
                _ => json!({
                    "apiVersion": "trimtab.dev/v1alpha1", "kind": "ApplicationList",
                    "metadata": {"resourceVersion": "9"}, "items": [application()],
                }),
            };
            Ok::<_, Infallible>(http::Response::new(Body::from(
                answer.to_string().into_bytes(),
            )))
        }
    });
    let client = kube::Client::new(service, "shop");
    (Cluster::new(client, Arc::clone(metrics)), written)
}

/// Panics whenever it is to follow a source, so many times.
struct Nervous {
    left: AtomicUsize,
    said: UnboundedSender<String>,
}

impl Sources for Nervous {
    fn follow(&self, application: &ApplicationKey, following: Following) {
        let panics = self.left.load(Ordering::Relaxed) > 0;
        if panics {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
        assert!(!panics, "canary");
        let revision = following.target_revision;
        drop(self.said.send(format!("{application} follows {revision}")));
    }

    fn forget(&self, application: &ApplicationKey) {
        drop(self.said.send(format!("{application} is forgotten")));
    }

    fn refresh(&self, _: &ApplicationKey, _: Cause) -> bool {
        true
    }

    fn rendered(&self, _: &ApplicationKey, _: Option<Inputs>) {}
}

async fn context(cluster: &Cluster, sources: Nervous, metrics: &Arc<Metrics>) -> Context {
    let slots = || {
        Slots::new(Shares {
            all: 1,
            unproven: 1,
            each: 1,
            slow: 1,
        })
    };
    let directory = std::env::temp_dir();
    Context {
        engine: Engine {
            cluster: cluster.clone(),
            tools: Arc::default(),
            bundles: Bundles::new(directory.join("trimtab-no-bundles")),
            metrics: Arc::clone(metrics),
            stages: directory,
            stage_bytes: 1 << 20,
            capabilities: Capabilities::start(cluster, Box::new(|_| {}))
                .await
                .unwrap(),
            reading_slots: slots(),
            render_slots: slots(),
            directory_slots: slots(),
            apply_slots: Arc::new(Semaphore::new(1)),
            render_timeout: PATIENCE,
            yaml_limits: YamlLimits::default(),
            verify_interval: None,
            ignore_differences: Arc::default(),
        },
        applications: Applications::new(cluster.client(), "trimtab.dev"),
        sources: Arc::new(sources),
        mirror_of: Box::new(|_| None),
        fetch: Box::new(|_, _| Box::pin(async { Err("there is none".to_owned()) })),
        live: LiveTable::new(cluster.clone(), Vec::new(), |_| {}),
        claims: Claims::default(),
        dependencies: Dependencies::default(),
        projects: Arc::new(ProjectsInForce::new(
            "shop",
            Settings::default().projects,
            String::new(),
        )),
        wake: Box::new(|_| {}),
        announcer: cluster.announcer().0,
        journal: Arc::default(),
    }
}

#[tokio::test]
async fn an_application_whose_task_panics_says_so_and_goes_on() {
    let metrics = Arc::new(Metrics::new("1"));
    let (cluster, mut written) = cluster(&metrics);
    let (said, mut heard) = unbounded_channel();
    let left = AtomicUsize::new(2);
    let context = context(&cluster, Nervous { left, said }, &metrics).await;
    let registry = Arc::new(Registry::default());
    registry.begin(Arc::new(context));
    let served = Served {
        kind: Kind {
            group: "trimtab.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            kind: "Application".to_owned(),
        },
        plural: "applications".to_owned(),
        namespaced: true,
        watchable: true,
    };
    let namespace = "shop".to_owned();
    tokio::spawn(watch_applications(
        registry,
        cluster,
        served,
        namespace,
        || {},
    ));
    for expected in [
        "shop/web is forgotten",
        "shop/web is forgotten",
        "shop/web follows main",
    ] {
        let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
        assert_eq!(next.unwrap().unwrap(), expected);
    }
    // What was written says it in both cases, before the work began again.
    for times in ["ended in a fault, and began again", "2 times in a row"] {
        let next = tokio::time::timeout(PATIENCE, written.recv()).await;
        let conditions = next.unwrap().unwrap()["status"]["conditions"].take();
        assert_eq!(conditions[0]["type"], "InternalError", "{conditions}");
        let message = conditions[0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(times), "{conditions}");
        assert!(!message.contains("canary"), "{conditions}");
    }
    let line = "trimtab_task_panics_total{task=\"application\"} 2";
    let text = metrics.encode();
    assert!(text.lines().any(|found| found == line), "{text}");
}
