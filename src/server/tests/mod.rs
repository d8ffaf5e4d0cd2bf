//! The ports over real sockets, with a client that says exactly the bytes it is told.

mod connections;
mod deliveries;
mod probes;

use std::{net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

/// Long enough that only a fault reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(200);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(router: Router, limits: ServeLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        stopped.await.ok();
    };
    let task = tokio::spawn(serve(listener, router, limits, shutdown));
    Server {
        address,
        stop,
        task,
    }
}

/// A connection that has said this.
async fn say(server: &Server, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may have answered and closed before it was all said.
    stream.write_all(bytes.as_ref()).await.ok();
    stream
}

/// All that comes until the server closes.
async fn hear(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    let all = timeout(PATIENCE, async {
        // A reset is an end too.
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..count]);
        }
    });
    all.await.expect("the server never closed");
    String::from_utf8_lossy(&heard).into_owned()
}

async fn ask(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    hear(say(server, bytes).await).await
}

async fn get(server: &Server, path: &str) -> String {
    ask(server, request("GET", path, &[], "")).await
}

/// A request for one response, with `Content-Length` when there is a body.
fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: trimtab\r\nConnection: close\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head + "\r\n" + body
}

fn status(response: &str) -> u16 {
    let line = response.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    line.get(..3)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Fails when this response lacks what every response has.
fn assert_hardened(response: &str) {
    assert_eq!(header(response, "server"), None, "{response}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(header(response, name), Some(value), "{response}");
    }
}
