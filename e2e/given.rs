//! What a story starts from: the shared lab, and a namespace, a repository and an Application of
//! its own.

use std::{
    path::PathBuf,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::OnceCell};

use crate::lab::process::Guardian;
use crate::lab::{
    Agent, AgentOptions, Cluster, ControlPlane, Expectation, GitServer, Repository, eventually,
    tools,
};

/// Long enough for a loaded machine, short enough to notice what never comes.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Everything that the stories share.
pub(crate) struct Lab {
    pub(crate) guardian: Guardian,
    pub(crate) control_plane: ControlPlane,
    pub(crate) git: GitServer,
    pub(crate) agent: Agent,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can start"));
static LAB: OnceCell<Lab> = OnceCell::const_new();
static FAILED: OnceLock<String> = OnceLock::new();

/// The agent's binary under test.
pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_trimtab").into()
}

/// Runs a story on the shared lab. When it fails, the end of the agent's log is shown.
pub(crate) fn story<F>(tell: impl FnOnce(&'static Lab) -> F)
where
    F: Future<Output = Result<()>>,
{
    RUNTIME.block_on(async {
        if let Some(why) = FAILED.get() {
            panic!("the lab did not start: {why}");
        }
        let lab = match LAB.get_or_try_init(start).await {
            Ok(lab) => lab,
            Err(error) => {
                let why = FAILED.get_or_init(|| format!("{error:#}"));
                panic!("the lab did not start: {why}");
            }
        };
        if let Err(error) = tell(lab).await {
            panic!("{error:#}\n{}", lab.agent.process.tail(25));
        }
    });
}

async fn start() -> Result<Lab> {
    let guardian = Guardian::start()?;
    let control_plane = ControlPlane::start(&guardian, &tools()?).await?;
    let repositories = guardian.directory().join("repositories");
    std::fs::create_dir_all(&repositories)?;
    let git = GitServer::start(&repositories)?;
    control_plane
        .cluster
        .create("/api/v1/namespaces", &namespace("trimtab"))
        .await?;
    let options = AgentOptions {
        address: format!("127.0.0.1:{}", control_plane.forwarded),
        ..AgentOptions::new(binary())
    };
    let agent = Agent::start(&guardian, &control_plane, &options).await?;
    Ok(Lab {
        guardian,
        control_plane,
        git,
        agent,
    })
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// One story's own things, all under one name.
pub(crate) struct Story {
    pub(crate) name: String,
    /// The namespace of its Application.
    pub(crate) home: String,
    pub(crate) repository: Repository,
    pub(crate) url: String,
    pub(crate) cluster: Cluster,
}

impl Lab {
    /// A namespace and an empty repository, both of this name.
    pub(crate) async fn given(&self, name: &str) -> Result<Story> {
        self.given_in(name, "trimtab").await
    }

    /// The same with Applications in another namespace, for an agent of its own.
    pub(crate) async fn given_in(&self, name: &str, home: &str) -> Result<Story> {
        let cluster = self.control_plane.cluster.clone();
        cluster
            .create("/api/v1/namespaces", &namespace(name))
            .await?;
        if home != "trimtab" {
            cluster
                .create("/api/v1/namespaces", &namespace(home))
                .await?;
        }
        let root = self.guardian.directory().join("repositories");
        let repository = Repository::create(&root, name)?;
        Ok(Story {
            name: name.to_owned(),
            home: home.to_owned(),
            url: self.git.url(name),
            repository,
            cluster,
        })
    }

    /// Another agent, with a namespace of Applications of its own.
    pub(crate) async fn agent_for(&self, home: &str, arguments: &[&str]) -> Result<Agent> {
        let options = AgentOptions {
            name: format!("agent-{home}"),
            namespace: home.to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            ..AgentOptions::new(binary())
        };
        Agent::start(&self.guardian, &self.control_plane, &options).await
    }
}

/// A ConfigMap manifest with one value.
pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: \"{value}\"}}\n"
    )
}

impl Story {
    /// An Application of the repository's directory `app` with automated sync, prune and self-heal.
    pub(crate) fn application(&self) -> Value {
        json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": self.home, "name": self.name},
            "spec": {
                "project": "default",
                "source": {"repoURL": self.url, "path": "app", "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.name},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            },
        })
    }

    pub(crate) async fn create(&self, application: &Value) -> Result<Value> {
        let path = format!(
            "/apis/trimtab.dev/v1alpha1/namespaces/{}/applications",
            self.home
        );
        self.cluster.create(&path, application).await
    }

    /// The path of the Application.
    pub(crate) fn path(&self) -> String {
        format!(
            "/apis/trimtab.dev/v1alpha1/namespaces/{}/applications/{}",
            self.home, self.name
        )
    }

    pub(crate) async fn status(&self) -> Result<Value> {
        Ok(self.cluster.get(&self.path()).await?["status"].take())
    }

    /// Commits files of `app/`; none deletes.
    pub(crate) fn commit(&self, files: &[(&str, Option<&str>)]) -> Result<String> {
        let paths: Vec<_> = files
            .iter()
            .map(|(path, _)| format!("app/{path}"))
            .collect();
        let files: Vec<_> = paths
            .iter()
            .zip(files)
            .map(|(path, (_, content))| (path.as_str(), *content))
            .collect();
        self.repository.commit("main", &files, "a change")
    }

    /// Commits files and tells the agent by a signed push.
    pub(crate) async fn push(
        &self,
        agent: &Agent,
        files: &[(&str, Option<&str>)],
    ) -> Result<String> {
        let commit_id = self.commit(files)?;
        match agent.push_github(&self.url, "main", &commit_id).await? {
            202 => Ok(commit_id),
            status => bail!("the push was answered with {status}"),
        }
    }

    /// Waits until the Application is Synced and Healthy at a commit.
    pub(crate) async fn synced(&self, commit_id: &str) -> Result<Value> {
        self.becomes("Synced and Healthy", |status| {
            status["sync"]["status"] == "Synced"
                && status["health"]["status"] == "Healthy"
                && status["sync"]["revision"] == commit_id
        })
        .await
    }

    /// Waits until the Application is Synced at a commit, and makes sure that its first sync did it:
    /// of the attempts that the status lists for this commit, none failed.
    pub(crate) async fn in_one_sync(&self, commit_id: &str) -> Result<Value> {
        let results = |status: &Value| -> Vec<Value> {
            let attempts = status["attempts"].as_array();
            let attempts = attempts.into_iter().flatten();
            let of_commit = attempts.filter(|attempt| attempt["revision"] == commit_id);
            of_commit.map(|attempt| attempt["result"].clone()).collect()
        };
        let status = self
            .becomes("Synced by an attempt that is listed", |status| {
                status["sync"]["status"] == "Synced"
                    && status["sync"]["revision"] == commit_id
                    && !results(status).is_empty()
            })
            .await?;
        let all = results(&status).iter().all(|result| result == "Succeeded");
        ensure!(
            all,
            "{}: not in one sync: {}",
            self.name,
            status["attempts"]
        );
        Ok(status)
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn becomes(
        &self,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(&format!("{}: {what}", self.name), SOON, || async {
            let status = self.status().await?;
            Ok(if wanted(&status) {
                Expectation::Met(status)
            } else {
                let seen = json!({
                    "sync": status["sync"], "health": status["health"],
                    "conditions": status["conditions"],
                    "operation": status["operationState"]["message"],
                });
                Expectation::Pending(seen.to_string())
            })
        })
        .await
    }

    /// Waits for a condition of this type whose message contains the text.
    pub(crate) async fn condition(&self, type_: &str, text: &str) -> Result<Value> {
        self.becomes(&format!("{type_} with \"{text}\""), |status| {
            status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| {
                    condition["type"] == type_
                        && condition["message"]
                            .as_str()
                            .is_some_and(|message| message.contains(text))
                })
        })
        .await
    }

    /// Asks for a look at the source, when the wish before it was answered.
    pub(crate) async fn refresh(&self) -> Result<()> {
        self.refreshed().await?;
        let wish = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "normal"}}});
        self.cluster.patch(&self.path(), &wish).await.map(drop)
    }

    /// Waits until no look at the source is wished for.
    pub(crate) async fn refreshed(&self) -> Result<()> {
        let path = self.path();
        eventually(
            &format!("{}: no wish to refresh", self.name),
            SOON,
            || async {
                let annotations = self.cluster.get(&path).await?["metadata"]["annotations"].take();
                Ok(if annotations["trimtab.dev/refresh"].is_null() {
                    Expectation::Met(())
                } else {
                    Expectation::Pending(annotations.to_string())
                })
            },
        )
        .await
    }

    /// The path of a ConfigMap of the story's namespace.
    pub(crate) fn map(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{name}", self.name)
    }

    /// Waits until a ConfigMap holds a value, or (none) is gone.
    pub(crate) async fn value(&self, name: &str, value: Option<&str>) -> Result<()> {
        let path = self.map(name);
        eventually(&format!("{name} = {value:?}"), SOON, || async {
            let found = self.cluster.find(&path).await?;
            let now = found
                .as_ref()
                .map(|map| map["data"]["value"].as_str().unwrap_or("-"));
            Ok(if now == value {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!(
                    "it is {now:?}; {}",
                    self.status().await?["conditions"]
                ))
            })
        })
        .await
    }
}
