//! From a commit to the desired state: checkout, render, and every manifest made ready to apply.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::DirBuilderExt,
};

use super::{Engine, Error};
use crate::cluster;
use crate::crd::names::{
    HOOK, IGNORE_HEALTHCHECK, SYNC_OPTIONS, SYNC_WAVE, TRACKING_ANNOTATION, TRACKING_LABEL,
    annotation, tracking_id, tracking_label,
};
use crate::crd::{Application, ApplicationSource};
use crate::diff::{Digest, normalize};
use crate::git::{CheckoutLimits, Mirror};
use crate::object::{Kind, Object, ResourceKey};
use crate::render;
use crate::telemetry::{self, RenderResult};
use crate::trigger::Inputs;

/// Where the desired state is read from.
pub(crate) struct Source<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) commit_id: &'a str,
}

/// The desired state of an application, without the manifests themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    pub(crate) commit_id: String,
    pub(crate) inputs: Inputs,
    pub(crate) objects: BTreeMap<ResourceKey, DesiredObject>,
    /// Manifests that the same source describes twice; the last one counts.
    pub(crate) repeated: Vec<ResourceKey>,
}

/// What is remembered of one desired object.
#[derive(Clone, Debug)]
pub(crate) struct DesiredObject {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    pub(crate) ignores_health: bool,
}

/// Renders a commit, or takes the bundle of an earlier render of the same inputs.
///
/// Guarantees: all or nothing; nothing of the cluster or of Git is changed.
pub(crate) async fn desire(
    engine: &Engine,
    application: &Application,
    source: &Source<'_>,
) -> Result<(Desired, HashMap<ResourceKey, Object>), Error> {
    let spec = application.spec.source.clone().unwrap_or_default();
    let (mirror, commit_id) = (source.mirror.clone(), source.commit_id.to_owned());
    let reading = spec.clone();
    let inputs = tokio::task::spawn_blocking(move || read_inputs(&mirror, &commit_id, &reading))
        .await
        .map_err(|error| Error::Stage(io::Error::other(error)))??;
    let namespace = application.spec.destination.namespace.as_str();
    let digest = render::digest(
        &spec,
        &inputs,
        &application.key.name,
        namespace,
        &engine.kube_version,
    );
    let rendered = match engine.bundles.load(&application.uid, &digest) {
        Some(objects) => objects,
        None => {
            let objects = render_commit(engine, application, source, &spec, &inputs).await?;
            if let Err(error) = engine.bundles.save(&application.uid, &digest, &objects) {
                tracing::warn!(app = %application.key, %error, "could not keep the rendered bundle");
            }
            objects
        }
    };
    let (objects, ready, repeated) = prepare(engine, application, rendered).await?;
    let desired = Desired {
        commit_id: source.commit_id.to_owned(),
        inputs,
        objects,
        repeated,
    };
    Ok((desired, ready))
}

/// The paths that a render reads, with the ids of what is there.
fn read_inputs(
    mirror: &Mirror,
    commit_id: &str,
    spec: &ApplicationSource,
) -> Result<Inputs, Error> {
    let commit = mirror.commit_info(commit_id)?;
    tracing::debug!(
        revision = commit_id,
        author = commit.author,
        subject = commit.message.lines().next().unwrap_or_default(),
        committed = commit.time,
        "reading a revision"
    );
    let paths = render::inputs(spec, &Tree { mirror, commit_id })?;
    let mut inputs = Inputs::new();
    for path in paths {
        let id = mirror.tree_id(commit_id, &path)?;
        inputs.push((path, id));
    }
    Ok(inputs)
}

/// A commit as the renderer's scan reads it.
struct Tree<'a> {
    mirror: &'a Mirror,
    commit_id: &'a str,
}

/// The most that is read of one file while the inputs are looked for.
const SCANNED_FILE: u64 = 1 << 20;

impl render::Repository for Tree<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.mirror
            .read(self.commit_id, path, SCANNED_FILE)
            .map_err(|error| error.to_string())
    }

    fn is_directory(&self, path: &str) -> Result<bool, String> {
        self.mirror
            .is_directory(self.commit_id, path)
            .map_err(|error| error.to_string())
    }
}

async fn render_commit(
    engine: &Engine,
    application: &Application,
    source: &Source<'_>,
    spec: &ApplicationSource,
    inputs: &Inputs,
) -> Result<Vec<Object>, Error> {
    let _slot = engine.render_slots.acquire().await;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&engine.stages)
        .map_err(Error::Stage)?;
    let directory = tempfile::Builder::new()
        .prefix("render-")
        .tempdir_in(&engine.stages)
        .map_err(Error::Stage)?;
    let stage = directory.path().join("source");
    let scratch = directory.path().join("scratch");
    for path in [&stage, &scratch] {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(Error::Stage)?;
    }
    let paths: Vec<String> = inputs
        .iter()
        .filter(|(_, id)| id.is_some())
        .map(|(path, _)| path.clone())
        .collect();
    let (mirror, commit_id) = (source.mirror.clone(), source.commit_id.to_owned());
    let destination = stage.clone();
    tokio::task::spawn_blocking(move || {
        mirror.checkout(&commit_id, &paths, &destination, &CheckoutLimits::default())
    })
    .await
    .map_err(|error| Error::Stage(io::Error::other(error)))??;
    let request = render::Request {
        stage: &stage,
        scratch: &scratch,
        source: spec,
        name: &application.key.name,
        namespace: &application.spec.destination.namespace,
        kube_version: &engine.kube_version,
        timeout: engine.render_timeout,
        limits: engine.yaml_limits,
    };
    let started = std::time::Instant::now();
    let result = render::render(&engine.tools, &request).await;
    let counted = if result.is_ok() {
        RenderResult::Rendered
    } else {
        RenderResult::Failed
    };
    let tool = result
        .as_ref()
        .map_or(telemetry::Tool::Directory, |(tool, _)| tool.label());
    engine.metrics.render(tool, counted, started.elapsed());
    Ok(result?.1)
}

type Prepared = (
    BTreeMap<ResourceKey, DesiredObject>,
    HashMap<ResourceKey, Object>,
    Vec<ResourceKey>,
);

/// Makes every manifest ready to apply: scope and namespace, normal form, tracking.
async fn prepare(
    engine: &Engine,
    application: &Application,
    rendered: Vec<Object>,
) -> Result<Prepared, Error> {
    refuse_unsupported(&rendered)?;
    let scopes = scopes_of_definitions(&rendered);
    let (app_namespace, app_name) = (&application.key.namespace, &application.key.name);
    let label = tracking_label(app_namespace, app_name);
    let mut objects = BTreeMap::new();
    let mut ready = HashMap::new();
    let mut repeated = Vec::new();
    let mut without_namespace = Vec::new();
    for mut object in rendered {
        let kind = object.api();
        let namespaced = match engine.cluster.served(&kind).await {
            Ok(served) => served.namespaced,
            Err(cluster::Error::UnknownKind(_)) => scopes
                .get(&(kind.group.clone(), kind.kind.clone()))
                .copied()
                .unwrap_or(true),
            Err(error) => return Err(error.into()),
        };
        normalize(
            &mut object,
            namespaced,
            &application.spec.destination.namespace,
        );
        let key = object.key();
        if namespaced && key.namespace.is_empty() {
            without_namespace.push(key.to_string());
            continue;
        }
        object.set_label(TRACKING_LABEL, &label);
        object.set_annotation(
            TRACKING_ANNOTATION,
            &tracking_id(app_namespace, app_name, &key),
        );
        let remembered = DesiredObject {
            kind,
            digest: Digest::of_map(object.fields()),
            ignores_health: annotation(&object, IGNORE_HEALTHCHECK) == Some("true"),
        };
        if objects.insert(key.clone(), remembered).is_some() {
            repeated.push(key.clone());
        }
        ready.insert(key, object);
    }
    if !without_namespace.is_empty() {
        return Err(Error::Manifests(format!(
            "no namespace for {}: set it in the manifest or in spec.destination.namespace",
            some_of(&without_namespace)
        )));
    }
    Ok((objects, ready, repeated))
}

/// Whether the instances of a kind live in namespaces, by (group, kind).
type Scopes = HashMap<(String, String), bool>;

/// The scopes of kinds whose definition comes with the same source.
fn scopes_of_definitions(objects: &[Object]) -> Scopes {
    let text = |object: &Object, pointer| {
        object
            .get(pointer)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    objects
        .iter()
        .filter(|object| object.kind() == "CustomResourceDefinition")
        .map(|object| {
            let kind = (
                text(object, "/spec/group"),
                text(object, "/spec/names/kind"),
            );
            (kind, text(object, "/spec/scope") != "Cluster")
        })
        .collect()
}

/// Hooks, waves and per-object options are not done yet: applying such an object as an ordinary
/// one would do something else than its author meant.
fn refuse_unsupported(objects: &[Object]) -> Result<(), Error> {
    let mut refused = Vec::new();
    for object in objects {
        for (name, meant) in [
            (HOOK, "hooks"),
            ("helm.sh/hook", "hooks"),
            (SYNC_OPTIONS, "per-object sync options"),
        ] {
            let given = if name.contains('/') {
                object.annotation(name)
            } else {
                annotation(object, name)
            };
            if given.is_some() {
                refused.push(format!("{meant} ({})", object.key()));
            }
        }
        if annotation(object, SYNC_WAVE).is_some_and(|wave| wave.trim() != "0") {
            refused.push(format!("waves ({})", object.key()));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Error::Manifests(format!(
        "not supported by this version: {}",
        some_of(&refused)
    )))
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
