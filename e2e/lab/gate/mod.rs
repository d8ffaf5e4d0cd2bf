//! A gate through which one agent reaches the real API server: it passes everything on, keeps a
//! record, and misbehaves when it is told to.

mod relay;
mod stream;

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::ControlPlane;
use super::control_plane::kubeconfig_text;
use super::process::Guardian;

/// How long until something that is held should have come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the kubeconfigs of gates apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        ["watch=true", "watch=1"]
            .iter()
            .any(|word| self.query.contains(word))
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.query.contains("dryRun")
    }

    /// Something that stays: no dry run, and nothing about Events, Leases and reviews.
    pub(crate) fn is_write(&self) -> bool {
        let beside = ["/events", "/leases", "reviews"];
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        !reads && !self.is_dry_run() && !beside.iter().any(|word| self.path.contains(word))
    }

    /// A write to something else than Applications.
    pub(crate) fn is_write_of_an_object(&self) -> bool {
        self.is_write() && !self.path.contains("/applications/")
    }

    /// A write, or the question what would come of one, to something else than Applications.
    pub(crate) fn is_about_an_object(&self) -> bool {
        let real = Self {
            query: String::new(),
            ..self.clone()
        };
        real.is_write_of_an_object()
    }
}

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before the API server sees it.
    Before,
    /// After the API server did it, before the agent hears.
    After,
}

/// How the gate takes what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// As a process that is stopped and goes on later: what arrives waits.
    Paused,
    /// What arrives is never answered, and open watches are never heard of again.
    Hanging,
    /// Nothing is accepted.
    Closed,
}

type Wanted = Box<dyn Fn(&Asked) -> bool + Send + Sync>;
type Lie = Box<dyn Fn(&Value) -> bool + Send + Sync>;

struct Hold {
    left: usize,
    side: Side,
    wanted: Wanted,
    reached: oneshot::Sender<Asked>,
    released: oneshot::Receiver<()>,
}

struct Storm {
    left: usize,
    code: u16,
    wanted: Wanted,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    holds: Vec<Hold>,
    storms: Vec<Storm>,
    lies: Vec<Lie>,
    /// What is said at a path instead of passing the question on.
    said: HashMap<String, Value>,
    /// The same, for the first question.
    said_once: HashMap<String, Value>,
    swallowed: usize,
}

struct Shared {
    server: String,
    client: relay::Upstream,
    state: Mutex<State>,
    mode: watch::Sender<Mode>,
    /// Rises when all connections are to be cut.
    cut: watch::Sender<u64>,
    /// Rises when all watches are to be ended as too old.
    expired: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request into the record; answers whether it is to be held.
    fn record(&self, asked: &Asked) -> Option<Hold> {
        let mut state = self.state();
        state.asked.push(asked.clone());
        let mut due = None;
        for (index, hold) in state.holds.iter_mut().enumerate() {
            if (hold.wanted)(asked) {
                hold.left -= 1;
                if hold.left == 0 {
                    due = Some(index);
                    break;
                }
            }
        }
        due.map(|index| state.holds.remove(index))
    }

    /// The status that a request is answered with instead of being passed on.
    fn storm(&self, asked: &Asked) -> Option<u16> {
        let mut state = self.state();
        let hit = state
            .storms
            .iter_mut()
            .find(|storm| storm.left > 0 && (storm.wanted)(asked))?;
        hit.left -= 1;
        Some(hit.code)
    }

    /// What is answered instead of passing a request on.
    fn said(&self, asked: &Asked) -> Option<Value> {
        let mut state = self.state();
        let once = state.said_once.remove(&asked.path);
        once.or_else(|| state.said.get(&asked.path).cloned())
    }

    /// Whether the agent does not get to see an event of a watch.
    fn swallows(&self, event: &Value) -> bool {
        let mut state = self.state();
        let swallowed = state.lies.iter().any(|lie| lie(event));
        state.swallowed += usize::from(swallowed);
        swallowed
    }
}

/// A request that is held. When it is dropped without [`Held::release`], the request (or its
/// answer) is lost with its connection.
pub(crate) struct Held {
    reached: oneshot::Receiver<Asked>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the request is held, and tells which it is.
    pub(crate) async fn wait(&mut self) -> Result<Asked> {
        tokio::time::timeout(PATIENCE, &mut self.reached)
            .await
            .context("nothing came that was to be held")?
            .context("the gate is gone")
    }

    /// Lets it go on.
    pub(crate) fn release(self) {
        let _ = self.release.send(());
    }
}

/// A gate on loopback. It closes when it is dropped.
pub(crate) struct Gate {
    address: SocketAddr,
    certificate: PathBuf,
    directory: PathBuf,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// Opens a gate to the API server of the control plane.
    pub(crate) async fn open(guardian: &Guardian, control_plane: &ControlPlane) -> Result<Self> {
        let certificate = guardian.directory().join("certificates/apiserver.crt");
        let shared = Arc::new(Shared {
            server: control_plane.server.clone(),
            client: relay::upstream(&fs::read(&certificate)?)?,
            state: Mutex::default(),
            mode: watch::Sender::new(Mode::Open),
            cut: watch::Sender::new(0),
            expired: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            address: listener.local_addr()?,
            certificate,
            directory: guardian.directory().to_owned(),
            accepting: tokio::spawn(relay::accept(listener, Arc::clone(&shared))),
            shared,
        })
    }

    /// A kubeconfig that leads through the gate with this token.
    pub(crate) fn kubeconfig(&self, token: &str) -> Result<PathBuf> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("gate-{number}.kubeconfig"));
        let server = format!("http://{}", self.address);
        fs::write(&path, kubeconfig_text(&server, &self.certificate, token))?;
        Ok(path)
    }

    /// How many requests of a kind came so far.
    pub(crate) fn count(&self, wanted: impl Fn(&Asked) -> bool) -> usize {
        let state = self.shared.state();
        state.asked.iter().filter(|asked| wanted(asked)).count()
    }

    /// How many requests came so far.
    pub(crate) fn total(&self) -> usize {
        self.shared.state().asked.len()
    }

    /// What came after the first so many requests.
    pub(crate) fn since(&self, total: usize) -> Vec<Asked> {
        self.shared.state().asked[total..].to_vec()
    }

    /// Holds the n-th request of a kind from now on, counted from 1.
    pub(crate) fn hold(
        &self,
        nth: usize,
        side: Side,
        wanted: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    ) -> Held {
        let (reached, hears) = oneshot::channel();
        let (release, released) = oneshot::channel();
        self.shared.state().holds.push(Hold {
            left: nth,
            side,
            wanted: Box::new(wanted),
            reached,
            released,
        });
        Held {
            reached: hears,
            release,
        }
    }

    /// Takes back all holds that were not reached.
    pub(crate) fn unhold(&self) {
        self.shared.state().holds.clear();
    }

    /// Answers the next so many requests of a kind with this status instead of passing them on.
    pub(crate) fn storm(
        &self,
        code: u16,
        times: usize,
        wanted: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    ) {
        self.shared.state().storms.push(Storm {
            left: times,
            code,
            wanted: Box::new(wanted),
        });
    }

    /// Answers what is asked at a path from now on.
    pub(crate) fn say(&self, path: &str, answer: Value) {
        self.shared.state().said.insert(path.to_owned(), answer);
    }

    /// Answers what is asked first at a path.
    pub(crate) fn say_once(&self, path: &str, answer: Value) {
        let mut state = self.shared.state();
        state.said_once.insert(path.to_owned(), answer);
    }

    /// Passes on again what is asked at a path.
    pub(crate) fn unsay(&self, path: &str) {
        self.shared.state().said.remove(path);
    }

    /// Ends all storms.
    pub(crate) fn calm(&self) {
        self.shared.state().storms.clear();
    }

    /// Keeps events of watches from the agent, as given by the event's JSON.
    pub(crate) fn swallow(&self, lie: impl Fn(&Value) -> bool + Send + Sync + 'static) {
        self.shared.state().lies.push(Box::new(lie));
    }

    /// How many events were swallowed so far.
    pub(crate) fn swallowed(&self) -> usize {
        self.shared.state().swallowed
    }

    /// Swallows nothing any more. What was swallowed stays unseen.
    pub(crate) fn tell_all(&self) {
        self.shared.state().lies.clear();
    }

    /// Ends all open watches with 410 Gone.
    pub(crate) fn expire_watches(&self) {
        self.shared.expired.send_modify(|count| *count += 1);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// What arrives from now on waits until [`Gate::resume`], and so do events of watches.
    pub(crate) fn pause(&self) {
        self.shared.mode.send_replace(Mode::Paused);
    }

    /// What arrives from now on is never answered.
    pub(crate) fn hang(&self) {
        self.shared.mode.send_replace(Mode::Hanging);
    }

    /// Cuts all connections and takes no new ones.
    pub(crate) fn close(&self) {
        self.shared.mode.send_replace(Mode::Closed);
        self.cut();
    }

    /// Takes and answers requests again.
    pub(crate) fn resume(&self) {
        self.shared.mode.send_replace(Mode::Open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
