//! A real control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok
//! for nodes whose pods become ready.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::process::{Guardian, Process, free_port};
use super::{Cluster, Expectation, eventually};

const START: Duration = Duration::from_secs(60);

/// A running control plane.
pub(crate) struct ControlPlane {
    pub(crate) cluster: Cluster,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) server: String,
    pub(crate) tools: PathBuf,
    /// Where a port-forward to port 8080 of any pod leads: kept for the pages of an agent.
    pub(crate) forwarded: u16,
    /// Of etcd for clients and for peers, and of the API server.
    ports: [u16; 3],
    // Ended in this order: clients first.
    pub(crate) kwok: Process,
    pub(crate) scheduler: Process,
    pub(crate) controller_manager: Process,
    pub(crate) api_server: Process,
    pub(crate) etcd: Process,
}

impl ControlPlane {
    /// The real kubectl, with nothing of this machine's user: this cluster, and a cache that goes
    /// with it.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = Command::new(self.tools.join("kubectl"));
        command
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl"));
        command
    }

    /// Starts everything and waits until the API server is ready and the node is.
    pub(crate) async fn start(guardian: &Guardian, tools: &Path) -> Result<Self> {
        let directory = guardian.directory();
        let path = |name: &str| directory.join(name).display().to_string();
        let (private_key, public_key) = service_account_keys()?;
        fs::write(path("service-accounts.key"), private_key)?;
        fs::write(path("service-accounts.pub"), public_key)?;
        fs::write(
            path("tokens.csv"),
            "admin-token,admin,admin,system:masters\n",
        )?;
        let ports = [free_port()?, free_port()?, free_port()?];
        let etcd = start_etcd(guardian, tools, ports)?;
        let api_server = start_api_server(guardian, tools, ports)?;
        let server = format!("https://127.0.0.1:{}", ports[2]);
        let certificate = directory.join("certificates/apiserver.crt");
        eventually("the certificate of kube-apiserver", START, || async {
            Ok(match fs::metadata(&certificate) {
                Ok(file) if file.len() > 0 => Expectation::Met(()),
                _ => Expectation::Pending(api_server.tail(5)),
            })
        })
        .await?;
        let kubeconfig = directory.join("kubeconfig");
        fs::write(
            &kubeconfig,
            kubeconfig_text(&server, &certificate, "admin-token"),
        )?;
        let cluster = Cluster::connect(&kubeconfig).await?;
        eventually("kube-apiserver", START, || async {
            Ok(match cluster.text("/readyz").await {
                Ok(_) => Expectation::Met(()),
                Err(error) => Expectation::Pending(format!("{error:#}\n{}", api_server.tail(5))),
            })
        })
        .await?;
        let kubeconfig_flag = format!("--kubeconfig={}", kubeconfig.display());
        let controller_manager = guardian.spawn(
            "kube-controller-manager",
            Command::new(tools.join("kube-controller-manager"))
                .arg(&kubeconfig_flag)
                .arg(format!(
                    "--service-account-private-key-file={}",
                    path("service-accounts.key")
                ))
                .arg(format!("--root-ca-file={}", certificate.display()))
                .args(["--leader-elect=false", "--secure-port=0"]),
        )?;
        let scheduler = guardian.spawn(
            "kube-scheduler",
            Command::new(tools.join("kube-scheduler"))
                .arg(&kubeconfig_flag)
                .args(["--leader-elect=false", "--secure-port=0"]),
        )?;
        let forwarded = free_port()?;
        let kwok = start_kwok(guardian, tools, &kubeconfig_flag, forwarded)?;
        let control_plane = Self {
            cluster,
            kubeconfig,
            server,
            tools: tools.to_owned(),
            forwarded,
            ports,
            kwok,
            scheduler,
            controller_manager,
            api_server,
            etcd,
        };
        control_plane.add_node("node-1").await?;
        Ok(control_plane)
    }

    /// Copies all that etcd holds now.
    pub(crate) fn back_up(&self, guardian: &Guardian) -> Result<PathBuf> {
        let copy = guardian.directory().join("etcd-backup");
        self.etcd.signal("STOP")?;
        let copied = copy_directory(&guardian.directory().join("etcd"), &copy);
        self.etcd.signal("CONT")?;
        copied?;
        Ok(copy)
    }

    /// Ends etcd and the API server at once, and starts them with what was copied.
    pub(crate) async fn set_back(&mut self, guardian: &Guardian, copy: &Path) -> Result<()> {
        self.api_server.kill();
        self.etcd.kill();
        let data = guardian.directory().join("etcd");
        fs::remove_dir_all(&data)?;
        copy_directory(copy, &data)?;
        self.etcd = start_etcd(guardian, &self.tools, self.ports)?;
        self.api_server = start_api_server(guardian, &self.tools, self.ports)?;
        let api_server = &self.api_server;
        eventually("kube-apiserver once more", START, || async {
            Ok(match self.cluster.text("/readyz").await {
                Ok(_) => Expectation::Met(()),
                Err(error) => Expectation::Pending(format!("{error:#}\n{}", api_server.tail(5))),
            })
        })
        .await
    }

    /// Adds a node and waits until pods can be scheduled on it.
    pub(crate) async fn add_node(&self, name: &str) -> Result<()> {
        self.cluster
            .create(
                "/api/v1/nodes",
                &json!({
                    "apiVersion": "v1", "kind": "Node",
                    "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}},
                    "status": {"capacity": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
                               "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "10000"}},
                }),
            )
            .await?;
        let path = format!("/api/v1/nodes/{name}");
        eventually("a ready node", START, || async {
            let node = self.cluster.get(&path).await?;
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            let tainted = node["spec"]["taints"]
                .as_array()
                .is_some_and(|taints| !taints.is_empty());
            Ok(if ready && !tainted {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{}\n{}", node["spec"], self.kwok.tail(5)))
            })
        })
        .await
    }
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_directory(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

fn start_etcd(guardian: &Guardian, tools: &Path, ports: [u16; 3]) -> Result<Process> {
    let data = guardian.directory().join("etcd");
    let etcd_url = format!("http://127.0.0.1:{}", ports[0]);
    let peer_url = format!("http://127.0.0.1:{}", ports[1]);
    guardian.spawn(
        "etcd",
        Command::new(tools.join("etcd"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls={etcd_url}"))
            .arg(format!("--advertise-client-urls={etcd_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=default={peer_url}"))
            .args(["--unsafe-no-fsync", "--log-level=warn"]),
    )
}

fn start_api_server(guardian: &Guardian, tools: &Path, ports: [u16; 3]) -> Result<Process> {
    let [etcd, _, port] = ports;
    let path = |name: &str| guardian.directory().join(name).display().to_string();
    guardian.spawn(
        "kube-apiserver",
        Command::new(tools.join("kube-apiserver"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
            .arg(format!("--secure-port={port}"))
            .arg(format!("--cert-dir={}", path("certificates")))
            .arg(format!("--token-auth-file={}", path("tokens.csv")))
            .arg(format!(
                "--service-account-key-file={}",
                path("service-accounts.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                path("service-accounts.key")
            ))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .args([
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
            ])
            .args(["--endpoint-reconciler-type=none", "--allow-privileged=true"]),
    )
}

fn start_kwok(
    guardian: &Guardian,
    tools: &Path,
    kubeconfig_flag: &str,
    forwarded: u16,
) -> Result<Process> {
    let directory = guardian.directory();
    let port = free_port()?;
    // Every pod has the same log: enough to see that logs are there.
    fs::write(
        directory.join("pod.log"),
        "2026-01-01T00:00:00.000000000Z stdout F a line of a pod\n",
    )?;
    let logs = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs",
        "metadata": {"name": "every-pod"},
        "spec": {"logs": [{"logsFile": directory.join("pod.log"), "follow": false}]},
    });
    let forwards = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterPortForward",
        "metadata": {"name": "every-pod"},
        "spec": {"forwards": [{
            "ports": [8080], "target": {"address": "127.0.0.1", "port": forwarded},
        }]},
    });
    fs::write(
        directory.join("logs.yaml"),
        format!("{logs}\n---\n{forwards}\n"),
    )?;
    let certificates = directory.join("certificates");
    let stages = tools.join("../kwok-stages");
    let mut command = Command::new(tools.join("kwok"));
    command
        .arg(kubeconfig_flag)
        .args(["--manage-all-nodes=true", "--node-ip=127.0.0.1"])
        // Without a lease the node counts as lost after some 100 s, and its pods as not ready.
        .arg("--node-lease-duration-seconds=40")
        .arg(format!("--node-port={port}"))
        .arg(format!("--server-address=127.0.0.1:{port}"))
        .arg(format!(
            "--tls-cert-file={}",
            certificates.join("apiserver.crt").display()
        ))
        .arg(format!(
            "--tls-private-key-file={}",
            certificates.join("apiserver.key").display()
        ))
        .arg(format!(
            "--config={}",
            directory.join("logs.yaml").display()
        ));
    for entry in fs::read_dir(&stages).with_context(|| format!("no {}", stages.display()))? {
        command.arg(format!("--config={}", entry?.path().display()));
    }
    guardian.spawn("kwok", &mut command)
}

/// A key pair for service-account tokens, as PEM: P-256, PKCS#8 and SubjectPublicKeyInfo.
fn service_account_keys() -> Result<(String, String)> {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    /// What stands before the point of a P-256 key in a SubjectPublicKeyInfo (RFC 5480).
    const PREFIX: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let failed = |_| anyhow::anyhow!("could not make a key");
    let random = SystemRandom::new();
    let private =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.as_ref(), &random)
        .map_err(|_| anyhow::anyhow!("could not read the key that was made"))?;
    let mut public = hex::decode(PREFIX)?;
    public.extend_from_slice(pair.public_key().as_ref());
    Ok((
        pem("PRIVATE KEY", private.as_ref()),
        pem("PUBLIC KEY", &public),
    ))
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let lines: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A kubeconfig for one user.
pub(crate) fn kubeconfig_text(server: &str, certificate: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": server, "certificate-authority": certificate,
        }}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {
            "cluster": "lab", "user": "lab", "namespace": "trimtab",
        }}],
    })
    .to_string()
}
