//! The same push by hand: what a person could do without any agent.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use serde_json::json;

use super::rig::Rig;

/// A clone to work in.
pub(crate) struct Baseline {
    clone: PathBuf,
}

impl Baseline {
    pub(crate) fn prepare(rig: &Rig) -> Result<Self> {
        let clone = rig.guardian.directory().join("by-hand");
        run(Command::new("git")
            .args(["clone", "--quiet", "--depth=1", &rig.url])
            .arg(&clone))?;
        Ok(Self { clone })
    }

    /// git fetch of depth 1, checkout of one directory, `kustomize build`, and one server-side
    /// apply of the changed object on a warm connection.
    pub(crate) async fn floor(&self, rig: &Rig, app: usize, commit_id: &str) -> Result<Duration> {
        let started = Instant::now();
        let directory = self.fetch(app, commit_id)?;
        let kustomize = rig.control_plane.tools.join("kustomize");
        let text = run(Command::new(kustomize).arg("build").arg(&directory))?;
        let name = format!("app-{app}-m0");
        let document = text
            .split("\n---\n")
            .find(|document| document.contains(&format!("name: {name}\n")))
            .unwrap_or_default();
        let value = document
            .lines()
            .find_map(|line| line.trim().strip_prefix("value: "));
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "by-hand"},
            "data": {"value": value.unwrap_or_default()},
        });
        let path = format!("/api/v1/namespaces/by-hand/configmaps/{name}");
        rig.control_plane
            .cluster
            .apply(&path, "by-hand", &object)
            .await?;
        Ok(started.elapsed())
    }

    /// git fetch, checkout, `kustomize build | kubectl apply --server-side`.
    pub(crate) fn shell(&self, rig: &Rig, app: usize, commit_id: &str) -> Result<Duration> {
        let started = Instant::now();
        let directory = self.fetch(app, commit_id)?;
        let tools = &rig.control_plane.tools;
        let script = "\"$1/kustomize\" build \"$2\" | \"$1/kubectl\" --kubeconfig \"$3\" -n by-hand apply \
                      --server-side --force-conflicts --field-manager by-hand -f - >/dev/null";
        run(Command::new("/bin/sh")
            .args(["-c", script, "shell"])
            .arg(tools)
            .arg(&directory)
            .arg(&rig.control_plane.kubeconfig)
            .env("KUBECACHEDIR", rig.guardian.directory().join("kubectl")))?;
        Ok(started.elapsed())
    }

    fn fetch(&self, app: usize, commit_id: &str) -> Result<PathBuf> {
        let git = |arguments: &[&str]| {
            run(Command::new("git")
                .arg("-C")
                .arg(&self.clone)
                .args(arguments))
        };
        git(&["fetch", "--quiet", "--depth=1", "origin", "main"])?;
        let path = format!("apps/{app}");
        git(&["checkout", "--quiet", commit_id, "--", &path])?;
        Ok(Path::new(&self.clone).join(path))
    }
}

/// The objects of a first sync, first without effect and then in earnest, on warm connections.
pub(crate) async fn first_sync(rig: &Rig) -> Result<Duration> {
    /// As many as the agent has under way.
    const AT_ONCE: usize = 16;
    let cluster = &rig.control_plane.cluster;
    let started = Instant::now();
    for dry in [true, false] {
        let all = (0..rig.apps).flat_map(|app| (0..rig.objects).map(move |n| (app, n)));
        let applied = all.map(|(app, n)| async move {
            let name = format!("app-{app}-m{n}");
            let path = format!("/api/v1/namespaces/by-hand/configmaps/{name}");
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "by-hand"},
                "data": {"value": "0"},
            });
            if dry {
                cluster.apply_dry(&path, "by-hand", &object).await
            } else {
                cluster.apply(&path, "by-hand", &object).await
            }
        });
        let applied: Vec<_> = stream::iter(applied).buffered(AT_ONCE).collect().await;
        applied.into_iter().collect::<Result<Vec<_>>>()?;
    }
    Ok(started.elapsed())
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
