//! From a commit to the desired state: checkout and render, or the bundle of an earlier render.

use std::{cell::RefCell, fs, io, os::unix::fs::DirBuilderExt, path::PathBuf};

use super::capabilities::Offered;
use super::prepare::{Desired, Manifests, prepare};
use super::{Engine, Error};
use crate::crd::{Application, ApplicationSource};
use crate::exec::{Ending, Priority, Slots};
use crate::git::{self, CheckoutLimits, Mirror, TreeIds};
use crate::object::Rendered;
use crate::render::{self, Asks, Reading, Tool};
use crate::telemetry::RenderResult;
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
    let spec = render::source_of(application)?;
    let (mirror, commit_id) = (source.mirror.clone(), source.commit_id.to_owned());
    let (of, name) = (spec.clone(), application.key.name.clone());
    let read = move || read_inputs(&mirror, &commit_id, &of, &name);
    let slots = &engine.reading_slots;
    let slot = slots
        .take(&spec.repo_url, &application.key.to_string())
        .await;
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| Error::Stage(io::Error::other(error)))?;
    slot.end(ending(&read));
    let (reading, inputs, asks) = read?;
    let offered = engine.capabilities.offer(&application.key, asks).await?;
    let namespace = application.spec.destination.namespace.as_str();
    let digest = render::digest(
        &spec,
        &inputs,
        &application.key.name,
        namespace,
        &offered.version,
        &offered.versions,
    );
    let rendered = match engine.bundles.load(&application.uid, &digest) {
        Some(rendered) => {
            let name = application.key.to_string();
            slots_of(engine, reading.tool).note(&name, Ending::Well);
            rendered
        }
        None => {
            let wanted = Wanted {
                spec: &spec,
                reading: &reading,
                inputs: &inputs,
                offered: &offered,
            };
            let rendered = render_commit(engine, application, source, &wanted).await?;
            if let Err(error) = engine.bundles.save(&application.uid, &digest, &rendered) {
                tracing::warn!(app = %application.key, %error, "could not keep the rendered bundle");
            }
            rendered
        }
    };
    let (mut desired, manifests) = prepare(engine, application, rendered.objects).await?;
    desired.notes = rendered.notes;
    source.commit_id.clone_into(&mut desired.commit_id);
    desired.inputs = inputs;
    desired.asks = asks;
    desired.capabilities = offered.digest;
    desired.bundle = digest;
    desired.source_type = Some(reading.tool.source_type());
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
    let (again, manifests) = prepare(engine, application, rendered.objects).await?;
    Ok((again.digest == desired.digest).then_some(manifests))
}

/// What a render reads, and everything that comes to, with the ids of what is there; and what a
/// chart asks of the cluster.
fn read_inputs(
    mirror: &Mirror,
    commit_id: &str,
    spec: &ApplicationSource,
    application: &str,
) -> Result<(Reading, Inputs, Asks), Error> {
    let commit = mirror.commit_info(commit_id)?;
    tracing::debug!(
        revision = commit_id,
        author = commit.author,
        subject = commit.message.lines().next().unwrap_or_default(),
        committed = commit.time,
        "reading a revision"
    );
    let tree = Tree(RefCell::new(mirror.tree_ids(commit_id)?));
    let reading = render::inputs(spec, application, &tree)?;
    let mut tree = tree.0.into_inner();
    let limits = CheckoutLimits::default();
    let inputs = tree.reach(&reading.paths, &limits)?;
    let mut asks = Asks::Nothing;
    if reading.tool == Tool::Helm {
        let given = serde_json::to_vec(&spec.helm).unwrap_or_default();
        asks = render::asks("", &given);
        tree.visit(&inputs, &limits, |path, text| {
            asks = asks.max(render::asks(path, text));
            asks < Asks::Versions
        })?;
    }
    Ok((reading, inputs, asks))
}

/// A commit as the renderer's scan reads it.
struct Tree<'a>(RefCell<TreeIds<'a>>);

/// The most that is read of one file while the inputs are looked for.
const SCANNED_FILE: u64 = 1 << 20;

impl render::Repository for Tree<'_> {
    fn place(&self, path: &str) -> Result<Option<render::Place>, render::Error> {
        let place = self.0.borrow_mut().place(path).map_err(refusal)?;
        Ok(place.map(|place| render::Place {
            path: place.path,
            is_directory: place.is_directory,
        }))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, render::Error> {
        let mut tree = self.0.borrow_mut();
        tree.read(path, SCANNED_FILE).map_err(refusal)
    }
}

/// What is wrong with an entry is the renderer's refusal; anything else is said as it is.
fn refusal(error: git::Error) -> render::Error {
    match error {
        git::Error::LeftOut { path, problem } => render::Error::LeftOut { path, problem },
        git::Error::Refused { path, problem } => render::Error::Refused { path, problem },
        error => render::Error::Repository(error.to_string()),
    }
}

/// What is rendered, and with what.
struct Wanted<'a> {
    spec: &'a ApplicationSource,
    reading: &'a Reading,
    inputs: &'a Inputs,
    offered: &'a Offered,
}

/// How reading came to its end.
fn ending<T>(read: &Result<T, Error>) -> Ending {
    match read {
        Ok(_) => Ending::Well,
        Err(_) => Ending::Failed,
    }
}

/// The places for what a tool, or the agent itself, renders.
fn slots_of(engine: &Engine, tool: Tool) -> &Slots {
    match tool {
        Tool::Directory => &engine.directory_slots,
        Tool::Kustomize | Tool::Helm => &engine.render_slots,
    }
}

/// Renders, as often as it takes: a render that never ended well makes place for those that did, and
/// begins anew later.
async fn render_commit(
    engine: &Engine,
    application: &Application,
    source: &Source<'_>,
    wanted: &Wanted<'_>,
) -> Result<Rendered, Error> {
    let slots = slots_of(engine, wanted.reading.tool);
    loop {
        let mut slot = slots
            .take(&wanted.spec.repo_url, &application.key.to_string())
            .await;
        let priority = if slot.is_proven() {
            Priority::Usual
        } else {
            Priority::Low
        };
        let staged = stage(engine, source, wanted).await?;
        let rendering = render_staged(engine, application, wanted, &staged, priority);
        let result = tokio::select! {
            result = rendering => result,
            () = slot.recalled() => {
                tracing::debug!(app = %application.key, "its render makes place for another");
                continue;
            }
        };
        slot.end(match &result {
            Ok(_) => Ending::Well,
            Err(error) if error.is_exhausted() => Ending::Exhausted,
            Err(_) => Ending::Failed,
        });
        return Ok(result?);
    }
}

/// What a commit holds for one render, on disk until it is dropped.
struct Staged {
    directory: tempfile::TempDir,
    left_out: Vec<render::LeftOut>,
}

impl Staged {
    fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    fn scratch(&self) -> PathBuf {
        self.directory.path().join("scratch")
    }
}

/// Writes what is to be rendered into a private directory.
async fn stage(engine: &Engine, source: &Source<'_>, wanted: &Wanted<'_>) -> Result<Staged, Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&engine.stages)
        .map_err(Error::Stage)?;
    let directory = tempfile::Builder::new()
        .prefix("render-")
        .tempdir_in(&engine.stages)
        .map_err(Error::Stage)?;
    let mut staged = Staged {
        directory,
        left_out: Vec::new(),
    };
    for path in [staged.source(), staged.scratch()] {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(Error::Stage)?;
    }
    let paths: Vec<String> = wanted
        .inputs
        .iter()
        .filter(|(_, id)| id.is_some())
        .map(|(path, _)| path.clone())
        .collect();
    let (mirror, commit_id) = (source.mirror.clone(), source.commit_id.to_owned());
    let (destination, through) = (staged.source(), wanted.reading.through.clone());
    let limits = CheckoutLimits {
        bytes: engine.stage_bytes,
        ..CheckoutLimits::default()
    };
    let written = tokio::task::spawn_blocking(move || {
        mirror.checkout(&commit_id, &paths, &through, &destination, &limits)
    })
    .await
    .map_err(|error| Error::Stage(io::Error::other(error)))??;
    let left_out = written.left_out.into_iter().map(|entry| render::LeftOut {
        path: entry.path,
        problem: entry.problem,
        is_file: entry.is_file,
    });
    staged.left_out = left_out.collect();
    Ok(staged)
}

/// Runs the renderer on what is staged.
async fn render_staged(
    engine: &Engine,
    application: &Application,
    wanted: &Wanted<'_>,
    staged: &Staged,
    priority: Priority,
) -> Result<Rendered, render::Error> {
    let request = render::Request {
        stage: &staged.source(),
        scratch: &staged.scratch(),
        left_out: &staged.left_out,
        repeated_keys: &wanted.reading.repeated_keys,
        tool: wanted.reading.tool,
        source: wanted.spec,
        name: &application.key.name,
        namespace: &application.spec.destination.namespace,
        kube_version: &wanted.offered.version,
        api_versions: &wanted.offered.versions,
        timeout: engine.render_timeout,
        priority,
        limits: engine.yaml_limits,
    };
    let started = std::time::Instant::now();
    let result = render::render(&engine.tools, &request).await;
    let counted = if result.is_ok() {
        RenderResult::Rendered
    } else {
        RenderResult::Failed
    };
    engine
        .metrics
        .render(wanted.reading.tool.label(), counted, started.elapsed());
    result
}
