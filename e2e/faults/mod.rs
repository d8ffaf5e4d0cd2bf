//! What goes wrong between the agent and the API server, and what the API server refuses. Each
//! story has an agent of its own behind a gate, and checks the same at its end: the cluster is at
//! the last good commit, nothing else was touched, and the agent is at rest.

mod away;
mod definitions;
mod killed;
mod offered;
mod order;
mod outage;
mod refused;
mod rights;
mod stuck;
mod twins;
mod unlisted;
mod watches;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::given::{Lab, SOON, Story, binary, config_map};
use crate::lab::gate::{Asked, Gate};
use crate::lab::{Agent, AgentOptions, Expectation, eventually};

/// How long nothing is asked until the agent counts as at rest.
const REST: Duration = Duration::from_secs(1);

/// One story's Application, behind a gate, beside an object that is nobody's business.
struct Scene {
    lab: &'static Lab,
    app: Story,
    gate: Gate,
    /// The bystander as it was.
    bystander: Value,
}

impl Scene {
    async fn of(lab: &'static Lab, name: &str) -> Result<Self> {
        let app = lab.given_in(name, &format!("{name}-home")).await?;
        let gate = Gate::open(&lab.guardian, &lab.control_plane).await?;
        let bystander = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander"},
            "data": {"value": "mine"},
        });
        let path = app.map("bystander");
        let bystander = app.cluster.apply(&path, "somebody", &bystander).await?;
        Ok(Self {
            lab,
            app,
            gate,
            bystander,
        })
    }

    /// An agent that reaches the API server through the gate only.
    async fn agent(&self) -> Result<Agent> {
        self.agent_as("admin-token", &self.gate).await
    }

    async fn agent_as(&self, token: &str, gate: &Gate) -> Result<Agent> {
        let options = AgentOptions {
            name: format!("agent-{}", self.app.name),
            namespace: self.app.home.clone(),
            kubeconfig: Some(gate.kubeconfig(token)?),
            ..AgentOptions::new(binary())
        };
        Agent::start(&self.lab.guardian, &self.lab.control_plane, &options).await
    }

    /// The Application of the story with quick retries.
    fn application(&self) -> Value {
        let mut application = self.app.application();
        application["spec"]["syncPolicy"]["retry"] =
            json!({"backoff": {"duration": "1s", "maxDuration": "2s"}});
        application
    }

    /// Another Application of the same agent, with a namespace and a repository of its own.
    async fn neighbour(&self) -> Result<Story> {
        let name = format!("{}-beside", self.app.name);
        let mut story = self.lab.given(&name).await?;
        story.home.clone_from(&self.app.home);
        let commit_id = story.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        story.create(&story.application()).await?;
        story.synced(&commit_id).await?;
        Ok(story)
    }

    /// Waits until the Application and its first commit, one ConfigMap, are there; returns the commit.
    async fn begun(&self) -> Result<String> {
        let map = config_map("a", "1");
        let first = self.app.commit(&[("a.yaml", Some(&map))])?;
        self.app.create(&self.application()).await?;
        self.converged(&first, &["ConfigMap/a"]).await?;
        Ok(first)
    }

    /// Waits until the Application is at a commit, and checks what holds after every fault: its
    /// live objects are `names` (`Kind/name`) and in the inventory, the bystander is as it was,
    /// and the agent comes to rest.
    async fn converged(&self, commit_id: &str, names: &[&str]) -> Result<()> {
        self.app.synced(commit_id).await?;
        let wanted: BTreeSet<_> = names.iter().map(ToString::to_string).collect();
        let live = self.tracked().await?;
        let found: BTreeSet<_> = live.iter().map(|(name, _)| name.clone()).collect();
        ensure!(found == wanted, "live: {found:?}, wanted: {wanted:?}");
        self.inventory_holds_all().await?;
        self.bystander_is_untouched().await?;
        self.rest().await
    }

    /// The live objects that say that they belong to the Application: `Kind/name` and the id of
    /// their inventory entry.
    async fn tracked(&self) -> Result<Vec<(String, String)>> {
        let (home, name) = (&self.app.home, &self.app.name);
        let ours = format!("{home}_{name}:");
        let mut found = Vec::new();
        for (path, kind) in [
            ("api/v1", "ConfigMap"),
            ("api/v1", "Secret"),
            ("api/v1", "Service"),
            ("apis/apps/v1", "Deployment"),
        ] {
            let path = format!("/{path}/namespaces/{name}/{}s", kind.to_lowercase());
            let list = self.app.cluster.get(&path).await?;
            for object in list["items"].as_array().into_iter().flatten() {
                let metadata = &object["metadata"];
                let id = metadata["annotations"]["trimtab.dev/tracking-id"].as_str();
                if let Some(id) = id.and_then(|id| id.strip_prefix(&ours)) {
                    let name = metadata["name"].as_str().unwrap_or_default();
                    found.push((format!("{kind}/{name}"), id.to_owned()));
                }
            }
        }
        Ok(found)
    }

    /// Every live object that says that it is the Application's is in the inventory.
    async fn inventory_holds_all(&self) -> Result<()> {
        let live = self.tracked().await?;
        let status = self.app.status().await?;
        let entries = status["inventory"]["entries"].as_array();
        let entries: BTreeSet<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["id"].as_str())
            .collect();
        for (name, id) in live {
            ensure!(
                entries.contains(id.as_str()),
                "{name} is not in the inventory {entries:?}"
            );
        }
        Ok(())
    }

    async fn bystander_is_untouched(&self) -> Result<()> {
        let now = self.app.cluster.get(&self.app.map("bystander")).await?;
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        ensure!(
            version(&now) == version(&self.bystander),
            "the bystander was touched: {now}"
        );
        Ok(())
    }

    /// Waits until the agent asks nothing for a while: no loop of any kind goes on.
    async fn rest(&self) -> Result<()> {
        let mut last = (self.gate.total(), Instant::now());
        eventually("the agent is at rest", SOON, || {
            let total = self.gate.total();
            if total != last.0 {
                last = (total, Instant::now());
            }
            let (since, rested) = (last.0.saturating_sub(5), last.1.elapsed() >= REST);
            async move {
                Ok(if rested {
                    Expectation::Met(())
                } else {
                    Expectation::Pending(format!("{:?}", self.gate.since(since)))
                })
            }
        })
        .await
    }

    /// Watches the agent for a while: it may ask at most so often.
    async fn asks_at_most(&self, bound: usize, window: Duration) -> Result<Vec<Asked>> {
        let before = self.gate.total();
        tokio::time::sleep(window).await;
        let asked = self.gate.since(before);
        if asked.len() > bound {
            let shown: Vec<_> = asked.iter().rev().take(20).collect();
            bail!("{} requests in {window:?}: {shown:#?}", asked.len());
        }
        Ok(asked)
    }
}
