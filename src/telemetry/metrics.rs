//! All metrics with all their names. Recording takes a read lock and an addition.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use super::labels::{
    Answer, ApplicationLabels, BuildLabels, Delivery, DeliveryLabels, GitLabels, GitRequest,
    GitSecondsLabels, KubeLabels, KubeVerb, Outcome, PushLabels, Removal, RemovalLabels,
    RenderLabels, RenderResult, RenderSecondsLabels, Stage, SyncLabels, Task, TaskLabels, Tool,
    Trigger,
};

/// Seconds, from a warm apply to a slow roll-out.
const BUCKETS: [f64; 15] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that is counted and timed.
pub(crate) struct Metrics {
    registry: Registry,
    push_stages: Seconds<PushLabels>,
    deliveries: Family<DeliveryLabels, Counter>,
    git_requests: Family<GitLabels, Counter>,
    git_seconds: Seconds<GitSecondsLabels>,
    renders: Family<RenderLabels, Counter>,
    render_seconds: Seconds<RenderSecondsLabels>,
    kube_requests: Family<KubeLabels, Counter>,
    syncs: Family<SyncLabels, Counter>,
    sync_seconds: Histogram,
    drift_repairs: Counter,
    prunes: Counter,
    applications: Family<ApplicationLabels, Gauge>,
    shown_applications: Mutex<BTreeSet<ApplicationLabels>>,
    managed_objects: Gauge,
    sandbox: Gauge,
    cluster_answers: Gauge,
    task_panics: Family<TaskLabels, Counter>,
    mirror_bytes: Gauge,
    mirrors_removed: Family<RemovalLabels, Counter>,
}

impl Metrics {
    pub(crate) fn new(version: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("trimtab"),
            push_stages: seconds(),
            deliveries: Family::default(),
            git_requests: Family::default(),
            git_seconds: seconds(),
            renders: Family::default(),
            render_seconds: seconds(),
            kube_requests: Family::default(),
            syncs: Family::default(),
            sync_seconds: histogram(),
            drift_repairs: Counter::default(),
            prunes: Counter::default(),
            applications: Family::default(),
            shown_applications: Mutex::default(),
            managed_objects: Gauge::default(),
            sandbox: Gauge::default(),
            cluster_answers: Gauge::default(),
            task_panics: Family::default(),
            mirror_bytes: Gauge::default(),
            mirrors_removed: Family::default(),
        };
        metrics.register(version);
        metrics
    }

    /// The names. Counters get `_total` when they are written, the version `_info`.
    fn register(&mut self, version: &'static str) {
        let names = &mut self.registry;
        names.register(
            "push_stage_seconds",
            "Seconds since a change was received until a stage was reached",
            self.push_stages.clone(),
        );
        names.register(
            "webhook_deliveries",
            "Webhook deliveries by what became of them",
            self.deliveries.clone(),
        );
        names.register(
            "git_requests",
            "Requests to Git servers",
            self.git_requests.clone(),
        );
        names.register(
            "git_request_seconds",
            "Seconds that requests to Git servers took",
            self.git_seconds.clone(),
        );
        names.register("renders", "Renders of an application", self.renders.clone());
        names.register(
            "render_seconds",
            "Seconds that renders took",
            self.render_seconds.clone(),
        );
        names.register(
            "kube_requests",
            "Requests to the Kubernetes API",
            self.kube_requests.clone(),
        );
        names.register("syncs", "Finished syncs", self.syncs.clone());
        names.register(
            "sync_seconds",
            "Seconds that syncs took",
            self.sync_seconds.clone(),
        );
        names.register(
            "drift_repairs",
            "Objects put back after a foreign change",
            self.drift_repairs.clone(),
        );
        names.register("prunes", "Objects pruned", self.prunes.clone());
        self.register_states(version);
    }

    /// Registers what says how things are, not what happened.
    fn register_states(&mut self, version: &'static str) {
        let names = &mut self.registry;
        names.register(
            "applications",
            "Applications by sync and health",
            self.applications.clone(),
        );
        names.register(
            "sandbox_holds",
            "Whether the start-up self-test of the renderers' sandbox found every way closed",
            self.sandbox.clone(),
        );
        names.register(
            "mirror_bytes",
            "Bytes of all mirrors on disk",
            self.mirror_bytes.clone(),
        );
        names.register(
            "mirrors_removed",
            "Mirrors removed from disk, by reason",
            self.mirrors_removed.clone(),
        );
        names.register(
            "managed_objects",
            "Objects in all inventories",
            self.managed_objects.clone(),
        );
        names.register(
            "cluster_answers",
            "Whether the API server answered the last question whether it is there",
            self.cluster_answers.clone(),
        );
        names.register(
            "task_panics",
            "Panics of tasks, each of which begins again",
            self.task_panics.clone(),
        );
        names.register(
            "build",
            "The version that runs",
            Info::new(BuildLabels { version }),
        );
    }

    /// The OpenMetrics text of everything.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }

    /// A change reached `stage`, `elapsed` after it was received.
    pub(crate) fn push_stage(&self, stage: Stage, trigger: Trigger, elapsed: Duration) {
        observe(&self.push_stages, &PushLabels { stage, trigger }, elapsed);
    }

    /// A delivery was answered. `receiver` is a configured name, or empty when there is none.
    pub(crate) fn delivery(&self, receiver: &str, result: Delivery) {
        let receiver = receiver.to_owned();
        let labels = DeliveryLabels { receiver, result };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// Whether the API server answers.
    pub(crate) fn cluster_answers(&self, answers: bool) {
        self.cluster_answers.set(i64::from(answers));
    }

    /// A task panicked, and begins again.
    pub(crate) fn task_panicked(&self, task: Task) {
        self.task_panics.get_or_create(&TaskLabels { task }).inc();
    }

    /// How many deliveries to a receiver were answered so.
    pub(crate) fn deliveries(&self, receiver: &str, result: Delivery) -> u64 {
        let receiver = receiver.to_owned();
        let labels = DeliveryLabels { receiver, result };
        self.deliveries.get(&labels).map_or(0, |count| count.get())
    }

    pub(crate) fn git_request(&self, kind: GitRequest, result: Answer, elapsed: Duration) {
        self.git_requests
            .get_or_create(&GitLabels { kind, result })
            .inc();
        observe(&self.git_seconds, &GitSecondsLabels { kind }, elapsed);
    }

    /// A render ended. One out of the cache counts, but tells nothing about the time of renders.
    pub(crate) fn render(&self, tool: Tool, result: RenderResult, elapsed: Duration) {
        self.renders
            .get_or_create(&RenderLabels { tool, result })
            .inc();
        if result != RenderResult::Cached {
            observe(&self.render_seconds, &RenderSecondsLabels { tool }, elapsed);
        }
    }

    pub(crate) fn kube_request(&self, verb: KubeVerb, result: Answer) {
        self.kube_requests
            .get_or_create(&KubeLabels { verb, result })
            .inc();
    }

    pub(crate) fn sync(&self, result: Outcome, elapsed: Duration) {
        self.syncs.get_or_create(&SyncLabels { result }).inc();
        self.sync_seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn drift_repairs(&self, objects: u64) {
        self.drift_repairs.inc_by(objects);
    }

    pub(crate) fn prunes(&self, objects: u64) {
        self.prunes.inc_by(objects);
    }

    /// Replaces the counts of applications, given as (sync, health), one per application.
    pub(crate) fn applications<S: Display, H: Display>(&self, all: impl Iterator<Item = (S, H)>) {
        let mut counts: BTreeMap<ApplicationLabels, i64> = BTreeMap::new();
        for (sync, health) in all {
            let (sync, health) = (sync.to_string(), health.to_string());
            *counts
                .entry(ApplicationLabels { sync, health })
                .or_default() += 1;
        }
        let mut shown = self
            .shown_applications
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|labels| !counts.contains_key(labels)) {
            self.applications.remove(gone);
        }
        for (labels, count) in &counts {
            self.applications.get_or_create(labels).set(*count);
        }
        *shown = counts.into_keys().collect();
    }

    /// Whether the sandbox of renderers holds on this node.
    pub(crate) fn sandbox(&self, holds: bool) {
        self.sandbox.set(i64::from(holds));
    }

    /// How much all mirrors take on disk.
    pub(crate) fn mirror_bytes(&self, bytes: u64) {
        self.mirror_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a mirror that was removed.
    pub(crate) fn mirror_removed(&self, reason: Removal) {
        let labels = RemovalLabels { reason };
        self.mirrors_removed.get_or_create(&labels).inc();
    }

    pub(crate) fn managed_objects(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.managed_objects.set(count);
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn seconds<L: Clone + std::hash::Hash + Eq>() -> Seconds<L> {
    Family::new_with_constructor(histogram)
}

fn observe<L>(family: &Seconds<L>, labels: &L, elapsed: Duration)
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet,
{
    family.get_or_create(labels).observe(elapsed.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_written_under_its_name() {
        let metrics = Metrics::new("1.2.3");
        let quick = Duration::from_millis(7);
        metrics.push_stage(Stage::Fetched, Trigger::Push, quick);
        metrics.delivery("github", Delivery::TooLarge);
        metrics.git_request(GitRequest::List, Answer::Ok, quick);
        metrics.render(Tool::Helm, RenderResult::Cached, quick);
        metrics.render(Tool::Kustomize, RenderResult::Rendered, quick);
        metrics.kube_request(KubeVerb::DryRun, Answer::Conflict);
        metrics.sync(Outcome::Succeeded, quick);
        metrics.drift_repairs(2);
        metrics.prunes(3);
        metrics.applications([("Synced", "Healthy"), ("Synced", "Healthy")].into_iter());
        metrics.managed_objects(40);
        metrics.mirror_bytes(7);
        metrics.mirror_removed(Removal::Budget);
        let text = metrics.encode();
        for line in [
            "trimtab_push_stage_seconds_bucket{le=\"0.005\",stage=\"fetched\",trigger=\"push\"} 0",
            "trimtab_push_stage_seconds_bucket{le=\"0.01\",stage=\"fetched\",trigger=\"push\"} 1",
            "trimtab_push_stage_seconds_bucket{le=\"300.0\",stage=\"fetched\",trigger=\"push\"} 1",
            "trimtab_webhook_deliveries_total{receiver=\"github\",result=\"too_large\"} 1",
            "trimtab_git_requests_total{kind=\"list\",result=\"ok\"} 1",
            "trimtab_git_request_seconds_count{kind=\"list\"} 1",
            "trimtab_renders_total{tool=\"helm\",result=\"cached\"} 1",
            "trimtab_render_seconds_count{tool=\"kustomize\"} 1",
            "trimtab_kube_requests_total{verb=\"dry_run\",result=\"conflict\"} 1",
            "trimtab_syncs_total{result=\"succeeded\"} 1",
            "trimtab_sync_seconds_count 1",
            "trimtab_drift_repairs_total 2",
            "trimtab_prunes_total 3",
            "trimtab_applications{sync=\"Synced\",health=\"Healthy\"} 2",
            "trimtab_managed_objects 40",
            "trimtab_mirror_bytes 7",
            "trimtab_mirrors_removed_total{reason=\"budget\"} 1",
            "trimtab_build_info{version=\"1.2.3\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("trimtab_render_seconds_count{tool=\"helm\"}"));
    }

    #[test]
    fn an_application_that_changed_is_counted_once() {
        let metrics = Metrics::new("1");
        metrics.applications([("Synced", "Healthy")].into_iter());
        metrics.applications([("OutOfSync", "Healthy")].into_iter());
        let text = metrics.encode();
        let counts: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("trimtab_applications{"))
            .collect();
        let expected = "trimtab_applications{sync=\"OutOfSync\",health=\"Healthy\"} 1";
        assert_eq!(counts, [expected]);
    }
}
