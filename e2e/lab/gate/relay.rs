//! The way through the gate: plain HTTP from the agent, TLS to the API server.

use std::{future::pending, sync::Arc};

use anyhow::{Context as _, Result, bail};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::{Asked, Hold, Mode, Shared, Side, stream};

pub(super) type Upstream = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
pub(super) type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// A client that trusts the API server's certificate.
pub(super) fn upstream(certificate: &[u8]) -> Result<Upstream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificate) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        if *shared.mode.borrow() == Mode::Closed {
            continue;
        }
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// One connection, until either side ends it or all are cut.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let mut cut = shared.cut.subscribe();
    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&shared), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        _ = cut.changed() => {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = Asked {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
    };
    let (before, after) = match shared.record(&asked) {
        Some(hold) if hold.side == Side::Before => (Some(hold), None),
        hold => (None, hold),
    };
    wait(before, &asked).await?;
    admit(&shared).await?;
    if let Some(code) = shared.storm(&asked) {
        return refusal(code);
    }
    if let Some(said) = shared.said(&asked) {
        let body = Full::new(Bytes::from(said.to_string()));
        return Ok(Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_err(|never| match never {}).boxed_unsync())?);
    }
    let target = format!(
        "{}{}",
        shared.server,
        head.uri.path_and_query().context("a path")?
    );
    let mut passed = Request::builder()
        .method(head.method)
        .uri(target)
        .body(Full::new(body))?;
    *passed.headers_mut() = end_to_end(head.headers);
    let (mut head, body) = shared.client.request(passed).await?.into_parts();
    head.headers = end_to_end(head.headers);
    wait(after, &asked).await?;
    admit(&shared).await?;
    let body = if asked.is_watch() && head.status.is_success() {
        stream::filtered(shared, body)
    } else {
        body.map_err(Into::into).boxed_unsync()
    };
    Ok(Response::from_parts(head, body))
}

/// Says that the request is held and waits for its release.
async fn wait(hold: Option<Hold>, asked: &Asked) -> Result<()> {
    let Some(hold) = hold else { return Ok(()) };
    let _ = hold.reached.send(asked.clone());
    hold.released.await.context("it is lost on the way")
}

/// Waits until the gate lets requests through.
async fn admit(shared: &Shared) -> Result<()> {
    let mut mode = shared.mode.subscribe();
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Open => return Ok(()),
            Mode::Paused => mode.changed().await?,
            Mode::Hanging => pending().await,
            Mode::Closed => bail!("closed"),
        }
    }
}

/// The headers that are not about one connection. The API server is to answer uncompressed, so
/// that events can be read.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::HOST,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        headers.remove(name);
    }
    headers
}

/// What the API server would say.
fn refusal(code: u16) -> Result<Response<Body>> {
    let reason = match code {
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": format!("out of order: {code}"),
    });
    let body = Full::new(Bytes::from(status.to_string()));
    let mut response = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json");
    if code == 429 {
        response = response.header(header::RETRY_AFTER, "1");
    }
    Ok(response.body(body.map_err(|never| match never {}).boxed_unsync())?)
}
