//! From a staged source to manifests: which tool, its input, its run, what came out.
//!
//! All or nothing: an error, a partial output or an object without a name is no result.

mod chart;
mod checkout;
mod directory;
mod environment;
mod helm;
mod inputs;
mod kustomization;
mod kustomize;
mod message;
mod output;
mod public;
mod schema;
mod tree;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::crd::{ApplicationSource, DirectorySource, HelmSource, SourceType};
use crate::exec::{self, Confinement, Priority, Sandbox};
use crate::object::{Object, Rendered, YamlError, YamlLimits};
use crate::telemetry;

pub(crate) use chart::{Asks, asks};
pub(crate) use checkout::Checkout;
pub(crate) use environment::source_of;
pub(crate) use inputs::{Place, Reading, Repository, inputs};

/// Why there are no manifests. Texts of tools are trimmed and name files of the repository.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path} does not exist in the repository")]
    MissingPath { path: String },
    #[error("{path}: {problem}")]
    Refused { path: String, problem: String },
    #[error("{path}: {source}")]
    Yaml { path: String, source: YamlError },
    /// An entry of the repository that would have to be read and cannot be.
    #[error("{path} {problem}")]
    LeftOut { path: String, problem: String },
    #[error("{0} is needed and was not found: put it into PATH or give --tools-dir")]
    MissingTool(&'static str),
    #[error("{0}")]
    Tool(String),
    /// It needed more than it may have of time, by the clock or of the processor, or of memory.
    #[error("{0}")]
    Exhausted(String),
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("could not read the repository: {0}")]
    Repository(String),
}

impl Error {
    /// Whether the render used up the time or the memory that it may have.
    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted(_))
    }
}

/// Where kustomize and helm are, and how they are confined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    pub(crate) kustomize: Option<PathBuf>,
    pub(crate) helm: Option<PathBuf>,
    pub(crate) isolation: Isolation,
}

/// What the kernel keeps kustomize and helm from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Isolation {
    /// Nothing: for tests of what comes out of them.
    #[default]
    None,
    Sandbox(Sandbox),
    /// They are not run at all, and why.
    Refused(String),
}

impl Tools {
    /// Looks in one directory, or in `PATH` when none is given.
    pub(crate) fn find(directory: Option<&Path>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = match directory {
            Some(directory) => vec![directory.to_owned()],
            None => std::env::split_paths(&path).collect(),
        };
        let find = |name: &str| {
            let candidates = directories.iter().map(|directory| directory.join(name));
            candidates
                .filter_map(|path| fs::canonicalize(path).ok())
                .find(|path| path.is_file())
        };
        Self {
            kustomize: find("kustomize"),
            helm: find("helm"),
            isolation: Isolation::None,
        }
    }

    /// The same tools, confined like this.
    pub(crate) fn confined(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// The memory that a tool should get along with, as Go reads it: less than it may have.
    fn memory_goal(&self) -> String {
        let limit = match &self.isolation {
            Isolation::Sandbox(sandbox) => sandbox.memory,
            Isolation::None | Isolation::Refused(_) => 320 << 20,
        };
        format!("{}MiB", (limit >> 20) * 4 / 5)
    }

    /// What one render may reach: its stage to read, its scratch directory to write.
    fn confinement(&self, request: &Request<'_>) -> Result<Option<Confinement>, Error> {
        match &self.isolation {
            Isolation::None => Ok(None),
            Isolation::Refused(why) => Err(Error::Tool(why.clone())),
            Isolation::Sandbox(sandbox) => Ok(Some(Confinement {
                sandbox: sandbox.clone(),
                read: vec![request.stage.to_owned()],
                write: vec![request.scratch.to_owned()],
                processor: request.timeout,
            })),
        }
    }
}

/// An entry of the repository that is not staged: a submodule, a pointer of Git LFS, or a link that
/// leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) path: String,
    /// Such as `is a submodule, which is not supported`.
    pub(crate) problem: String,
    /// Whether it stands for one file; else it could be a directory.
    pub(crate) is_file: bool,
}

/// What is said of a pointer.
const LFS: &str = "is stored in Git LFS, which is not supported";

/// What to render.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// A private directory with the repository's staged paths at their own places.
    pub(crate) stage: &'a Path,
    /// An empty private directory: home and temporary files of the child.
    pub(crate) scratch: &'a Path,
    /// What of the repository is not on the stage although it is staged.
    pub(crate) left_out: &'a [LeftOut],
    /// What the kustomizations say twice.
    pub(crate) repeated_keys: &'a [String],
    pub(crate) tool: Tool,
    pub(crate) source: &'a ApplicationSource,
    /// The application's name.
    pub(crate) name: &'a str,
    /// The destination namespace.
    pub(crate) namespace: &'a str,
    /// The version of Kubernetes that charts see, and the versions and kinds that it serves
    /// (`group/version` and `group/version/Kind`) besides those that every helm knows.
    pub(crate) kube_version: &'a str,
    pub(crate) api_versions: &'a [String],
    pub(crate) timeout: Duration,
    /// Of the tool that is run.
    pub(crate) priority: Priority,
    pub(crate) limits: YamlLimits,
}

impl Request<'_> {
    /// Why there is no file at a path of the repository.
    fn missing(&self, path: String) -> Error {
        let place = self.stage.join(&path);
        let stage = self.stage.canonicalize().unwrap_or_default();
        let real = place
            .parent()
            .and_then(|parent| Some(parent.canonicalize().ok()?.join(place.file_name()?)));
        let left_out = self.left_out.iter().find(|entry| {
            entry.path == path
                || real
                    .as_ref()
                    .is_some_and(|it| *it == stage.join(&entry.path))
        });
        match left_out {
            Some(entry) => Error::LeftOut {
                path,
                problem: entry.problem.clone(),
            },
            None => Error::MissingPath { path },
        }
    }
}

/// The way a source is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Directory,
    Kustomize,
    Helm,
}

impl Tool {
    /// As the status says it.
    pub(crate) fn source_type(self) -> SourceType {
        match self {
            Self::Directory => SourceType::Directory,
            Self::Kustomize => SourceType::Kustomize,
            Self::Helm => SourceType::Helm,
        }
    }

    pub(crate) fn label(self) -> telemetry::Tool {
        match self {
            Self::Directory => telemetry::Tool::Directory,
            Self::Kustomize => telemetry::Tool::Kustomize,
            Self::Helm => telemetry::Tool::Helm,
        }
    }
}

/// Names by which kustomize knows a kustomization.
const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Argo CD's order: what the spec says, a chart, a kustomization, plain manifests. What is given and
/// says nothing (`helm: {}`) chooses among what is there, and is no reason to fail where it is not.
fn detect(source: &ApplicationSource, mut has_file: impl FnMut(&str) -> bool) -> Tool {
    let chart = has_file("Chart.yaml");
    let kustomization = KUSTOMIZATION_FILES.iter().any(|name| has_file(name));
    if source.helm.as_ref().is_some_and(HelmSource::says_something) {
        Tool::Helm
    } else if source.kustomize.is_some() && kustomization {
        Tool::Kustomize
    } else if source.helm.is_some() && chart {
        Tool::Helm
    } else if source
        .directory
        .as_ref()
        .is_some_and(DirectorySource::says_something)
    {
        Tool::Directory
    } else if chart {
        Tool::Helm
    } else if kustomization {
        Tool::Kustomize
    } else {
        Tool::Directory
    }
}

/// Renders a staged source.
pub(crate) async fn render(tools: &Tools, request: &Request<'_>) -> Result<Rendered, Error> {
    let path = request.stage.join(&request.source.path);
    if !path.is_dir() {
        return Err(request.missing(request.source.path.clone()));
    }
    let rendered = match request.tool {
        Tool::Directory => directory::render(request)?,
        Tool::Kustomize => kustomize::render(tools, request).await?,
        Tool::Helm => helm::render(tools, request).await?,
    };
    for object in &rendered.objects {
        if object.is_nameless() {
            return Err(Error::Refused {
                path: request.source.path.clone(),
                problem: nameless(object),
            });
        }
    }
    Ok(rendered)
}

/// What is wrong with an object without a name.
fn nameless(object: &Object) -> String {
    let kind = object.kind();
    match object.get("/metadata/name") {
        // `n`, `on` or `12` without quotes.
        Some(name) if !name.is_string() && !name.is_null() => {
            format!("a {kind} whose metadata.name is not read as a text: put it in quotes")
        }
        _ => format!("a {kind} without metadata.name"),
    }
}

/// Raised when the same text is read in another way than before.
const READER: u32 = 2;

/// Names everything that a render depends on: equal digests, equal manifests.
pub(crate) fn digest(
    source: &ApplicationSource,
    inputs: &[(String, Option<String>)],
    name: &str,
    namespace: &str,
    kube_version: &str,
    api_versions: &[String],
) -> String {
    // The revision is not part of it: the ids of the inputs say what is there.
    let source = ApplicationSource {
        target_revision: String::new(),
        ..source.clone()
    };
    let mut parts = serde_json::json!([
        env!("CARGO_PKG_VERSION"),
        READER,
        source,
        inputs,
        name,
        namespace,
        kube_version,
    ]);
    // Only for those who ask, so that the others are not rendered anew with every new kind.
    if let (Some(parts), false) = (parts.as_array_mut(), api_versions.is_empty()) {
        parts.push(serde_json::json!(api_versions));
    }
    hex::encode(Sha256::digest(parts.to_string()))
}

/// Runs a renderer in a directory with nothing around it, and reads what it printed. `explain` sees
/// all that a renderer that failed said, before it is made fit for people.
async fn run(
    tools: &Tools,
    request: &Request<'_>,
    (program, arguments, directory): (PathBuf, Vec<OsString>, PathBuf),
    explain: impl Fn(&str) -> Option<Error>,
) -> Result<Rendered, Error> {
    let scratch = |name: &str| -> OsString { request.scratch.join(name).into() };
    let environment = [
        // A directory that is not there: no git, no shell, no plugin.
        ("PATH", scratch("no-programs")),
        ("HOME", request.scratch.into()),
        ("TMPDIR", request.scratch.into()),
        ("XDG_CACHE_HOME", scratch("cache")),
        ("XDG_CONFIG_HOME", scratch("config")),
        ("XDG_DATA_HOME", scratch("data")),
        ("HELM_CACHE_HOME", scratch("helm-cache")),
        ("HELM_CONFIG_HOME", scratch("helm-config")),
        ("HELM_DATA_HOME", scratch("helm-data")),
        ("HELM_PLUGINS", scratch("helm-plugins")),
        ("HELM_NO_PLUGINS", "1".into()),
        ("KUBECONFIG", "/dev/null".into()),
        ("LC_ALL", "C".into()),
        ("GOMAXPROCS", "2".into()),
        // It collects its garbage before the sandbox refuses it more.
        ("GOMEMLIMIT", tools.memory_goal().into()),
        ("GOTRACEBACK", "none".into()),
    ];
    let command = exec::Command {
        program,
        arguments,
        environment: environment.map(|(name, value)| (name.into(), value)).into(),
        directory,
        timeout: request.timeout,
        output_limit: request.limits.bytes,
        confinement: tools.confinement(request)?,
        priority: request.priority,
    };
    let output = exec::run(command)
        .await
        .map_err(|error| tool_error(request, error, explain))?;
    let text = String::from_utf8(output)
        .map_err(|_| Error::Tool("the renderer printed what is not UTF-8".to_owned()))?;
    output::read(&text, &request.source.path, request.limits)
}

/// A path below a directory of the repository.
fn inside(directory: &str, below: &str) -> String {
    let directory = directory.trim_start_matches("./").trim_end_matches('/');
    match (directory, below) {
        ("" | ".", below) => below.to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, below) => format!("{directory}/{below}"),
    }
}

/// A tool's message with paths of the repository instead of the stage's and without values, at
/// most 1 KiB.
fn tool_error(
    request: &Request<'_>,
    error: exec::Error,
    explain: impl Fn(&str) -> Option<Error>,
) -> Error {
    let (program, status, message) = match error {
        exec::Error::Failed {
            program,
            status,
            message,
        } => (program, status, message),
        exhausted @ (exec::Error::TimedOut { .. }
        | exec::Error::OutOfTime { .. }
        | exec::Error::OutOfMemory { .. }) => {
            return Error::Exhausted(exhausted.to_string());
        }
        other => return Error::Tool(other.to_string()),
    };
    let stage = request.stage.display().to_string();
    let scratch = request.scratch.display().to_string();
    let text = message.replace(&format!("{stage}/"), "");
    let text = text.replace(&stage, ".").replace(&scratch, "(scratch)");
    if let Some(known) = explain(&text) {
        return known;
    }
    let text = message::masked(&text, &public::Public::of(request));
    let text = format!("{program} failed ({status}): {text}");
    Error::Tool(text.chars().take(1024).collect())
}

#[cfg(test)]
mod accepting_tests;
#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod reading_tests;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod staged;
#[cfg(test)]
mod tests;
