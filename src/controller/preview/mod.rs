//! What differs, for people: what an application desires beside what is live, object by object.
//! Nothing is written, and nothing of what its task remembers is touched.

pub(in crate::controller) mod proposal;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::controller::{Context, Registry, context::cluster_of, state};
use crate::crd::{
    Application, ApplicationKey, ApplicationStatus, StoredField, SyncCode, SyncOptions,
};
use crate::diff::{Change, Digest, IgnoreRules, as_manifest, changes, masked, unified};
use crate::object::{Kind, Object, ResourceKey};
use crate::sync::{
    Desired, DesiredHook, Manifests, Preview, Scene, Source, WantedNamespace, desire, prepare,
    preview, recall, wanted_namespace,
};

/// Looks at a time: each may fetch, render and ask for every object of an application.
static LOOKS: Semaphore = Semaphore::const_new(4);

/// Waits for its turn, which lasts as long as what is returned.
pub(in crate::controller) async fn turn() -> SemaphorePermit<'static> {
    LOOKS
        .acquire()
        .await
        .expect("the semaphore is never closed")
}

/// What is compared with the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Against {
    /// What the application desires now: its newest revision, or what it is pinned to.
    Now,
    /// A branch, tag or commit of its repository.
    Revision(String),
    /// A deployment of its history.
    Deployment(i64),
    /// Manifests that somebody rendered.
    Manifests(Vec<Object>),
}

/// The difference of a whole application.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    /// The commit that was compared, empty for manifests from elsewhere.
    pub(crate) revision: String,
    /// How many objects are desired.
    pub(crate) desired: usize,
    pub(crate) objects: Vec<Difference>,
}

/// What would become of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    Unchanged,
    Created,
    Changed,
    Pruned,
    /// A hook that did not run for this desired state yet.
    Run,
    Unknown,
}

/// The difference of one object; values of Secrets are masked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) fate: Fate,
    pub(crate) changes: Vec<Change>,
    /// As `diff -u` of YAML, from live to desired.
    pub(crate) text: String,
    pub(crate) live: Option<Object>,
    pub(crate) desired: Option<Object>,
    /// What of it the API server stores otherwise than the last apply sent it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stored: Vec<StoredField>,
    /// Why it could not be told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
}

impl Difference {
    fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("the agent does not know application {0}")]
    Application(ApplicationKey),
    #[error("there is no deployment {0} in the history")]
    Deployment(i64),
    #[error("{0}")]
    Other(String),
}

impl Registry {
    /// Compares the objects that `chosen` takes, or only those that may differ when `all` is
    /// false: two requests for each, and none for the others.
    pub(crate) async fn inspect(
        &self,
        application: &Application,
        against: Against,
        all: bool,
        chosen: impl Fn(&ResourceKey) -> bool + Send + Sync,
    ) -> Result<Inspection, Unavailable> {
        let Some(context) = self.context() else {
            return Err(Unavailable::Application(application.key.clone()));
        };
        let _turn = turn().await;
        let found = find(&context, application, against).await?;
        inspect(&context, application, &found, all, chosen).await
    }

    /// One manifest as an application desires it now, rendered and not yet applied; none when it
    /// does not desire it. The values of a Secret are masked.
    pub(crate) async fn manifest(
        &self,
        application: &Application,
        key: &ResourceKey,
    ) -> Result<Option<Object>, Unavailable> {
        let Some(context) = self.context() else {
            return Err(Unavailable::Application(application.key.clone()));
        };
        let _turn = turn().await;
        let (_, manifests) = find(&context, application, Against::Now).await?;
        Ok(manifests.objects.get(key).cloned().map(masked))
    }
}

/// Compares what was found with the cluster.
pub(in crate::controller) async fn inspect(
    context: &Context,
    application: &Application,
    (desired, manifests): &(Desired, Manifests),
    all: bool,
    chosen: impl Fn(&ResourceKey) -> bool + Send + Sync,
) -> Result<Inspection, Unavailable> {
    let known = state::State::from_status(&application.status);
    let ignore = IgnoreRules::compile(
        &context.engine.ignore_differences,
        &application.spec.ignore_differences,
    );
    let ignore = ignore.map_err(|faults| Unavailable::Other(faults.join("; ")))?;
    let differs = may_differ(&application.status);
    let applied = |key: &ResourceKey, digest| {
        let baseline = known.baselines.get(key);
        baseline.is_some_and(|baseline| baseline.desired == digest)
    };
    let mut keys: BTreeMap<ResourceKey, Kind> = BTreeMap::new();
    for (key, object) in &desired.objects {
        if all || differs(key) || !applied(key, object.digest) {
            keys.insert(key.clone(), object.kind.clone());
        }
    }
    for (key, held) in known.inventory.iter().filter(|(_, held)| !held.hook) {
        if !desired.objects.contains_key(key) && !desired.left.contains(key) {
            keys.insert(key.clone(), held.kind.clone());
        }
    }
    let keys: Vec<_> = keys.into_iter().filter(|(key, _)| chosen(key)).collect();
    let cluster = cluster_of(context, application);
    let scene = Scene {
        owner: &application.key,
        cluster: &cluster,
        desired,
        manifests,
        ignore: &ignore,
    };
    let previews = preview(&context.engine, &scene, &keys).await;
    let previews = previews.into_iter().zip(keys.iter().map(|(_, kind)| kind));
    let mut objects: Vec<_> = previews
        .filter_map(|(preview, kind)| difference(preview, kind, &application.key))
        .collect();
    for found in &mut objects {
        let key = found.key();
        let held = known.inventory.get(&key);
        let ended = held.is_some_and(|held| held.ended.is_some());
        let digest = desired.objects.get(&key).map(|object| object.digest);
        if found.fate == Fate::Created && ended && digest.is_some_and(|it| applied(&key, it)) {
            // It ran to its end and is gone: a sync does not create it again.
            found.fate = Fate::Unchanged;
            found.text.clear();
        }
    }
    let options = SyncOptions::of_application(application.spec.sync_options());
    let namespace = wanted_namespace(application, options, desired);
    if let Some(wanted) = namespace.filter(|wanted| chosen(&ResourceKey::of_namespace(wanted.name)))
    {
        let found = difference(
            wanted.preview(&cluster).await,
            &WantedNamespace::kind(),
            &application.key,
        );
        let unchanged = |it: &Difference| it.fate == Fate::Unchanged && !all;
        objects.extend(found.filter(|it| !unchanged(it)));
    }
    add_stored(&known, desired, &mut objects, |key, digest| {
        // What was said of another manifest says nothing about this one.
        chosen(key) && applied(key, digest)
    });
    let hooks = known.open_hooks_of(desired).map(hook);
    objects.extend(hooks.filter(|it| chosen(&it.key())));
    Ok(Inspection {
        revision: desired.commit_id.clone(),
        desired: desired.objects.len(),
        objects,
    })
}

/// Whether an object is not known to be Synced by the rows of a status. What differs and has no row
/// could be any that has none.
fn may_differ(status: &ApplicationStatus) -> impl Fn(&ResourceKey) -> bool + use<> {
    let unlisted = status.left_out.differing > 0;
    let (mut differing, mut synced) = (BTreeSet::new(), BTreeSet::new());
    for row in &status.resources {
        match row.status {
            SyncCode::Synced => synced.extend(unlisted.then(|| row.key())),
            _ => drop(differing.insert(row.key())),
        }
    }
    move |key| differing.contains(key) || (unlisted && !synced.contains(key))
}

/// Adds what is stored otherwise than it was sent, of those that the question is about.
fn add_stored(
    known: &state::State,
    desired: &Desired,
    objects: &mut Vec<Difference>,
    is_asked: impl Fn(&ResourceKey, Digest) -> bool,
) {
    for (key, fields) in &known.stored {
        let object = desired.objects.get(key);
        let Some(object) = object.filter(|object| is_asked(key, object.digest)) else {
            continue;
        };
        match objects.iter_mut().find(|it| it.key() == *key) {
            Some(known) => known.stored.clone_from(fields),
            None => objects.push(Difference {
                stored: fields.clone(),
                ..untold(key, &object.kind, Fate::Unchanged)
            }),
        }
    }
}

/// A hook that would run: it has no live side, as each run makes an object of its own.
fn hook(hook: &DesiredHook) -> Difference {
    let name = match hook.key.name.is_empty() {
        true => format!("{}*", hook.generate_name),
        false => hook.key.name.clone(),
    };
    Difference {
        name,
        ..untold(&hook.key, &hook.kind, Fate::Run)
    }
}

/// An object of which neither side is shown.
fn untold(key: &ResourceKey, kind: &Kind, fate: Fate) -> Difference {
    Difference {
        group: key.group.clone(),
        version: kind.version.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        fate,
        changes: Vec::new(),
        text: String::new(),
        live: None,
        desired: None,
        stored: Vec::new(),
        error: String::new(),
    }
}

/// Finds the desired state that is meant.
async fn find(
    context: &Context,
    application: &Application,
    against: Against,
) -> Result<(Desired, Manifests), Unavailable> {
    let engine = &context.engine;
    let other = |error: crate::sync::Error| Unavailable::Other(error.to_string());
    let status = &application.status;
    let deployed = match &against {
        Against::Now => status
            .pin
            .as_ref()
            .map(|pin| (pin.bundle.clone(), pin.revision.clone())),
        Against::Deployment(id) => {
            let deployment = status.history.iter().find(|it| it.id == *id);
            let deployment = deployment.ok_or(Unavailable::Deployment(*id))?;
            Some((deployment.bundle.clone(), deployment.revision.clone()))
        }
        Against::Revision(_) | Against::Manifests(_) => None,
    };
    if let Some((bundle, revision)) = deployed {
        let recalled = recall(engine, application, &bundle, &revision).await;
        let gone = || Unavailable::Other("the bundle of that deployment is gone".to_owned());
        return recalled.map_err(other)?.ok_or_else(gone);
    }
    if let Against::Manifests(objects) = against {
        return prepare(engine, application, objects).await.map_err(other);
    }
    let not_read = || Unavailable::Other("the repository was not read yet".to_owned());
    let mirror = (context.mirror_of)(&application.key).ok_or_else(not_read)?;
    let commit_id = match against {
        Against::Revision(revision) => {
            let fetched = (context.fetch)(application.key.clone(), revision).await;
            fetched.map_err(Unavailable::Other)?
        }
        _ if status.sync.revision.is_empty() => return Err(not_read()),
        _ => status.sync.revision.clone(),
    };
    let source = Source {
        mirror: &mirror,
        commit_id: &commit_id,
    };
    desire(engine, application, &source).await.map_err(other)
}

/// What is told of one object; none when there is nothing on either side, or it is not ours.
fn difference(preview: Preview, kind: &Kind, owner: &ApplicationKey) -> Option<Difference> {
    let Preview {
        key,
        live,
        desired,
        error,
    } = preview;
    let stale = desired.is_none() && error.is_none();
    let ours = live.as_ref().and_then(crate::crd::names::tracked_by);
    let ours = ours == Some((owner.namespace.clone(), owner.name.clone()));
    if stale && !ours {
        return None;
    }
    // Masked before anything is made of it.
    let (live, desired) = (live.map(masked), desired.map(masked));
    let found = match (&live, &desired) {
        (Some(live), Some(desired)) => changes(live, desired),
        _ => Vec::new(),
    };
    let fate = match (&live, &desired) {
        _ if error.is_some() => Fate::Unknown,
        (None, _) => Fate::Created,
        (Some(_), None) => Fate::Pruned,
        (Some(_), Some(_)) if found.is_empty() => Fate::Unchanged,
        (Some(_), Some(_)) => Fate::Changed,
    };
    let text = match fate {
        Fate::Unchanged | Fate::Unknown => String::new(),
        _ => unified(live.as_ref(), desired.as_ref()),
    };
    Some(Difference {
        group: key.group,
        version: kind.version.clone(),
        kind: key.kind,
        namespace: key.namespace,
        name: key.name,
        fate,
        changes: found,
        text,
        live: live.as_ref().map(as_manifest),
        desired: desired.as_ref().map(as_manifest),
        stored: Vec::new(),
        error: error.unwrap_or_default(),
    })
}
