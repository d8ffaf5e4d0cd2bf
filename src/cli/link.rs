//! The way from a command to the agent: its address, or a pod through the kubeconfig, with a
//! short-lived token. No ingress, no log-in, no password.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use axum::body::Body;
use clap::ValueEnum;
use http::{
    Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::target::{self, Target};
use crate::api::AUDIENCE;
use crate::cluster::{find_agent, forward, request_token};

/// The agent's port for people, inside its pod.
const PORT: u16 = 8080;
/// How long a token lasts: a working day before the pages of one command. The API server may
/// shorten it.
const TOKEN_SECONDS: i64 = 8 * 3600;
/// Bytes of an answer.
const ANSWER: usize = 64 << 20;
/// How long one request may take: rendering is part of some.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whose rights a command has with the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Viewer,
    Operator,
    Admin,
}

/// Flags of every command that talks to the agent itself.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Agent")]
pub(super) struct Args {
    /// Where the agent's port for people is, such as http://localhost:8080; its pod, reached
    /// through the kubeconfig, when not given
    #[arg(long, value_name = "URL")]
    server: Option<Uri>,
    /// A file with a token for the audience trimtab; one of the account of --as when not given
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The agent's account to act as; Kubernetes decides whether you may
    #[arg(long = "as", value_name = "ROLE", value_enum)]
    role: Option<Role>,
    /// The agent's namespace
    #[arg(long, value_name = "NAME", default_value = "trimtab")]
    agent_namespace: String,
    /// The name that the agent was installed under
    #[arg(long, value_name = "NAME", default_value = "trimtab")]
    agent_name: String,
}

/// An agent that can be asked.
#[derive(Clone)]
pub(super) struct Link {
    way: Way,
    token: String,
}

#[derive(Clone)]
enum Way {
    Address {
        host: String,
        port: u16,
    },
    Pod {
        client: kube::Client,
        namespace: String,
        pod: String,
    },
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Args {
    /// Finds the agent; `least` is the account that the command needs.
    pub(super) async fn open(&self, cluster: &target::Args, least: Role) -> Result<(Target, Link)> {
        let target = cluster.open().await?;
        let client = target.applications.client().clone();
        let token = match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("could not read {}", file.display()))?;
                text.trim().to_owned()
            }
            None => {
                let role = self.role.unwrap_or(least);
                let role = role.to_possible_value().map(|it| it.get_name().to_owned());
                let account = format!("{}-{}", self.agent_name, role.unwrap_or_default());
                let namespace = &self.agent_namespace;
                request_token(&client, namespace, &account, AUDIENCE, TOKEN_SECONDS).await?
            }
        };
        let way = match &self.server {
            Some(uri) => address(uri)?,
            None => Way::Pod {
                pod: find_agent(&client, &self.agent_namespace).await?,
                namespace: self.agent_namespace.clone(),
                client,
            },
        };
        Ok((target, Link { way, token }))
    }
}

fn address(uri: &Uri) -> Result<Way> {
    if uri.scheme_str() != Some("http") {
        bail!("--server takes an http:// address; a token is not sent over a link of another kind");
    }
    let host = uri.host().context("--server has no host")?.to_owned();
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if !loopback {
        bail!(
            "--server is for this machine only, as a token would be read on the way; leave it out to go through the kubeconfig"
        );
    }
    Ok(Way::Address {
        host,
        port: uri.port_u16().unwrap_or(80),
    })
}

impl Link {
    /// Sends a request as it is, with our token, and answers with what comes.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, format!("Bearer {}", self.token).parse()?);
        if !headers.contains_key(HOST) {
            headers.insert(HOST, "localhost".parse()?);
        }
        let stream: Box<dyn Stream> = match &self.way {
            Way::Address { host, port } => {
                let stream = TcpStream::connect((host.trim_matches(['[', ']']), *port)).await;
                Box::new(stream.with_context(|| {
                    format!("could not reach the agent at {host}:{port}; is it running there?")
                })?)
            }
            Way::Pod {
                client,
                namespace,
                pod,
            } => Box::new(forward(client, namespace, pod, PORT).await?),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    /// Asks for JSON; an error says what the agent said.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json");
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(serde_json::to_vec(body)?),
        };
        let asked = async {
            let answer = self.send(request.body(body)?).await?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), ANSWER).collect().await;
            let bytes =
                bytes.map_err(|error| anyhow::anyhow!("the answer ended early: {error}"))?;
            Ok::<_, anyhow::Error>((status, bytes.to_bytes()))
        };
        let Ok(answer) = tokio::time::timeout(PATIENCE, asked).await else {
            bail!("the agent did not answer within {} s", PATIENCE.as_secs());
        };
        let (status, bytes) = answer?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status == StatusCode::OK {
            return Ok(value);
        }
        match value["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => bail!("the agent answered {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_on_this_machine() {
        for (url, expected) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://trimtab.example.com", false),
            ("http://10.0.0.7:8080", false),
            ("https://localhost", false),
        ] {
            assert_eq!(address(&url.parse().unwrap()).is_ok(), expected, "{url}");
        }
    }
}
