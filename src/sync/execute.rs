//! Carries out a plan: applies batch by batch, then deletes what is stale.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use serde_json::json;

use super::Engine;
use crate::cluster::{Cluster, Deletion, Error, Mode};
use crate::crd::names::FIELD_MANAGER;
use crate::crd::{ApplicationKey, Health};
use crate::diff::{Baseline, Digest, Observation, observe};
use crate::health;
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::{batches, reverse_order};

/// What is to be done.
pub(crate) struct Execution<'a> {
    pub(crate) owner: &'a ApplicationKey,
    /// The manifests to apply.
    pub(crate) apply: HashMap<ResourceKey, Object>,
    /// The API versions by which stale objects are reached.
    pub(crate) prune: Vec<(ResourceKey, Kind)>,
    /// Say what would be done and do nothing.
    pub(crate) dry_run: bool,
    /// This namespace is created when it is not there.
    pub(crate) create_namespace: Option<&'a str>,
    /// What was seen last, to tell a change from a no-op.
    pub(crate) seen: HashMap<ResourceKey, String>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Configured,
    Unchanged,
    /// Deletion was accepted; it stays in the inventory until it is seen gone.
    Pruned,
    /// It was not there any more.
    Gone,
    Failed(String),
}

/// What an execution did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<(ResourceKey, Change)>,
    pub(crate) baselines: HashMap<ResourceKey, Option<Baseline>>,
    pub(crate) seen: Vec<(Kind, ResourceKey, Observation, Option<Health>)>,
    /// Some error may pass by itself.
    pub(crate) transient: bool,
    /// A newer revision came in between batches; the rest was left.
    pub(crate) superseded: bool,
    pub(crate) applied_at: Option<Instant>,
}

impl Outcome {
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&ResourceKey, &str)> {
        self.changes
            .iter()
            .filter_map(|(key, change)| match change {
                Change::Failed(message) => Some((key, message.as_str())),
                _ => None,
            })
    }

    pub(crate) fn failed(&self) -> bool {
        self.failures().next().is_some()
    }

    fn fail(&mut self, key: &ResourceKey, error: &Error) {
        self.transient |= error.is_passing();
        self.changes
            .push((key.clone(), Change::Failed(error.to_string())));
    }
}

/// How long a CustomResourceDefinition may take until it is served.
const ESTABLISH: Duration = Duration::from_secs(30);

/// Applies and prunes. `superseded` is asked between batches.
///
/// Guarantees: batches in the order of need; after a failed batch no further one; nothing is
/// deleted unless every apply succeeded; every delete is of an object that says itself that it
/// belongs to `owner`.
pub(crate) async fn execute(
    engine: &Engine,
    execution: Execution<'_>,
    superseded: impl Fn() -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let cluster = &engine.cluster;
    if let Some(namespace) = execution.create_namespace.filter(|_| !execution.dry_run)
        && let Err(error) = create_namespace(cluster, namespace).await
    {
        outcome.fail(&namespace_key(namespace), &error);
        return outcome;
    }
    for batch in batches(execution.apply.keys().cloned()) {
        if superseded() {
            outcome.superseded = true;
            return outcome;
        }
        apply_batch(engine, &execution, &batch, &mut outcome).await;
        if outcome.failed() {
            return outcome;
        }
        if batch[0].kind == "CustomResourceDefinition" && !execution.dry_run {
            wait_until_served(cluster, &execution, &batch, &mut outcome).await;
        }
    }
    outcome.applied_at = Some(Instant::now());
    let kinds: HashMap<_, _> = execution.prune.iter().cloned().collect();
    for batch in reverse_order(kinds.keys().cloned()) {
        for key in batch {
            if execution.dry_run {
                outcome.changes.push((key, Change::Pruned));
                continue;
            }
            match delete(cluster, &kinds[&key], &key, execution.owner).await {
                Ok(Deletion::Accepted) => outcome.changes.push((key, Change::Pruned)),
                Ok(Deletion::Gone) => outcome.changes.push((key, Change::Gone)),
                Err(error) => outcome.fail(&key, &error),
            }
        }
    }
    outcome
}

/// Deletes one object of the inventory. A kind that is not served any more has no objects.
pub(crate) async fn delete(
    cluster: &Cluster,
    kind: &Kind,
    key: &ResourceKey,
    owner: &ApplicationKey,
) -> Result<Deletion, Error> {
    match cluster.served(kind).await {
        Ok(served) => match cluster.delete_owned(&served, key, owner).await {
            // Somebody wrote between our read and our delete: look again once.
            Err(error) if error.is_conflict() => cluster.delete_owned(&served, key, owner).await,
            result => result,
        },
        Err(Error::UnknownKind(_)) => Ok(Deletion::Gone),
        Err(error) => Err(error),
    }
}

async fn apply_batch(
    engine: &Engine,
    execution: &Execution<'_>,
    batch: &[ResourceKey],
    outcome: &mut Outcome,
) {
    let applies: Vec<_> = batch
        .iter()
        .map(|key| apply_one(engine, execution, key))
        .collect();
    // At most so many of one application, so that a large one leaves slots to others.
    let mut results = stream::iter(applies).buffered(16).zip(stream::iter(batch));
    while let Some((result, key)) = results.next().await {
        match result {
            Err(error) => outcome.fail(key, &error),
            Ok((object, answer)) => {
                let observation = observe(&answer, FIELD_MANAGER);
                let change = match execution.seen.get(key) {
                    None => Change::Created,
                    Some(version) if *version == observation.resource_version => Change::Unchanged,
                    Some(_) => Change::Configured,
                };
                outcome.changes.push((key.clone(), change));
                if execution.dry_run {
                    continue;
                }
                let desired = Digest::of_map(object.fields());
                outcome
                    .baselines
                    .insert(key.clone(), Baseline::new(desired, &observation));
                let health = health::assess(&answer);
                outcome
                    .seen
                    .push((object.api(), key.clone(), observation, health));
            }
        }
    }
}

async fn apply_one<'a>(
    engine: &Engine,
    execution: &'a Execution<'_>,
    key: &ResourceKey,
) -> Result<(&'a Object, Object), Error> {
    let mode = if execution.dry_run {
        Mode::DryRun
    } else {
        Mode::Write
    };
    let object = &execution.apply[key];
    let _slot = engine.apply_slots.acquire().await;
    let served = engine.cluster.served(&object.api()).await?;
    let answer = engine.cluster.apply(&served, object, mode).await?;
    Ok((object, answer))
}

/// Waits until the kinds of the applied definitions are served, so that their instances can
/// follow: `Established` comes first, serving some time after.
async fn wait_until_served(
    cluster: &Cluster,
    execution: &Execution<'_>,
    batch: &[ResourceKey],
    outcome: &mut Outcome,
) {
    let deadline = Instant::now() + ESTABLISH;
    for key in batch {
        let object = &execution.apply[key];
        let text = |pointer: &str| {
            object
                .get(pointer)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let versions = object
            .get("/spec/versions")
            .and_then(serde_json::Value::as_array);
        let served = versions
            .into_iter()
            .flatten()
            .filter(|version| version["served"] == true);
        for version in served {
            let kind = Kind {
                group: text("/spec/group"),
                version: version["name"].as_str().unwrap_or_default().to_owned(),
                kind: text("/spec/names/kind"),
            };
            let mut pause = Duration::from_millis(20);
            loop {
                match cluster.served(&kind).await {
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

fn namespace_key(name: &str) -> ResourceKey {
    ResourceKey {
        group: String::new(),
        kind: "Namespace".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Creates the destination namespace when it is not there. As in Argo CD it is not tracked: it is
/// never pruned and stays when the Application is deleted.
async fn create_namespace(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let key = namespace_key(name);
    let kind = Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: key.kind.clone(),
    };
    let served = cluster.served(&kind).await?;
    if cluster.get(&served, &key).await?.is_some() {
        return Ok(());
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match Object::new(namespace) {
        Ok(object) => cluster.apply(&served, &object, Mode::Write).await.map(drop),
        Err(_) => Ok(()),
    }
}
