//! A Git forge on loopback: the real `git http-backend` behind a small HTTP server, with switches
//! for what goes wrong on the way.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot;

/// What a repository does instead of answering.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status and a short text.
    Status(u16),
    /// 429 with so many seconds of `Retry-After`.
    Patience(u32),
    /// Takes the request and never answers.
    Hang,
    /// 200 with a page for people, as a captive portal or a login form does.
    Html,
    /// The right answer, one byte per interval.
    Drip(Duration),
    /// The right answer, cut after so many bytes of every pack; the connection is closed.
    Cut(usize),
    /// Protocol 1, as servers of before 2018 speak it: all refs come with the greeting.
    OldProtocol,
    /// Requests of this kind are answered with refs that never end.
    Endless(&'static str),
    /// 302 to the same request below another base, such as `http://host/team/app.git`.
    Redirect(String),
}

#[derive(Default)]
struct State {
    faults: BTreeMap<String, Fault>,
    passwords: BTreeMap<String, (String, String)>,
    counts: BTreeMap<String, usize>,
    total: usize,
    user_agent: String,
}

struct Shared {
    root: PathBuf,
    backend: PathBuf,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves every bare repository below a directory. Stops when dropped.
pub(crate) struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GitServer {
    /// Starts on a free port of 127.0.0.1, in a thread of its own.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            backend: backend()?,
            state: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("git-server".into())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        _ = accept(listener, served) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address of a repository, `http://127.0.0.1:port/<name>.git`.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }

    /// Lets a repository misbehave until [`GitServer::heal`].
    pub(crate) fn fail(&self, name: &str, fault: Fault) {
        self.shared.state().faults.insert(name.to_owned(), fault);
    }

    pub(crate) fn heal(&self, name: &str) {
        self.shared.state().faults.remove(name);
    }

    /// Asks for this user and password from now on.
    pub(crate) fn protect(&self, name: &str, username: &str, password: &str) {
        let account = (username.to_owned(), password.to_owned());
        self.shared
            .state()
            .passwords
            .insert(name.to_owned(), account);
    }

    /// How many requests came, to all repositories.
    pub(crate) fn requests(&self) -> usize {
        self.shared.state().total
    }

    /// How many requests of one kind came to a repository: `info/refs`, `ls-refs`, `fetch`.
    pub(crate) fn count(&self, name: &str, kind: &str) -> usize {
        let key = format!("{name} {kind}");
        self.shared.state().counts.get(&key).copied().unwrap_or(0)
    }

    /// The `User-Agent` of the last request.
    pub(crate) fn user_agent(&self) -> String {
        self.shared.state().user_agent.clone()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// `git-http-backend` itself: one process less per request than through `git`.
fn backend() -> Result<PathBuf> {
    let output = std::process::Command::new("git")
        .arg("--exec-path")
        .output()
        .context("git does not start")?;
    let directory = String::from_utf8(output.stdout)?;
    Ok(Path::new(directory.trim()).join("git-http-backend"))
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, an answer in two writes waits 40 ms for the client's delayed acknowledgement.
    drop(stream.set_nodelay(true));
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Answer>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let Some((name, operation)) = split(&path) else {
        return Ok(plain(StatusCode::NOT_FOUND, "no such repository"));
    };
    let (fault, account) = {
        let mut state = shared.state();
        state.total += 1;
        let key = format!("{name} {}", kind(operation, &body));
        *state.counts.entry(key).or_default() += 1;
        state.user_agent = text(&head.headers, USER_AGENT.as_str());
        (
            state.faults.get(name).cloned(),
            state.passwords.get(name).cloned(),
        )
    };
    if let Some((username, password)) = account {
        let expected = format!(
            "Basic {}",
            base64(format!("{username}:{password}").as_bytes())
        );
        if text(&head.headers, AUTHORIZATION.as_str()) != expected {
            let mut response = plain(StatusCode::UNAUTHORIZED, "who are you");
            let challenge = hyper::header::HeaderValue::from_static("Basic realm=\"git\"");
            response.headers_mut().insert("www-authenticate", challenge);
            return Ok(response);
        }
    }
    match fault {
        Some(Fault::OldProtocol) => {
            head.headers.remove("git-protocol");
            run(shared, name, operation, &head, body).await
        }
        None => run(shared, name, operation, &head, body).await,
        Some(Fault::Status(code)) => Ok(plain(StatusCode::from_u16(code)?, "out of order")),
        Some(Fault::Patience(seconds)) => {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "not so fast");
            response
                .headers_mut()
                .insert(hyper::header::RETRY_AFTER, seconds.into());
            Ok(response)
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => {
            let page = Answer::whole("<!doctype html><title>Please log in</title>");
            Ok(Response::builder()
                .header(CONTENT_TYPE, "text/html; charset=utf-8")
                .body(page)?)
        }
        Some(Fault::Redirect(base)) => {
            let query = head.uri.query().map(|query| format!("?{query}"));
            let target = format!("{base}/{operation}{}", query.unwrap_or_default());
            Ok(Response::builder()
                .status(StatusCode::FOUND)
                .header(LOCATION, target)
                .body(Answer::whole(""))?)
        }
        Some(Fault::Drip(interval)) => {
            let response = run(shared, name, operation, &head, body).await?;
            Ok(response.map(|answer| answer.dripping(interval)))
        }
        Some(Fault::Endless(wanted)) if kind(operation, &body) == wanted => {
            let service = match operation {
                "info/refs" => "advertisement",
                _ => "result",
            };
            let content_type = format!("application/x-git-upload-pack-{service}");
            Ok(Response::builder()
                .header(CONTENT_TYPE, content_type)
                .body(Answer::endless())?)
        }
        Some(Fault::Endless(_)) => run(shared, name, operation, &head, body).await,
        Some(Fault::Cut(bytes)) => {
            let response = run(shared, name, operation, &head, body).await?;
            Ok(response.map(|answer| answer.cut(bytes)))
        }
    }
}

/// Runs the CGI program and turns its output into a response in one piece.
async fn run(
    shared: &Shared,
    name: &str,
    operation: &str,
    head: &Parts,
    body: Bytes,
) -> Result<Response<Answer>> {
    let mut child = Command::new(&shared.backend)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{name}.git/{operation}"))
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", head.method.as_str())
        .env("CONTENT_TYPE", text(&head.headers, CONTENT_TYPE.as_str()))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", text(&head.headers, "git-protocol"))
        .env(
            "HTTP_CONTENT_ENCODING",
            text(&head.headers, CONTENT_ENCODING.as_str()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("git http-backend does not start")?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    let mut stdout = child.stdout.take().context("stdout is a pipe")?;
    let mut output = Vec::new();
    let feed = async move {
        // It may answer and leave without having read everything.
        drop(stdin.write_all(&body).await);
    };
    let (_, read) = tokio::join!(feed, stdout.read_to_end(&mut output));
    read?;
    child.wait().await?;
    from_cgi(output)
}

fn from_cgi(mut output: Vec<u8>) -> Result<Response<Answer>> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("git http-backend answered without a head")?;
    let body = output.split_off(end + 4);
    let mut response = Response::builder();
    for line in String::from_utf8(output)?.lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                let code = status.split(' ').next().unwrap_or_default();
                response = response.status(code.parse::<u16>()?);
            }
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    Ok(response.body(Answer::whole(body))?)
}

/// `/team/app.git/info/refs` is `team/app` and `info/refs`; `.git` may be left out.
fn split(path: &str) -> Option<(&str, &str)> {
    ["info/refs", "git-upload-pack", "git-receive-pack"]
        .into_iter()
        .find_map(|operation| {
            let name = path.strip_suffix(operation)?.strip_suffix('/')?;
            let name = name.strip_prefix('/')?;
            Some((name.strip_suffix(".git").unwrap_or(name), operation))
        })
}

fn kind<'a>(operation: &'a str, body: &[u8]) -> &'a str {
    let names = |command: &[u8]| body.windows(command.len()).any(|window| window == command);
    if names(b"command=ls-refs") {
        "ls-refs"
    } else if names(b"command=fetch") {
        "fetch"
    } else {
        operation
    }
}

fn text(headers: &hyper::HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn plain(status: StatusCode, message: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(message));
    *response.status_mut() = status;
    response
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        for position in 0..4 {
            let index = group >> (18 - 6 * position) & 63;
            let digit = char::from(ALPHABET[index as usize]);
            out.push(if position <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

/// A thousand refs as a server lists them.
fn refs() -> Bytes {
    let line = |n: usize| format!("003f{} refs/heads/{n:06}\n", "a".repeat(40));
    (0..1000).map(line).collect::<String>().into()
}

/// A response body: all at once, byte by byte, broken off, or without an end.
struct Answer {
    rest: Bytes,
    again: Option<Bytes>,
    pace: Option<(Duration, Pin<Box<tokio::time::Sleep>>)>,
    cut: bool,
}

impl Answer {
    fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            rest: bytes.into(),
            again: None,
            pace: None,
            cut: false,
        }
    }

    fn endless() -> Self {
        Self {
            again: Some(refs()),
            ..Self::whole("")
        }
    }

    fn dripping(mut self, interval: Duration) -> Self {
        self.pace = Some((interval, Box::pin(tokio::time::sleep(interval))));
        self
    }

    fn cut(mut self, bytes: usize) -> Self {
        self.cut = self.rest.len() > bytes;
        self.rest.truncate(bytes);
        self
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let Some(again) = &self.again {
            return Poll::Ready(Some(Ok(Frame::data(again.clone()))));
        }
        if self.rest.is_empty() {
            return Poll::Ready(self.cut.then(|| Err(anyhow::anyhow!("cut on request"))));
        }
        if let Some((interval, sleep)) = &mut self.pace {
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let next = tokio::time::Instant::now() + *interval;
            sleep.as_mut().reset(next);
            let byte = self.rest.split_to(1);
            return Poll::Ready(Some(Ok(Frame::data(byte))));
        }
        let rest = std::mem::take(&mut self.rest);
        Poll::Ready(Some(Ok(Frame::data(rest))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.cut && self.again.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        if self.cut || self.pace.is_some() || self.again.is_some() {
            return hyper::body::SizeHint::default();
        }
        hyper::body::SizeHint::with_exact(self.rest.len() as u64)
    }
}
