//! The lab: a real control plane, a real Git server and the agent, on loopback, in one directory
//! that is gone afterwards. Used by the end-to-end tests, the demo and the benchmarks.

pub(crate) mod agent;
pub(crate) mod browser;
pub(crate) mod cluster;
pub(crate) mod control_plane;
pub(crate) mod gate;
pub(crate) mod git_server;
pub(crate) mod issuer;
pub(crate) mod memory_group;
pub(crate) mod pod;
pub(crate) mod process;
pub(crate) mod repository;
pub(crate) mod visitor;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

pub(crate) use agent::{Agent, AgentOptions};
pub(crate) use cluster::Cluster;
pub(crate) use control_plane::ControlPlane;
pub(crate) use git_server::GitServer;
pub(crate) use repository::Repository;

/// The directory that holds the real parts: `TRIMTAB_TOOLS_BIN`, else what `hack/tools` prints.
pub(crate) fn tools() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("TRIMTAB_TOOLS_BIN") {
        return Ok(directory.into());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/tools");
    let output = std::process::Command::new(script)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("could not run hack/tools")?;
    if !output.status.success() {
        bail!("hack/tools failed");
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// What became of something that is awaited.
pub(crate) enum Expectation<T> {
    Met(T),
    Pending(String),
    /// It can never become true any more.
    Broken(String),
}

/// Asks again and again until it is met, at most for `timeout`; says what was missing last.
pub(crate) async fn eventually<T, F>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Expectation<T>>>,
{
    let deadline = std::time::Instant::now() + timeout;
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match ask().await {
            Ok(Expectation::Met(value)) => return Ok(value),
            Ok(Expectation::Broken(why)) => bail!("{what}: {why}"),
            Ok(Expectation::Pending(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        if std::time::Instant::now() > deadline {
            bail!("{what}: not within {timeout:?}: {last}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
