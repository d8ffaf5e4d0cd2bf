//! Applies the objects of one place of a sync, kind by kind, or asks what would come of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use super::Engine;
use super::execution::{AT_ONCE, Execution};
use super::later::{comes_later, when_heard};
use super::stored::Earlier;
use super::write::write;
use crate::cluster::{Error, Mode};
use crate::crd::foreign::is_left_alone;
use crate::crd::names::FIELD_MANAGER;
use crate::crd::{Health, StoredField};
use crate::diff::{Baseline, Observation, Refusal, observe};
use crate::health;
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::{Needs, batches_of_need};

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
    /// Why the API server did not take those that failed, where it said so.
    pub(crate) refusals: BTreeMap<ResourceKey, Refusal>,
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
        let refusal = error.refusal().map(|it| (key.clone(), it.clone()));
        self.refusals.extend(refusal);
        self.changes
            .push((key.clone(), Change::Failed(error.to_string())));
    }
}

/// What is said of an object that is to be taken over, and asks in the cluster alone to be left.
const LEFT_ALONE: &str = "the live object asks Flux not to touch it (reconcile: disabled or ssa: \
    Ignore) and is not ours yet: say so in the source as well, or take that off it";

/// How long a CustomResourceDefinition may take until it is served.
const ESTABLISH: Duration = Duration::from_secs(30);
/// What is known of a sync when one place of it is begun.
pub(crate) struct Course<'a> {
    /// What the question before the first write found to need others.
    pub(crate) needs: &'a Needs,
    /// What the sync has applied so far.
    pub(crate) applied: &'a BTreeSet<ResourceKey>,
}

/// Applies these objects. `superseded` is asked between batches.
///
/// Guarantees: batches in the order of need; after a failed batch no further one; what belongs to
/// another application or cannot be checked is not touched.
pub(crate) async fn execute(
    engine: &Engine,
    execution: &Execution<'_>,
    keys: &[ResourceKey],
    course: &Course<'_>,
    superseded: impl Fn() -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut earlier = Earlier::default();
    let mut applied: Vec<ResourceKey> = course.applied.iter().cloned().collect();
    for batch in batches_of_need(keys, course.needs) {
        if superseded() {
            outcome.superseded = true;
            return outcome;
        }
        let before = (&mut earlier, applied.as_slice());
        apply_batch(engine, execution, &batch, before, &mut outcome).await;
        if outcome.failed() {
            return outcome;
        }
        if batch[0].kind == "CustomResourceDefinition" {
            wait_until_served(execution, &batch, &mut outcome).await;
        }
        applied.extend(batch);
    }
    outcome
}

/// What the API server said of objects before the first was written.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) changes: Vec<(ResourceKey, Change)>,
    /// What was refused only because what it needs comes with the same sync.
    pub(crate) needs: Needs,
    /// Why the API server would not take those that failed, where it said so.
    pub(crate) refusals: BTreeMap<ResourceKey, Refusal>,
}

/// Asks the API server what would come of these objects, before the first is written. What cannot
/// be asked yet, because what it needs comes with the same sync, is no failure.
pub(crate) async fn check(
    engine: &Engine,
    execution: &Execution<'_>,
    keys: &[ResourceKey],
) -> Checked {
    let asked: Vec<_> = keys
        .iter()
        .map(|key| answer_of(engine, execution, key, Mode::DryRun))
        .collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut checked = Checked::default();
    for (key, answer) in keys.iter().zip(answers) {
        let change = match answer {
            Ok(answer) if is_left_alone(&answer) => Change::Failed(LEFT_ALONE.to_owned()),
            Ok(answer) => change_of(execution, key, answer.resource_version()),
            Err(error) => match comes_later(execution, key, &error, keys) {
                Some(needs) => {
                    tracing::debug!(app = %execution.owner, %key, %error, "asked again later");
                    checked.needs.insert(key.clone(), needs);
                    change_of(execution, key, "")
                }
                None => {
                    let refusal = error.refusal().map(|it| (key.clone(), it.clone()));
                    checked.refusals.extend(refusal);
                    Change::Failed(error.to_string())
                }
            },
        };
        checked.changes.push((key.clone(), change));
    }
    checked
}

async fn apply_batch(
    engine: &Engine,
    execution: &Execution<'_>,
    batch: &[ResourceKey],
    (earlier, applied): (&mut Earlier, &[ResourceKey]),
    outcome: &mut Outcome,
) {
    let applies = batch.iter().map(|key| {
        when_heard(execution, key, applied, || {
            answer_of(engine, execution, key, Mode::Write)
        })
    });
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
                let stored = Box::pin(stored).await;
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
