//! From a commit to the desired state: checkout and render, or the bundle of an earlier render.

use std::{fs, io, os::unix::fs::DirBuilderExt};

use super::prepare::{Desired, Manifests, prepare};
use super::{Engine, Error};
use crate::crd::{Application, ApplicationSource};
use crate::git::{CheckoutLimits, Mirror};
use crate::object::Object;
use crate::render;
use crate::telemetry::{self, RenderResult};
use crate::trigger::Inputs;

/// Where the desired state is read from.
pub(crate) struct Source<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) commit_id: &'a str,
}

/// Renders a commit, or takes the bundle of an earlier render of the same inputs.
///
/// Guarantees: all or nothing; nothing of the cluster or of Git is changed.
pub(crate) async fn desire(
    engine: &Engine,
    application: &Application,
    source: &Source<'_>,
) -> Result<(Desired, Manifests), Error> {
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
    let (mut desired, manifests) = prepare(engine, application, rendered).await?;
    source.commit_id.clone_into(&mut desired.commit_id);
    desired.inputs = inputs;
    desired.bundle = digest;
    Ok((desired, manifests))
}

/// The manifests of a desired state that was made before, from the bundle that the render left on
/// disk; none when it is not there any more. Needs neither Git nor a renderer.
pub(crate) async fn manifests_of(
    engine: &Engine,
    application: &Application,
    desired: &Desired,
) -> Result<Option<Manifests>, Error> {
    let Some(rendered) = engine.bundles.load(&application.uid, &desired.bundle) else {
        return Ok(None);
    };
    let (again, manifests) = prepare(engine, application, rendered).await?;
    Ok((again.digest == desired.digest).then_some(manifests))
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
