//! The local mirror of one repository: who fetches when, and which directory is read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix::ObjectId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::advertisement::Advertisement;
use super::client::Client;
use super::fetch::Attempt;
use super::generation::Generation;
use super::wire::Wire;
use super::{Credential, Error, Fetched, Limits, RepositoryUrl, Transport};
use crate::exec::Ending;

/// A bare, shallow copy of what was wanted of one repository. A clone is the same mirror.
///
/// Guarantees: a commit that [`Mirror::fetch`] answered can be read until the mirror was tidied
/// twice; one fetch at a time; whatever is broken on disk is thrown away and fetched anew.
#[derive(Clone)]
pub(crate) struct Mirror(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    url: RepositoryUrl,
    transport: Transport,
    limits: Limits,
    /// One fetch at a time; tidying goes on beside it.
    turn: Arc<tokio::sync::Mutex<()>>,
    tidying: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that is fetched into, then the one before it.
    generations: Vec<Arc<Generation>>,
    opened: bool,
    /// The highest number given to a directory: it is not given again while one of that number is
    /// about to be removed.
    number: u64,
    advertisement: Option<Advertisement>,
    /// When something was read or fetched last.
    used: Option<Instant>,
}

impl Mirror {
    /// Does nothing on disk yet; the mirror gets a directory of its own below `root`.
    pub(crate) fn new(
        root: &Path,
        url: RepositoryUrl,
        transport: Transport,
        limits: Limits,
    ) -> Self {
        Self(Arc::new(Inner {
            directory: root.join(url.directory()),
            url,
            transport,
            limits,
            turn: Arc::default(),
            tidying: Arc::default(),
            state: Mutex::default(),
        }))
    }

    /// Asks the remote for the commits of all wanted revisions and fetches those that are not here
    /// yet. A missing revision is an answer for that revision, not an error.
    ///
    /// Nothing is sent when only commit ids are wanted and all are here. Dropping the future ends
    /// the fetch.
    pub(crate) async fn fetch(
        &self,
        wanted: &BTreeSet<String>,
        credential: Option<&Credential>,
    ) -> Result<Fetched, Error> {
        self.0
            .clone()
            .start(wanted, credential, Purpose::Fetch)
            .await
    }

    /// Whether so many fetches left their packs behind that reading slows down.
    pub(crate) fn is_crowded(&self) -> bool {
        let state = self.0.state();
        state.generations.first().is_some_and(|it| it.is_crowded())
    }

    /// Fetches everything wanted into a new directory and switches to it. To be called beside the
    /// fetches, off the way of a push, when [`Mirror::is_crowded`]. Commits that only the old
    /// directory has stay readable until the next time.
    pub(crate) async fn tidy(
        &self,
        wanted: &BTreeSet<String>,
        credential: Option<&Credential>,
    ) -> Result<Fetched, Error> {
        self.0
            .clone()
            .start(wanted, credential, Purpose::Tidy)
            .await
    }

    /// The name of its directory.
    pub(crate) fn name(&self) -> String {
        self.0.url.directory()
    }

    /// How long ago something was read or fetched; for ever when nothing was since the start.
    pub(crate) fn unused(&self) -> Duration {
        let used = self.0.state().used;
        used.map_or(Duration::MAX, |used| used.elapsed())
    }

    /// Removes all that is on disk, as far as nobody reads it just now. The next fetch brings anew
    /// what is wanted. False, and nothing is done, while one is on its way.
    pub(crate) async fn empty(&self) -> bool {
        let inner = Arc::clone(&self.0);
        let turn = Arc::clone(&inner.turn).try_lock_owned();
        let tidying = Arc::clone(&inner.tidying).try_lock_owned();
        let (Ok(turn), Ok(tidying)) = (turn, tidying) else {
            return false;
        };
        let removed = tokio::task::spawn_blocking(move || {
            // What an earlier process left is opened, so that it is removed like the rest.
            inner.generations();
            inner.replace(Vec::new());
            // It stays while a reader keeps one of the directories below.
            drop(std::fs::remove_dir(&inner.directory));
            drop((turn, tidying));
        });
        removed.await.is_ok()
    }

    /// The objects of the newest directory that has the commit.
    pub(super) fn objects(&self, commit: &str) -> Result<(Arc<Generation>, ObjectId), Error> {
        let missing = || Error::MissingCommit {
            url: self.0.url.to_string(),
            commit: super::one_line(commit),
        };
        let id = ObjectId::from_hex(commit.as_bytes()).map_err(|_| missing())?;
        let generations = self.0.generations();
        self.0.state().used = Some(Instant::now());
        let found = generations.into_iter().find(|it| it.has(&id));
        found.map(|it| (it, id)).ok_or_else(missing)
    }

    /// Makes the next fetch start over, as what is on disk cannot be read.
    pub(super) fn damaged(&self, generation: &Generation, problem: &gix::Error) -> Error {
        generation.mark_damaged();
        Error::Damaged {
            url: self.0.url.to_string(),
            problem: super::one_line(&problem.to_string()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Fetch,
    Tidy,
}

/// One fetch's settings, carried to a blocking thread.
struct Task {
    wanted: BTreeSet<String>,
    credential: Option<Credential>,
    client: Client,
    runtime: Handle,
    deadline: Instant,
    cancelled: watch::Receiver<()>,
    interrupt: Arc<AtomicBool>,
}

/// Ends the work in the blocking thread when the future that waits for it is dropped.
struct Interrupt(Arc<AtomicBool>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(
        self: Arc<Self>,
        wanted: &BTreeSet<String>,
        credential: Option<&Credential>,
        purpose: Purpose,
    ) -> Result<Fetched, Error> {
        let lock = match purpose {
            Purpose::Fetch => &self.turn,
            Purpose::Tidy => &self.tidying,
        };
        let turn = Arc::clone(lock).lock_owned().await;
        let slots = &self.transport.slots;
        let slot = slots
            .take(self.url.authority(), &self.url.to_string())
            .await;
        let deadline = Instant::now() + self.limits.timeout;
        let (gone, cancelled) = watch::channel(());
        let interrupt = Arc::new(AtomicBool::new(false));
        let task = Task {
            wanted: wanted.clone(),
            credential: credential.cloned(),
            client: self.transport.client(&self.url, credential)?,
            runtime: Handle::current(),
            deadline,
            cancelled,
            interrupt: Arc::clone(&interrupt),
        };
        let url = self.url.to_string();
        let mut work = tokio::task::spawn_blocking(move || {
            let result = self.run(&task, purpose);
            if result.as_ref().is_ok_and(|fetched| fetched.fetched) {
                self.state().used = Some(Instant::now());
            }
            slot.end(match &result {
                Ok(_) => Ending::Well,
                Err(Error::TimedOut { .. }) => Ending::Exhausted,
                Err(_) => Ending::Failed,
            });
            drop(turn);
            result
        });
        let interrupt = Interrupt(interrupt);
        let joined = tokio::select! {
            joined = &mut work => joined,
            () = tokio::time::sleep_until(deadline) => {
                // Reads end by themselves; this ends the indexing of a pack.
                drop(interrupt);
                work.await
            }
        };
        drop(gone);
        joined.unwrap_or_else(|panic| {
            // A hostile pack may find a hole in the parser; it costs this fetch only.
            let problem = super::one_line(&panic.to_string());
            Err(Error::Protocol { url, problem })
        })
    }

    fn run(&self, task: &Task, purpose: Purpose) -> Result<Fetched, Error> {
        // Before anything is made on disk: opening clears away what it cannot use.
        self.generations();
        let generation = match purpose {
            Purpose::Fetch => self.current()?,
            Purpose::Tidy => Arc::new(self.create()?),
        };
        let known = self.state().advertisement.clone();
        let (mut result, mut damaged) = self.attempt(task, &generation, purpose, known.clone());
        if known.is_some() && result.as_ref().is_err_and(may_be_outdated) {
            self.state().advertisement = None;
            (result, damaged) = self.attempt(task, &generation, purpose, None);
        }
        if purpose == Purpose::Fetch && damaged && !generation.tips().is_empty() {
            generation.mark_damaged();
            let anew = self.current()?;
            (result, _) = self.attempt(task, &anew, purpose, None);
        } else if purpose == Purpose::Tidy {
            if result.is_err() {
                generation.retire();
            } else {
                let mut generations = self.generations();
                generations.insert(0, generation);
                self.replace(generations);
            }
        }
        result
    }

    fn attempt(
        &self,
        task: &Task,
        generation: &Generation,
        purpose: Purpose,
        known: Option<Advertisement>,
    ) -> (Result<Fetched, Error>, bool) {
        let wire = Rc::new(Wire {
            client: task.client.clone(),
            runtime: task.runtime.clone(),
            url: self.url.to_string(),
            authorization: task.credential.as_ref().and_then(Credential::authorization),
            limits: self.limits,
            deadline: task.deadline,
            cancelled: task.cancelled.clone(),
            budget: Cell::new(self.limits.bytes),
            expected: Cell::default(),
            requests: Cell::new(0),
            failure: RefCell::new(None),
        });
        let learned = Rc::new(RefCell::new(None));
        let others = match purpose {
            Purpose::Fetch => self.state().generations.clone(),
            Purpose::Tidy => Vec::new(),
        };
        let has = |id: &ObjectId| generation.has(id) || others.iter().any(|it| it.has(id));
        let attempt = Attempt {
            generation,
            has: &has,
            wanted: &task.wanted,
            credential: task.credential.as_ref(),
            wire,
            known,
            learned: Rc::clone(&learned),
            interrupt: &task.interrupt,
            damaged: Cell::new(false),
        };
        let result = attempt.run();
        if let Some(learned) = learned.take() {
            self.state().advertisement = Some(learned);
        }
        (result, attempt.damaged.get())
    }

    fn generations(&self) -> Vec<Arc<Generation>> {
        let mut state = self.state();
        if !state.opened {
            state.generations.extend(self.reopen().map(Arc::new));
            state.opened = true;
        }
        state.generations.clone()
    }

    /// The directory to fetch into: the one in use while it is sound, else a new one.
    fn current(&self) -> Result<Arc<Generation>, Error> {
        let mut generations = self.generations();
        if let Some(current) = generations.first()
            && current.is_usable()
        {
            return Ok(Arc::clone(current));
        }
        let created = Arc::new(self.create()?);
        // One that is only full stays for its readers.
        generations.retain(|it| it.is_sound());
        generations.insert(0, Arc::clone(&created));
        self.replace(generations);
        Ok(created)
    }

    /// Takes these, two at most, and lets the others go with their last reader.
    fn replace(&self, mut generations: Vec<Arc<Generation>>) {
        generations.truncate(2);
        let old = std::mem::replace(&mut self.state().generations, generations.clone());
        for generation in old {
            if !generations.iter().any(|it| Arc::ptr_eq(it, &generation)) {
                generation.retire();
            }
        }
    }

    /// Directories by number, the newest first.
    fn numbers(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(&self.directory);
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        let mut numbers: Vec<u64> = names
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    }

    fn create(&self) -> Result<Generation, Error> {
        let on_disk = self.numbers().first().copied().unwrap_or(0);
        let number = {
            let mut state = self.state();
            state.number = state.number.max(on_disk) + 1;
            state.number
        };
        Generation::create(&self.directory.join(number.to_string()))
    }

    /// After a restart: the newest directory that can be read; all others go.
    fn reopen(&self) -> Option<Generation> {
        let mut found = None;
        for number in self.numbers() {
            let directory = self.directory.join(number.to_string());
            if found.is_none() {
                found = Generation::reopen(&directory);
                if found.is_some() {
                    continue;
                }
            }
            drop(std::fs::remove_dir_all(directory));
        }
        found
    }
}

/// Failures that a fresh greeting could cure.
fn may_be_outdated(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::Status { .. }
            | Error::NotGit { .. }
            | Error::Redirect { .. }
            | Error::Protocol { .. }
    )
}
