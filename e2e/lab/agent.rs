//! The agent as a child of the lab.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::memory_group::MemoryGroup;
use super::pod::Pod;
use super::process::{Guardian, Process};
use super::{ControlPlane, Expectation, eventually};

pub(crate) const GITHUB_SECRET: &str = "It's a Secret to Everybody";
pub(crate) const GITLAB_TOKEN: &str = "gitlab-token";

/// Tells apart what would have one name.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How an agent is started.
#[derive(Clone)]
pub(crate) struct AgentOptions {
    pub(crate) binary: PathBuf,
    pub(crate) name: String,
    /// The namespace of its Applications.
    pub(crate) namespace: String,
    /// Of the API and the pages.
    pub(crate) address: String,
    pub(crate) poll_interval: String,
    /// More settings.
    pub(crate) settings: Value,
    pub(crate) arguments: Vec<String>,
    pub(crate) kubeconfig: Option<PathBuf>,
    /// What bounds the memory of the agent and its children.
    pub(crate) group: Option<Arc<MemoryGroup>>,
    /// It runs as in a restricted pod.
    pub(crate) pod: bool,
    /// Where kustomize and helm are, if not with the control plane's own tools.
    pub(crate) tools: Option<PathBuf>,
}

impl AgentOptions {
    pub(crate) fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            name: "agent".into(),
            namespace: "trimtab".into(),
            address: "127.0.0.1:0".into(),
            poll_interval: "180s".into(),
            settings: json!({}),
            arguments: Vec::new(),
            kubeconfig: None,
            group: None,
            pod: false,
            tools: None,
        }
    }
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) process: Process,
    /// The API and the pages.
    pub(crate) people: SocketAddr,
    pub(crate) webhooks: SocketAddr,
    pub(crate) operations: SocketAddr,
}

impl Agent {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(
        guardian: &Guardian,
        control_plane: &ControlPlane,
        options: &AgentOptions,
    ) -> Result<Self> {
        let directory = guardian.directory().join(&options.name);
        fs::create_dir_all(&directory)?;
        let settings = write_settings(&directory, options)?;
        let kubeconfig = options
            .kubeconfig
            .as_ref()
            .unwrap_or(&control_plane.kubeconfig);
        let started = Instant::now();
        let (work, tools) = (directory.join("work"), &control_plane.tools);
        let tools = options.tools.as_ref().unwrap_or(tools);
        let mut command = match (&options.group, options.pod) {
            (_, true) => {
                let certificate = guardian.directory().join("certificates/apiserver.crt");
                let read = [&*directory, kubeconfig.as_path(), &certificate, tools];
                let root = guardian.directory().join(format!("{}-root", options.name));
                Pod::new(root)?.inside(&options.binary, &read, &work)?
            }
            (Some(group), false) => group.inside(&options.binary),
            (None, false) => Command::new(&options.binary),
        };
        command
            .arg("agent")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--namespace", &options.namespace])
            .arg("--config")
            .arg(settings)
            .arg("--work-dir")
            .arg(work)
            .arg("--tools-dir")
            .arg(tools)
            .args(["--address", &options.address])
            .args([
                "--webhook-address",
                "127.0.0.1:0",
                "--operations-address",
                "127.0.0.1:0",
            ])
            .args(["--log-format", "json"])
            .args(&options.arguments)
            .env_remove("RUST_LOG");
        // A log of its own, whatever ran under this name before.
        let log = format!("{}-{}", options.name, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut process = guardian.spawn(&log, &mut command)?;
        let [people, webhooks, operations] = loop {
            if let Some(code) = process.ended() {
                bail!("the agent ended with {code:?}:\n{}", process.tail(30));
            }
            if let Some(addresses) = addresses(&process.log()) {
                break addresses;
            }
            if started.elapsed() > Duration::from_secs(30) {
                bail!("the agent does not listen:\n{}", process.tail(30));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let agent = Self {
            process,
            people,
            webhooks,
            operations,
        };
        eventually("a ready agent", Duration::from_secs(30), || async {
            let (status, body) = get(agent.operations, "/readyz").await?;
            Ok(if status == 200 {
                Expectation::Met(())
            } else {
                Expectation::Pending(body)
            })
        })
        .await
        .with_context(|| agent.process.tail(30))?;
        Ok(agent)
    }

    /// Posts a delivery to a receiver and returns the status.
    pub(crate) async fn deliver(
        &self,
        receiver: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<u16> {
        let path = format!("/hooks/{receiver}");
        Ok(post(self.webhooks, &path, headers, body).await?.0)
    }

    /// A push as GitHub sends and signs it.
    pub(crate) async fn push_github(
        &self,
        clone_url: &str,
        branch: &str,
        commit_id: &str,
    ) -> Result<u16> {
        let body = github_push(clone_url, branch, commit_id);
        let signature = format!("sha256={}", sign(GITHUB_SECRET, &body));
        let delivery = delivery_id();
        let headers = [
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", delivery.as_str()),
            ("X-Hub-Signature-256", signature.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.deliver("github", &headers, &body).await
    }

    /// A push as GitLab sends it.
    pub(crate) async fn push_gitlab(
        &self,
        clone_url: &str,
        branch: &str,
        commit_id: &str,
    ) -> Result<u16> {
        let body = json!({
            "object_kind": "push", "ref": format!("refs/heads/{branch}"), "after": commit_id,
            "checkout_sha": commit_id, "project": {"git_http_url": clone_url},
        });
        let delivery = delivery_id();
        let headers = [
            ("X-Gitlab-Event", "Push Hook"),
            ("Idempotency-Key", delivery.as_str()),
            ("X-Gitlab-Token", GITLAB_TOKEN),
            ("Content-Type", "application/json"),
        ];
        self.deliver("gitlab", &headers, body.to_string().as_bytes())
            .await
    }

    pub(crate) async fn metrics(&self) -> Result<String> {
        Ok(get(self.operations, "/metrics").await?.1)
    }

    /// The sum of a metric over all label sets that contain each of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.metrics().await?;
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// Resident memory in KiB: all of it, and what is not backed by a file.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        Ok((self.kib("VmRSS:")?, self.kib("RssAnon:")?))
    }

    /// Seconds of processor time so far, with those of its children that have ended.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.process.id());
        let text = fs::read_to_string(path)?;
        // The name may hold spaces; fields 14 to 17 of the whole are 12 to 15 after it.
        let (_, rest) = text.rsplit_once(')').context("a process name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let times = fields.get(11..15).context("times")?;
        let ticks: f64 = times.iter().filter_map(|it| it.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }

    /// The most resident memory that it ever had, in KiB.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.kib("VmHWM:")
    }

    fn kib(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .with_context(|| format!("{name} in the status of the agent"))
    }
}

/// A delivery's body as GitHub writes it, as far as it matters.
pub(crate) fn github_push(clone_url: &str, branch: &str, commit_id: &str) -> Vec<u8> {
    json!({
        "ref": format!("refs/heads/{branch}"),
        "before": "1111111111111111111111111111111111111111", "after": commit_id,
        "created": false, "deleted": false, "forced": false, "head_commit": null,
        "repository": {"clone_url": clone_url, "html_url": clone_url},
    })
    .to_string()
    .into_bytes()
}

/// An id that no delivery had before: equal commits of two repositories have equal ids.
fn delivery_id() -> String {
    format!("delivery-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// HMAC-SHA256 in hex.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Writes what the agent reads; it takes new settings as they come.
pub(crate) fn write_settings(directory: &Path, options: &AgentOptions) -> Result<PathBuf> {
    fs::write(
        directory.join("github.secret"),
        format!("{GITHUB_SECRET}\n"),
    )?;
    fs::write(directory.join("gitlab.token"), GITLAB_TOKEN)?;
    let mut settings = json!({
        "pollInterval": options.poll_interval,
        "receivers": [
            {"name": "github", "provider": "github", "secretFiles": [directory.join("github.secret")]},
            {"name": "gitlab", "provider": "gitlab", "secretFiles": [directory.join("gitlab.token")]},
        ],
    });
    for (name, value) in options.settings.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    let path = directory.join("trimtab.yaml");
    fs::write(&path, settings.to_string())?;
    Ok(path)
}

/// The addresses that the last start of an agent printed.
fn addresses(log: &str) -> Option<[SocketAddr; 3]> {
    let lines = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines
        .into_iter()
        .find(|line| line["message"] == "listening")?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some([
        address("address")?,
        address("webhooks")?,
        address("operations")?,
    ])
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    exchange(address, head.as_bytes(), &[]).await
}

pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String)> {
    ask(address, "POST", path, headers, body).await
}

/// Any request with a body; `Host: lab` unless a header says otherwise.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String)> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str("Host: lab\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    exchange(address, head.as_bytes(), body).await
}

/// Sends bytes as they are and reads the status and the body of the answer.
pub(crate) async fn exchange(
    address: SocketAddr,
    head: &[u8],
    body: &[u8],
) -> Result<(u16, String)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let answer = converse(stream, &[head, body].concat()).await?;
    Ok((answer.status, answer.body))
}

/// The one answer of a connection that ends with it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request that asks for the end of the connection, as it is, and reads the answer.
pub(crate) async fn converse(mut stream: TcpStream, request: &[u8]) -> Result<Answer> {
    // A server may answer and close before it has read a body that it does not want.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(30), read).await?;
    if answer.is_empty() {
        read?;
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.context("no status")?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
