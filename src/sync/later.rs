//! Whether an object that is refused may be written later in the same sync.

use std::time::{Duration, Instant};

use super::Execution;
use super::accepted::apply;
use crate::cluster::{Error, Mode};
use crate::object::{Object, ResourceKey};
use crate::plan::{Coming, Obstacle, When, later, stands_in_the_way, without};

/// How long what was written or deleted in the same sync may take until the API server counts with
/// it: it learns of schemas, rights, classes and policies by watches of its own.
const HEARD: Duration = Duration::from_secs(10);

/// Writes an object, and again for a short time while it is refused for something that may not count
/// yet though this sync has done it.
pub(super) async fn when_heard<F: Future<Output = Result<Object, Error>> + Send>(
    execution: &Execution<'_>,
    key: &ResourceKey,
    applied: &[ResourceKey],
    attempt: impl Fn() -> F,
) -> Result<Object, Error> {
    let deadline = Instant::now() + HEARD;
    let mut pause = Duration::from_millis(50);
    loop {
        let answer = attempt().await;
        let passes = match &answer {
            Ok(_) => false,
            Err(error) => may_pass(execution, key, error, applied),
        };
        if !passes || Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Whether an object that is refused may be taken in a moment: what this sync applied or deleted
/// before is the reason, and the API server may not count with that yet.
fn may_pass(
    execution: &Execution<'_>,
    key: &ResourceKey,
    error: &Error,
    applied: &[ResourceKey],
) -> bool {
    let in_the_way = |refusal| {
        let mut gone = execution.gone.iter();
        gone.any(|gone| stands_in_the_way(refusal, key, gone))
    };
    waits_for(execution, key, error, applied).is_some() || error.refusal().is_some_and(in_the_way)
}

/// Asks whether a Service is taken but for the ports and addresses that others have who leave: the API
/// server says one thing at a time, and what comes after it must not show when they are gone.
pub(crate) async fn taken_without(
    execution: &Execution<'_>,
    key: &ResourceKey,
    leaving: &[Object],
) -> Result<(), Error> {
    let (Some(manifest), Some(desired)) = (
        execution.manifests.objects.get(key),
        execution.desired.objects.get(key),
    ) else {
        return Ok(());
    };
    let served = execution.cluster.served(&desired.kind).await?;
    let manifest = without(manifest, leaving);
    let asked = apply(execution.cluster, &served, &manifest, Mode::DryRun).await;
    asked.map(drop)
}

/// Which of these the object may wait for; none when its refusal does not come from them.
pub(super) fn waits_for(
    execution: &Execution<'_>,
    key: &ResourceKey,
    error: &Error,
    coming: &[ResourceKey],
) -> Option<Vec<ResourceKey>> {
    if coming.is_empty() {
        return None;
    }
    let obstacle = match error {
        Error::UnknownKind(kind) => Obstacle::UnknownKind(kind),
        error => Obstacle::Refused(error.refusal()?),
    };
    let manifests = &execution.manifests.objects;
    let coming = coming.iter().filter_map(|other| {
        Some(Coming {
            object: manifests.get(other)?,
            exists: execution.seen.contains_key(other),
        })
    });
    let all: Vec<_> = manifests.values().collect();
    match later(obstacle, key, coming, &all) {
        When::Later(needs) => Some(needs),
        When::Never => None,
    }
}

/// What an object waits for that could not be asked about before the first write; none when it
/// will not be taken at its place either.
pub(super) fn comes_later(
    execution: &Execution<'_>,
    key: &ResourceKey,
    error: &Error,
    coming: &[ResourceKey],
) -> Option<Vec<ResourceKey>> {
    let desired = &execution.desired.objects;
    let options = desired.get(key).map(|object| object.options);
    let skips = options.is_some_and(|options| options.with(execution.options).skip_missing);
    let missing = error.is_not_found() || matches!(error, Error::UnknownKind(_));
    if !missing {
        return waits_for(execution, key, error, coming);
    }
    if skips && matches!(error, Error::UnknownKind(_)) {
        return Some(Vec::new());
    }
    // What is missing may be gone without notice, and comes back with this sync. No namespace brings
    // a kind.
    let all: Vec<_> = desired.keys().cloned().collect();
    let created = execution.namespace == Some(key.namespace.as_str()) && error.is_not_found();
    waits_for(execution, key, error, &all)
        .or_else(|| created.then(|| vec![ResourceKey::of_namespace(&key.namespace)]))
}
