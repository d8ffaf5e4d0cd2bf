//! From rendered manifests to the desired state: each made ready to apply, and remembered in
//! brief.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::summary::summarize;
use super::{Engine, Error};
use crate::cluster;
use crate::crd::names::{
    IGNORE_HEALTHCHECK, TRACKING_ANNOTATION, TRACKING_LABEL, annotation, tracking_id,
    tracking_label,
};
use crate::crd::options::{remarks, remarks_of_application};
use crate::crd::{Application, DeployedSummary, HookPhase, SourceType, SyncOptions};
use crate::diff::{Digest, normalize};
use crate::object::{Kind, Notes, Object, ResourceKey};
use crate::plan::{Hook, Needed, Place, Role, pull_up, role, wave};
use crate::render::Asks;
use crate::trigger::Inputs;

/// The desired state of an application, without the manifests themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Desired {
    pub(crate) commit_id: String,
    pub(crate) inputs: Inputs,
    /// What its chart asked of the cluster, and which answer it got.
    pub(crate) asks: Asks,
    pub(crate) capabilities: String,
    /// Names the bundle on disk that it was made from.
    pub(crate) bundle: String,
    /// Digest of all objects and hooks, as hex: equal for equal desired states, whatever commit
    /// they come from.
    pub(crate) digest: String,
    #[serde(with = "pairs")]
    pub(crate) objects: BTreeMap<ResourceKey, DesiredObject>,
    pub(crate) hooks: Vec<DesiredHook>,
    /// In the source, and neither applied nor compared (`hook: Skip`): what is live of it stays.
    #[serde(default)]
    pub(crate) left: BTreeSet<ResourceKey>,
    /// Manifests that the same source describes twice; the last one counts.
    pub(crate) repeated: Vec<ResourceKey>,
    /// Options of objects that change nothing, and why.
    pub(crate) remarks: Vec<String>,
    /// What the render read otherwise than a person may expect.
    #[serde(default)]
    pub(crate) notes: Notes,
    /// None where it was not rendered from a commit.
    #[serde(default)]
    pub(crate) source_type: Option<SourceType>,
    #[serde(default)]
    pub(crate) summary: DeployedSummary,
}

/// What is remembered of one desired object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesiredObject {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    pub(crate) ignores_health: bool,
    pub(crate) place: Place,
    pub(crate) options: SyncOptions,
}

impl DesiredObject {
    /// The wave, for the order of a later deletion.
    pub(crate) fn wave(&self) -> i32 {
        i32::try_from(self.place.order).unwrap_or_default()
    }
}

/// What is remembered of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesiredHook {
    /// Without a name where one is generated.
    pub(crate) key: ResourceKey,
    pub(crate) generate_name: String,
    pub(crate) kind: Kind,
    pub(crate) wave: i32,
    pub(crate) hook: Hook,
}

impl DesiredHook {
    /// Whether an object was made from this hook.
    pub(crate) fn made(&self, key: &ResourceKey) -> bool {
        let named = if self.key.name.is_empty() {
            key.name.starts_with(&self.generate_name)
        } else {
            key.name == self.key.name
        };
        named
            && key.group == self.key.group
            && key.kind == self.key.kind
            && key.namespace == self.key.namespace
    }
}

/// A map whose keys are no texts, as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

/// The manifests of a desired state while they are at hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifests {
    pub(crate) objects: HashMap<ResourceKey, Object>,
    /// In the order of [`Desired::hooks`].
    pub(crate) hooks: Vec<Object>,
    /// Those of [`Desired::left`].
    pub(crate) left: Vec<Object>,
}

/// Hooks of one application: each has a row in the status by which it runs once, so that none can be
/// left out.
const MOST_HOOKS: usize = 500;

/// Makes every manifest ready to apply: scope and namespace, normal form, tracking, place in the
/// sync. Doing it again with what it made changes nothing.
pub(crate) async fn prepare(
    engine: &Engine,
    application: &Application,
    rendered: Vec<Object>,
) -> Result<(Desired, Manifests), Error> {
    let scopes = scopes_of_definitions(&rendered);
    let options = SyncOptions::of_application(application.spec.sync_options());
    let mut desired = Desired {
        remarks: remarks_of_application(application.spec.sync_options()),
        ..Desired::default()
    };
    let mut manifests = Manifests::default();
    let mut without_namespace = Vec::new();
    for mut object in rendered {
        let role = role(&object);
        let namespaced = is_namespaced(engine, &scopes, &object.api()).await?;
        let namespace = &application.spec.destination.namespace;
        normalize(&mut object, namespaced, namespace);
        if role == Role::Left {
            // One without a name or namespace is no object that could be live.
            if !object.name().is_empty() && (!namespaced || object.namespace().is_some()) {
                desired.left.insert(object.key());
                manifests.left.push(object);
            }
            continue;
        }
        if namespaced && object.namespace().is_none() {
            without_namespace.push(object.key().to_string());
            continue;
        }
        desired.remarks.extend(remarks(&object));
        match role {
            Role::Hook(hook) => take_hook(&mut desired, &mut manifests, application, hook, object),
            Role::Resource | Role::Left => {
                if object.name().is_empty() {
                    let kind = object.kind();
                    return Err(Error::Manifests(format!(
                        "a {kind} has only a generateName, which is for hooks: give it a name"
                    )));
                }
                take_object(&mut desired, &mut manifests, application, options, object);
            }
        }
    }
    if desired.hooks.len() > MOST_HOOKS {
        return Err(Error::Manifests(format!(
            "{} hooks, and an application can have {MOST_HOOKS}: how each did is in its status",
            desired.hooks.len()
        )));
    }
    if !without_namespace.is_empty() {
        return Err(Error::Manifests(format!(
            "no namespace for {}: set it in the manifest or in spec.destination.namespace",
            some_of(&without_namespace)
        )));
    }
    place(&mut desired, &manifests);
    desired.digest = digest(&desired, &manifests);
    Ok((desired, manifests))
}

/// Whether the instances of a kind live in namespaces. What nobody knows is taken to.
async fn is_namespaced(engine: &Engine, scopes: &Scopes, kind: &Kind) -> Result<bool, Error> {
    let known = scopes.defined.get(&(kind.group.clone(), kind.kind.clone()));
    match engine.cluster.served(kind).await {
        Ok(served) => Ok(served.namespaced),
        Err(cluster::Error::UnknownKind(_)) => Ok(known.copied().unwrap_or(true)),
        // The same source may bring what makes the group's server answer.
        Err(cluster::Error::Api { code: 503, .. }) if scopes.aggregated.contains(&kind.group) => {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn take_object(
    desired: &mut Desired,
    manifests: &mut Manifests,
    application: &Application,
    options: SyncOptions,
    mut object: Object,
) {
    let key = object.key();
    summarize(&mut desired.summary, &object);
    track(&mut object, application);
    let options = options.of_object(&object);
    let ignores_health = annotation(&object, IGNORE_HEALTHCHECK) == Some("true");
    let remembered = DesiredObject {
        kind: object.api(),
        digest: Digest::of_map(object.fields()),
        ignores_health: ignores_health || options.left_alone,
        place: Place::of_wave(HookPhase::Sync, wave(&object)),
        options,
    };
    if desired.objects.insert(key.clone(), remembered).is_some() {
        desired.repeated.push(key.clone());
    }
    manifests.objects.insert(key, object);
}

fn take_hook(
    desired: &mut Desired,
    manifests: &mut Manifests,
    application: &Application,
    hook: Hook,
    mut object: Object,
) {
    let generate_name = object.generate_name().to_owned();
    let key = object.key();
    if !key.name.is_empty() {
        track(&mut object, application);
    }
    keep_finished_jobs(&mut object);
    desired.hooks.push(DesiredHook {
        generate_name,
        kind: object.api(),
        wave: wave(&object),
        hook,
        key,
    });
    manifests.hooks.push(object);
}

/// A Job that removes itself at once takes its result along: it stays for ten minutes at least.
/// Argo CD holds such a Job by a finalizer, which outlives an agent that is uninstalled.
fn keep_finished_jobs(object: &mut Object) {
    const KEEP_SECONDS: i64 = 600;
    if object.group() != "batch" || object.kind() != "Job" {
        return;
    }
    let spec = object.fields_mut().get_mut("spec");
    if let Some(ttl) = spec.and_then(|spec| spec.get_mut("ttlSecondsAfterFinished"))
        && ttl.as_i64().is_some_and(|seconds| seconds < KEEP_SECONDS)
    {
        *ttl = KEEP_SECONDS.into();
    }
}

/// Marks an object as belonging to an application.
pub(crate) fn track(object: &mut Object, application: &Application) {
    let (namespace, name) = (&application.key.namespace, &application.key.name);
    let key = object.key();
    object.set_label(TRACKING_LABEL, &tracking_label(namespace, name));
    object.set_annotation(TRACKING_ANNOTATION, &tracking_id(namespace, name, &key));
}

/// Lets namespaces and definitions go before the first that needs them.
fn place(desired: &mut Desired, manifests: &Manifests) {
    let hooks = desired.hooks.iter().flat_map(|hook| {
        let phases = hook.hook.phases.iter();
        phases
            .filter(|phase| **phase < HookPhase::SyncFail)
            .map(|phase| Needed {
                key: &hook.key,
                place: Place::of_wave(*phase, hook.wave),
                defines: None,
            })
    });
    let objects = desired.objects.iter().map(|(key, object)| Needed {
        key,
        place: object.place,
        defines: manifests.objects.get(key).and_then(defined_kind),
    });
    let needed: Vec<_> = objects.chain(hooks).collect();
    for (key, place) in pull_up(&needed) {
        if let Some(object) = desired.objects.get_mut(&key) {
            object.place = place;
        }
    }
}

fn digest(desired: &Desired, manifests: &Manifests) -> String {
    let mut hasher = Sha256::new();
    for (key, object) in &desired.objects {
        hasher.update(key.id());
        hasher.update(object.digest.0);
    }
    for hook in &manifests.hooks {
        hasher.update(Digest::of_map(hook.fields()).0);
    }
    hex::encode(&hasher.finalize()[..10])
}

/// What the same source says of kinds that the cluster may not know yet.
struct Scopes {
    /// Whether the instances of a kind live in namespaces, by (group, kind).
    defined: HashMap<(String, String), bool>,
    /// Groups that another server serves.
    aggregated: HashSet<String>,
}

fn scopes_of_definitions(objects: &[Object]) -> Scopes {
    let scope = |object: &Object| object.get("/spec/scope") != Some(&"Cluster".into());
    let group = |object: &Object| object.get("/spec/group")?.as_str().map(str::to_owned);
    Scopes {
        defined: objects
            .iter()
            .filter_map(|object| Some((defined_kind(object)?, scope(object))))
            .collect(),
        aggregated: objects
            .iter()
            .filter(|object| object.kind() == "APIService")
            .filter_map(group)
            .collect(),
    }
}

/// The kind (group, kind) that a CustomResourceDefinition defines.
pub(crate) fn defined_kind(object: &Object) -> Option<(String, String)> {
    if object.kind() != "CustomResourceDefinition" {
        return None;
    }
    let text = |pointer| object.get(pointer)?.as_str().map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?))
}

/// The first few of many, and how many more.
fn some_of(texts: &[String]) -> String {
    let more = texts.len().saturating_sub(5);
    let shown = texts.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}
