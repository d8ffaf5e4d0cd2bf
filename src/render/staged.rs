//! A stage for the tests: files of a repository, rendered by the real tools.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// The tools that `hack/tools` built.
pub(super) fn tools() -> Tools {
    let directory = std::env::var_os("TRIMTAB_TOOLS_BIN").map(PathBuf::from);
    let tools = Tools::find(directory.as_deref());
    assert!(
        tools.kustomize.is_some() && tools.helm.is_some(),
        "kustomize and helm are needed: run TRIMTAB_TOOLS_BIN=$(hack/tools) cargo test"
    );
    tools
}

/// A repository that is checked out.
pub(super) struct Staged {
    directory: TempDir,
    /// Of what is printed and read.
    pub(super) limits: YamlLimits,
}

impl Staged {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scratch")).unwrap();
        let stage = directory.path().join("stage");
        fs::create_dir(&stage).unwrap();
        for (path, text) in files {
            let path = stage.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limits = YamlLimits::default();
        Self { directory, limits }
    }

    /// The directory that the files are in.
    pub(super) fn stage(&self) -> PathBuf {
        self.directory.path().join("stage")
    }

    /// What the source comes to. No error may name a directory of this machine.
    pub(super) async fn render(&self, source: Value, tools: &Tools) -> Result<Rendered, String> {
        let rendered = self.attempt(source, tools).await;
        rendered.map_err(|error| {
            let text = error.to_string();
            let directory = self.directory.path().to_str().unwrap();
            assert!(!text.contains(directory), "{text}");
            text
        })
    }

    async fn attempt(&self, source: Value, tools: &Tools) -> Result<Rendered, Error> {
        let source = serde_json::from_value(source).unwrap();
        let stage = self.stage();
        let checkout = Checkout::open(&stage).unwrap();
        let reading = inputs(&source, "app", &checkout)?;
        let request = Request {
            stage: &stage,
            scratch: &self.directory.path().join("scratch"),
            left_out: &[],
            repeated_keys: &reading.repeated_keys,
            tool: reading.tool,
            source: &source,
            name: "app",
            namespace: "shop",
            kube_version: "1.36.3",
            api_versions: &[
                "example.com/v1".to_owned(),
                "example.com/v1/Thing".to_owned(),
            ],
            timeout: Duration::from_secs(60),
            priority: Priority::Usual,
            limits: self.limits,
        };
        render(tools, &request).await
    }
}
