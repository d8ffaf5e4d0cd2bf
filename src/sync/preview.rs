//! What a sync would make of single objects, for people: nothing is written.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};

use super::execute::answer_of;
use super::execution::AT_ONCE;
use super::later::comes_later;
use super::{Desired, Engine, Execution, Manifests};
use crate::cluster::{Cluster, Error, Mode};
use crate::crd::ApplicationKey;
use crate::crd::foreign::is_left_alone;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{IgnoreRules, differs, observe, overlaid};
use crate::object::{Kind, Object, ResourceKey};
use crate::plan::stands_in_the_way;

/// What is live of one object, and what it would become.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) key: ResourceKey,
    pub(crate) live: Option<Object>,
    /// The answer to a dry run, with what admission and defaults add; none when it would go.
    pub(crate) desired: Option<Object>,
    /// Why one of them could not be told.
    pub(crate) error: Option<String>,
}

/// What is previewed, and as whom.
pub(crate) struct Scene<'a> {
    pub(crate) owner: &'a ApplicationKey,
    pub(crate) cluster: &'a Cluster,
    pub(crate) desired: &'a Desired,
    pub(crate) manifests: &'a Manifests,
    pub(crate) ignore: &'a IgnoreRules,
}

/// Reads each object and asks what an apply would make of it; at most two requests an object.
pub(crate) async fn preview(
    engine: &Engine,
    scene: &Scene<'_>,
    keys: &[(ResourceKey, Kind)],
) -> Vec<Preview> {
    let reads: Vec<_> = keys
        .iter()
        .map(|(key, kind)| scene.cluster.find(kind, key))
        .collect();
    let lives: Vec<_> = stream::iter(reads).buffered(AT_ONCE).collect().await;
    let version = |live: &Object| live.resource_version().to_owned();
    let found = || {
        let both = keys.iter().zip(&lives);
        both.filter_map(|((key, _), live)| Some((key, live.as_ref().ok()?.as_ref()?)))
    };
    let seen = found().map(|(key, live)| (key.clone(), version(live)));
    let seen: HashMap<_, _> = seen.collect();
    let scaled = found()
        .filter(|(_, live)| observe(live, FIELD_MANAGER).replicas)
        .map(|(key, _)| key.clone())
        .collect();
    let unread: HashSet<_> = keys
        .iter()
        .zip(&lives)
        .filter(|(_, live)| live.is_err())
        .map(|((key, _), _)| key)
        .collect();
    let execution = Execution {
        owner: scene.owner,
        cluster: scene.cluster,
        desired: scene.desired,
        manifests: scene.manifests,
        ignore: scene.ignore,
        options: &[],
        seen,
        scaled,
        namespace: None,
        applied: None,
        gone: Vec::new(),
    };
    let asked: Vec<_> = keys
        .iter()
        .map(|(key, _)| ask(engine, &execution, key, unread.contains(key)))
        .collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let changed: Vec<_> = keys
        .iter()
        .zip(lives.iter().zip(&answers))
        .filter(|(_, (live, desired))| match (live, desired) {
            (Ok(Some(live)), Ok(Some(desired))) => differs(desired, live),
            (Ok(None), Ok(Some(_))) => true,
            _ => false,
        })
        .map(|((key, _), _)| key.clone())
        .collect();
    let leaves = |key: &ResourceKey| !scene.desired.objects.contains_key(key);
    let leaving: Vec<_> = found()
        .filter(|(key, _)| leaves(key))
        .map(|(_, live)| live.clone())
        .collect();
    let both = keys.iter().zip(lives).zip(answers);
    both.map(|(((key, _), live), desired)| {
        let seen = live.as_ref().ok().and_then(Option::as_ref);
        let mut desired =
            desired.or_else(|error| as_later(&execution, key, seen, error, (&changed, &leaving)));
        let desires = scene.desired.objects.get(key);
        let says_so = desires.is_some_and(|desires| desires.options.left_alone);
        if let Ok(found) = &live
            && desires.is_some()
            && (says_so || found.as_ref().is_some_and(is_left_alone))
        {
            // Neither compared nor written: what is there is what there will be.
            desired = Ok(found.clone());
        }
        let errors = [live.as_ref().err(), desired.as_ref().err()];
        let error = errors.into_iter().flatten().next().map(ToString::to_string);
        Preview {
            key: key.clone(),
            live: live.ok().flatten(),
            desired: desired.ok().flatten(),
            error,
        }
    })
    .collect()
}

async fn ask(
    engine: &Engine,
    execution: &Execution<'_>,
    key: &ResourceKey,
    unread: bool,
) -> Result<Option<Object>, Error> {
    let Some(manifest) = execution.manifests.objects.get(key) else {
        return Ok(None);
    };
    let desired = execution.desired.objects.get(key);
    let left_alone = desired.is_some_and(|desired| desired.options.left_alone);
    if unread || left_alone {
        // The error of the read says it already.
        return Ok(Some(manifest.clone()));
    }
    answer_of(engine, execution, key, Mode::DryRun)
        .await
        .map(Some)
}

/// What an object would become that cannot be asked about yet, as what it needs comes with the same
/// sync, or what stands in its way leaves with it: the manifest over what is live.
fn as_later(
    execution: &Execution<'_>,
    key: &ResourceKey,
    live: Option<&Object>,
    error: Error,
    (changed, leaving): (&[ResourceKey], &[Object]),
) -> Result<Option<Object>, Error> {
    let Some(manifest) = execution.manifests.objects.get(key) else {
        return Err(error);
    };
    // Its namespace is not there yet: a sync creates it, or says that it may not.
    let is_new = live.is_none() && error.is_not_found();
    let in_the_way = error.refusal().is_some_and(|refusal| {
        let mut leaving = leaving.iter();
        leaving.any(|leaving| stands_in_the_way(refusal, key, leaving))
    });
    if !is_new && !in_the_way && comes_later(execution, key, &error, changed).is_none() {
        return Err(error);
    }
    Ok(Some(match live {
        None => manifest.clone(),
        Some(live) => overlaid(live, manifest),
    }))
}
