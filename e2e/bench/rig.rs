//! What the measurements run on, and their rows.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::steady;
use crate::lab::process::Guardian;
use crate::lab::{
    Agent, AgentOptions, Cluster, ControlPlane, Expectation, GitServer, Repository, eventually,
    tools,
};

/// How much is measured.
pub(crate) struct Options {
    pub(crate) apps: Option<usize>,
    pub(crate) objects: usize,
    pub(crate) pushes: usize,
    /// How long steady counts.
    pub(crate) seconds: u64,
    /// Polls of the simulated day.
    pub(crate) polls: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apps: None,
            objects: 10,
            pushes: 20,
            seconds: 300,
            // Every 3 minutes of 24 hours.
            polls: 480,
        }
    }
}

impl Options {
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.apps
            .map_or_else(|| vec![1, 100], |apps| vec![apps.max(1)])
    }
}

/// One line of the result.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) measurement: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p90_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_shell: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_floor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anonymous_mib: Option<f64>,
    /// Requests to the API server, watches apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reads: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objects_per_second: Option<f64>,
}

impl Row {
    /// The percentiles of some times.
    pub(crate) fn of_times(measurement: String, times: &[Duration]) -> Self {
        Self {
            measurement,
            p50_ms: Some(percentile(times, 50)),
            p90_ms: Some(percentile(times, 90)),
            p99_ms: Some(percentile(times, 99)),
            ..Self::default()
        }
    }
}

/// Nearest rank, in milliseconds.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent)
        .div_ceil(100)
        .clamp(1, sorted.len().max(1));
    sorted
        .get(rank - 1)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

/// Prints rows as a Markdown table.
pub(crate) fn table(rows: &[Row]) {
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    println!(
        "| measurement | p50 ms | p90 ms | p99 ms | ÷ shell | ÷ floor | MiB | anonymous MiB | writes | reads | CPU s | objects/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.measurement,
            cell(row.p50_ms, 1),
            cell(row.p90_ms, 1),
            cell(row.p99_ms, 1),
            cell(row.ratio_to_shell, 2),
            cell(row.ratio_to_floor, 2),
            cell(row.mib, 1),
            cell(row.anonymous_mib, 1),
            cell(row.writes, 0),
            cell(row.reads, 0),
            cell(row.cpu_seconds, 2),
            cell(row.objects_per_second, 0)
        );
    }
}

/// What the first sync of all applications took.
pub(crate) struct FirstSync {
    pub(crate) time: Duration,
    /// Requests of the agent to the API server, ...
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    /// ... and its processor time.
    pub(crate) cpu_seconds: f64,
}

/// The lab with an agent that keeps some applications of one repository.
pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) control_plane: ControlPlane,
    pub(crate) repository: Repository,
    pub(crate) url: String,
    pub(crate) apps: usize,
    pub(crate) objects: usize,
    pub(crate) idle: (u64, u64),
    pub(crate) first_sync: FirstSync,
    binary: PathBuf,
    _git: GitServer,
    pub(crate) guardian: Guardian,
}

impl Rig {
    /// Starts everything and waits until every application is Synced.
    pub(crate) async fn start(binary: &Path, apps: usize, objects: usize) -> Result<Self> {
        Self::start_with(binary, apps, objects, true).await
    }

    /// The same with directories of plain manifests, without kustomize.
    pub(crate) async fn start_plain(binary: &Path, apps: usize, objects: usize) -> Result<Self> {
        Self::start_with(binary, apps, objects, false).await
    }

    async fn start_with(
        binary: &Path,
        apps: usize,
        objects: usize,
        kustomize: bool,
    ) -> Result<Self> {
        eprintln!("starting a lab with {apps} applications of {objects} objects ...");
        let guardian = Guardian::start()?;
        let control_plane = ControlPlane::start(&guardian, &tools()?).await?;
        let repositories = guardian.directory().join("repositories");
        std::fs::create_dir_all(&repositories)?;
        let git = GitServer::start(&repositories)?;
        let cluster = control_plane.cluster.clone();
        for name in ["trimtab", "bench", "by-hand"] {
            cluster
                .create("/api/v1/namespaces", &json!({"metadata": {"name": name}}))
                .await?;
        }
        let agent = Agent::start(&guardian, &control_plane, &AgentOptions::new(binary)).await?;
        // Allocations of the start are given back after a moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = agent.memory()?;
        let repository = Repository::create(&repositories, "bench")?;
        let mut files = Vec::new();
        for app in 0..apps {
            let resources: Vec<_> = (0..objects).map(|n| format!("m{n}.yaml")).collect();
            let text = format!("resources: [{}]\n", resources.join(", "));
            if kustomize {
                files.push((format!("apps/{app}/kustomization.yaml"), text));
            }
            for n in 0..objects {
                files.push((format!("apps/{app}/m{n}.yaml"), manifest(app, n, "0")));
            }
        }
        let files: Vec<_> = files
            .iter()
            .map(|(p, c)| (p.as_str(), Some(c.as_str())))
            .collect();
        repository.commit("main", &files, "all applications")?;
        let url = git.url("bench");
        let (writes, reads) = steady::asked(&agent).await?;
        let cpu_seconds = agent.processor_seconds()?;
        let started = Instant::now();
        for app in 0..apps {
            let path = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications";
            cluster.create(path, &application(app, &url)).await?;
        }
        all_synced(&cluster, apps).await?;
        let time = started.elapsed();
        let after = steady::asked(&agent).await?;
        let first_sync = FirstSync {
            time,
            writes: after.0 - writes,
            reads: after.1 - reads,
            cpu_seconds: agent.processor_seconds()? - cpu_seconds,
        };
        Ok(Self {
            agent,
            control_plane,
            repository,
            url,
            apps,
            objects,
            idle,
            first_sync,
            binary: binary.to_owned(),
            _git: git,
            guardian,
        })
    }

    /// Another run of the agent, after the one before has ended.
    pub(crate) async fn start_agent(&self, poll_interval: &str) -> Result<Agent> {
        let options = AgentOptions {
            poll_interval: poll_interval.to_owned(),
            ..AgentOptions::new(&self.binary)
        };
        Agent::start(&self.guardian, &self.control_plane, &options).await
    }

    /// Waits until a value is live.
    pub(crate) async fn value_live(&self, app: usize, value: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/bench/configmaps/app-{app}-m0");
        eventually("a push is live", Duration::from_secs(60), || async {
            let live = self.control_plane.cluster.get(&path).await?["data"]["value"].take();
            Ok(if live == value {
                Expectation::Met(())
            } else {
                Expectation::Pending(live.to_string())
            })
        })
        .await
    }

    /// Commits a new value for one object of one application.
    pub(crate) fn commit(&self, app: usize, value: &str) -> Result<String> {
        let path = format!("apps/{app}/m0.yaml");
        let text = manifest(app, 0, value);
        self.repository
            .commit("main", &[(path.as_str(), Some(text.as_str()))], "a change")
    }
}

/// Waits until so many applications are Synced.
async fn all_synced(cluster: &Cluster, apps: usize) -> Result<()> {
    let list = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications";
    eventually(
        "every application is Synced",
        Duration::from_secs(600),
        || async {
            let items = cluster.get(list).await?["items"].take();
            let items = items.as_array().cloned().unwrap_or_default();
            let synced = items
                .iter()
                .filter(|i| i["status"]["sync"]["status"] == "Synced")
                .count();
            Ok(if synced == apps {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{synced} of {apps}"))
            })
        },
    )
    .await
}

pub(crate) fn manifest(app: usize, n: usize, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app-{app}-m{n}}}\n\
         data: {{value: \"{value}\"}}\n"
    )
}

fn application(app: usize, url: &str) -> serde_json::Value {
    json!({
        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
        "metadata": {"namespace": "trimtab", "name": format!("app-{app}")},
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "path": format!("apps/{app}"), "targetRevision": "main"},
            "destination": {"namespace": "bench"},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
        },
    })
}
