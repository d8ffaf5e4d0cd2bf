//! `trimtab ui`: the pages, through the kubeconfig, on a port of this machine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, COOKIE, HOST, LOCATION, SET_COOKIE},
};
use tokio::net::TcpListener;

use super::link::{self, Link, Role};
use super::output::print;
use super::{Outcome, target};
use crate::api::random_hex;
use crate::server::{ServeLimits, serve};

/// The name of the cookie that the address with the key sets.
const NAME: &str = "trimtab-ui";

/// Open the pages through the kubeconfig: no ingress, no log-in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The agent is reached by a port-forward, with a token of its account for the role. Whether you may
have that token is decided by Kubernetes: `create` on serviceaccounts/token. The address that is
printed opens one browser once; other users of this machine get nothing. Ends with Ctrl-C.

Examples:
  trimtab ui                    look
  trimtab ui --as operator      look, sync, roll back, pause
  trimtab ui --port 8899")]
pub(super) struct Args {
    /// The port on this machine; any free one when not given
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    #[command(flatten)]
    target: target::Args,
    #[command(flatten)]
    link: link::Args,
}

/// Who may pass, and how.
struct Gate {
    link: Link,
    port: u16,
    /// What the printed address has in it; worth nothing after its first use.
    key: Mutex<Option<String>>,
    cookie: String,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let (_, link) = args.link.open(&args.target, Role::Viewer).await?;
    // Says now what would otherwise be said by a page.
    link.ask("GET", "/api/v1/about", &serde_json::Value::Null)
        .await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("could not listen on {address}"))?;
    let port = listener.local_addr()?.port();
    let key = random_hex::<16>();
    print(&format!("http://localhost:{port}/?key={key}\n"))?;
    let gate = Arc::new(Gate {
        link,
        port,
        key: Mutex::new(Some(key)),
        cookie: random_hex::<32>(),
    });
    let router = Router::new().fallback(pass).with_state(gate);
    let ended = async { drop(tokio::signal::ctrl_c().await) };
    serve(listener, router, ServeLimits::default(), ended).await;
    Ok(Outcome::Done)
}

async fn pass(State(gate): State<Arc<Gate>>, mut request: Request) -> Response {
    if !is_ours(request.headers(), gate.port) {
        return refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "open the address that was printed\n",
        );
    }
    let query = request.uri().query().unwrap_or_default();
    if let Some(key) = query.strip_prefix("key=") {
        let mut expected = gate.key.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.as_deref() == Some(key) {
            *expected = None;
            return welcome(&gate.cookie);
        }
    }
    if !has_cookie(request.headers(), &gate.cookie) {
        return refusal(
            StatusCode::FORBIDDEN,
            "the address that was printed opens one browser once; start `trimtab ui` again\n",
        );
    }
    let headers = request.headers_mut();
    headers.remove(COOKIE);
    headers.remove(AUTHORIZATION);
    match gate.link.send(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => {
            let text = format!("could not reach the agent: {error:#}\n");
            (StatusCode::BAD_GATEWAY, text).into_response()
        }
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

/// Takes the key out of the address and lets this browser in.
fn welcome(cookie: &str) -> Response {
    let cookie = format!("{NAME}={cookie}; Path=/; HttpOnly; SameSite=Strict");
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// Whether the browser was led here by our own name: another one could be a rebound one.
fn is_ours(headers: &HeaderMap, port: u16) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let ours = [format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    host.is_some_and(|host| ours.iter().any(|known| known == host))
}

fn has_cookie(headers: &HeaderMap, expected: &str) -> bool {
    let all = headers.get_all(COOKIE).iter();
    let mut pairs = all
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.any(|(name, value)| name == NAME && value == expected)
}
