//! Applies the objects of one place of a sync, kind by kind, or asks what would come of it.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use super::namespace::namespace_key;
use super::stored::{Applied, Earlier};
use super::write::write;
use super::{Desired, Engine, Manifests};
use crate::cluster::{Cluster, Error, Mode};
use crate::crd::foreign::is_left_alone;
use crate::crd::names::FIELD_MANAGER;
use crate::crd::{ApplicationKey, Health, StoredField};
use crate::diff::{Baseline, IgnoreRules, Observation, observe};
use crate::health;
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::batches;

/// What is to be applied, and as whom.
pub(crate) struct Execution<'a> {
    pub(crate) owner: &'a ApplicationKey,
    /// The cluster, acted on as the application's service account.
    pub(crate) cluster: &'a Cluster,
    pub(crate) desired: &'a Desired,
    pub(crate) manifests: &'a Manifests,
    pub(crate) ignore: &'a IgnoreRules,
    /// Options for this sync only; they win over what the objects say.
    pub(crate) options: &'a [String],
    /// The resourceVersions seen last, to tell a change from a no-op.
    pub(crate) seen: HashMap<ResourceKey, String>,
    /// Those whose number of replicas is ours: it may be somebody else's from now on.
    pub(crate) scaled: HashSet<ResourceKey>,
    /// The namespace that the sync creates before all else where it is missing.
    pub(crate) namespace: Option<&'a str>,
    /// What was applied before, where something is written.
    pub(crate) applied: Option<Applied<'a>>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Configured,
    Unchanged,
    Failed(String),
}

/// What an execution did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<(ResourceKey, Change)>,
    pub(crate) baselines: HashMap<ResourceKey, Option<Baseline>>,
    pub(crate) seen: Vec<(Kind, ResourceKey, Observation, Option<Health>)>,
    /// What is stored otherwise than it was sent.
    pub(crate) stored: HashMap<ResourceKey, Vec<StoredField>>,
    /// A newer revision came in between batches; the rest was left.
    pub(crate) superseded: bool,
}

impl Outcome {
    pub(crate) fn failed(&self) -> bool {
        self.changes
            .iter()
            .any(|(_, change)| matches!(change, Change::Failed(_)))
    }

    fn fail(&mut self, key: &ResourceKey, error: &Error) {
        self.changes
            .push((key.clone(), Change::Failed(error.to_string())));
    }
}

/// What is said of an object that is to be taken over, and asks in the cluster alone to be left.
const LEFT_ALONE: &str = "the live object asks Flux not to touch it (reconcile: disabled or ssa: \
    Ignore) and is not ours yet: say so in the source as well, or take that off it";

/// How long a CustomResourceDefinition may take until it is served.
const ESTABLISH: Duration = Duration::from_secs(30);
/// At most so many requests of one application at once, so that a large one leaves slots to others.
pub(super) const AT_ONCE: usize = 16;

/// Applies these objects. `superseded` is asked between batches.
///
/// Guarantees: batches in the order of need; after a failed batch no further one; what belongs to
/// another application or cannot be checked is not touched.
pub(crate) async fn execute(
    engine: &Engine,
    execution: &Execution<'_>,
    keys: &[ResourceKey],
    superseded: impl Fn() -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut earlier = Earlier::default();
    for batch in batches(keys.iter().cloned()) {
        if superseded() {
            outcome.superseded = true;
            return outcome;
        }
        apply_batch(engine, execution, &batch, &mut earlier, &mut outcome).await;
        if outcome.failed() {
            return outcome;
        }
        if batch[0].kind == "CustomResourceDefinition" {
            wait_until_served(execution, &batch, &mut outcome).await;
        }
    }
    outcome
}

/// Asks the API server what would come of these objects, before the first is written. What cannot
/// be asked yet, because its kind or namespace comes with the same sync, is left out.
pub(crate) async fn check(
    engine: &Engine,
    execution: &Execution<'_>,
    keys: &[ResourceKey],
) -> Vec<(ResourceKey, Change)> {
    let asked: Vec<_> = keys
        .iter()
        .map(|key| answer_of(engine, execution, key, Mode::DryRun))
        .collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut changes = Vec::new();
    for (key, answer) in keys.iter().zip(answers) {
        let change = match answer {
            Ok(answer) if is_left_alone(&answer) => Change::Failed(LEFT_ALONE.to_owned()),
            Ok(answer) => change_of(execution, key, answer.resource_version()),
            Err(error) if comes_later(execution, key, &error) => Change::Created,
            Err(error) => Change::Failed(error.to_string()),
        };
        changes.push((key.clone(), change));
    }
    changes
}

/// Whether an object could not be asked about only because what it needs comes with the same sync.
pub(super) fn comes_later(execution: &Execution<'_>, key: &ResourceKey, error: &Error) -> bool {
    let desired = &execution.desired.objects;
    let options = desired.get(key).map(|object| object.options);
    let skips = options.is_some_and(|options| options.with(execution.options).skip_missing);
    match error {
        Error::UnknownKind(_) if skips => true,
        Error::UnknownKind(kind) => desired.keys().any(|other| {
            let defined = execution.manifests.objects.get(other);
            defined.and_then(super::prepare::defined_kind)
                == Some((kind.group.clone(), kind.kind.clone()))
        }),
        error if error.is_not_found() => {
            // Its definition may be gone and comes back with this sync.
            let defined = desired.keys().any(|other| {
                let defined = execution.manifests.objects.get(other);
                defined.and_then(super::prepare::defined_kind)
                    == Some((key.group.clone(), key.kind.clone()))
            });
            defined
                || desired.contains_key(&namespace_key(&key.namespace))
                || execution.namespace == Some(key.namespace.as_str())
        }
        _ => false,
    }
}

async fn apply_batch(
    engine: &Engine,
    execution: &Execution<'_>,
    batch: &[ResourceKey],
    earlier: &mut Earlier,
    outcome: &mut Outcome,
) {
    let applies = batch
        .iter()
        .map(|key| answer_of(engine, execution, key, Mode::Write));
    let applies: Vec<_> = applies.collect();
    let mut answers = stream::iter(applies)
        .buffered(AT_ONCE)
        .zip(stream::iter(batch));
    while let Some((answer, key)) = answers.next().await {
        match answer {
            Err(error) => outcome.fail(key, &error),
            Ok(answer) => {
                let observation = observe(&answer, FIELD_MANAGER);
                let change = change_of(execution, key, &observation.resource_version);
                outcome.changes.push((key.clone(), change));
                let object = &execution.desired.objects[key];
                let baseline = Baseline::new(object.digest, &observation);
                let stored = earlier.stored(engine, execution, (key, &answer), baseline);
                let stored = stored.await;
                if !stored.is_empty() {
                    outcome.stored.insert(key.clone(), stored);
                }
                outcome.baselines.insert(key.clone(), baseline);
                let health = health::assess(&answer);
                outcome
                    .seen
                    .push((object.kind.clone(), key.clone(), observation, health));
            }
        }
    }
}

fn change_of(execution: &Execution<'_>, key: &ResourceKey, version: &str) -> Change {
    match execution.seen.get(key) {
        None => Change::Created,
        Some(seen) if seen == version => Change::Unchanged,
        Some(_) => Change::Configured,
    }
}

pub(super) async fn answer_of(
    engine: &Engine,
    execution: &Execution<'_>,
    key: &ResourceKey,
    mode: Mode,
) -> Result<Object, Error> {
    let (Some(manifest), Some(desired)) = (
        execution.manifests.objects.get(key),
        execution.desired.objects.get(key),
    ) else {
        return Err(Error::NotFound {
            doing: format!("find the manifest of {key}"),
        });
    };
    let _slot = engine.apply_slots.acquire().await;
    let served = execution.cluster.served(&desired.kind).await?;
    let options = desired.options.with(execution.options);
    let answer = write(execution, &served, manifest, options, mode).await;
    if answer.as_ref().is_err_and(Error::is_not_found) {
        execution.cluster.forget_kind(&desired.kind);
    }
    answer
}

/// Waits until the kinds of the applied definitions are served, so that their instances can
/// follow: `Established` comes first, serving some time after.
async fn wait_until_served(
    execution: &Execution<'_>,
    batch: &[ResourceKey],
    outcome: &mut Outcome,
) {
    let deadline = Instant::now() + ESTABLISH;
    for key in batch {
        for kind in execution
            .manifests
            .objects
            .get(key)
            .map(served_kinds)
            .unwrap_or_default()
        {
            let mut pause = Duration::from_millis(20);
            loop {
                // What was known of it is of the time before.
                execution.cluster.forget_kind(&kind);
                match execution.cluster.served(&kind).await {
                    Ok(_) => break,
                    Err(error) if Instant::now() > deadline => {
                        outcome.fail(key, &error);
                        return;
                    }
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        }
    }
}

/// The kinds that a definition asks the API server to serve.
fn served_kinds(definition: &Object) -> Vec<Kind> {
    let Some((group, kind)) = super::prepare::defined_kind(definition) else {
        return Vec::new();
    };
    let versions = definition
        .get("/spec/versions")
        .and_then(serde_json::Value::as_array);
    versions
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true)
        .map(|version| Kind {
            group: group.clone(),
            version: version["name"].as_str().unwrap_or_default().to_owned(),
            kind: kind.clone(),
        })
        .collect()
}
