//! One repository: who follows which of its revisions, and the task that looks at it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Credentials;
use super::forge::Forge;
use super::next::NextLook;
use super::pace::{Pace, Reasons, pause_after};
use crate::crd::ApplicationKey;
use crate::git::{Error, Fetched, Mirror, TreeIds};
use crate::object::{RepositoryKey, redact_url, rfc3339};
use crate::supervise::supervise;
use crate::telemetry::{Answer, GitRequest, Metrics, Task};
use crate::trigger::{
    Cause, Inputs, Journal, Listener, News, Revision, SourceFault, Verdict, concerns,
};

/// A pause of a host that is shorter is no fault worth telling of.
const SHORT: Duration = Duration::from_secs(10);

/// How a repository does, for people.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Without a login that may be in it.
    pub(crate) url: String,
    /// When it was asked last and will be asked next; none before the first answer.
    pub(crate) last: Option<Instant>,
    pub(crate) next: Option<Instant>,
    /// Since when it cannot be read (RFC 3339), and why.
    pub(crate) stale_since: Option<String>,
    pub(crate) error: Option<String>,
    /// Who follows which revision, and the commit that it was at.
    pub(crate) followers: Vec<(ApplicationKey, String, Option<String>)>,
}

/// What all repositories work with.
#[derive(Clone)]
pub(super) struct Shared {
    /// In milliseconds; read before every wait, so that new settings hold from the next one on.
    pub(super) poll_interval: Arc<AtomicU64>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Arc<Journal>,
    /// Told when there is more on disk than before, or less of it is needed.
    pub(super) stored: Arc<Notify>,
}

pub(super) struct Repository {
    key: RepositoryKey,
    url: String,
    mirror: Mirror,
    forge: Arc<Forge>,
    shared: Shared,
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Default)]
struct State {
    followers: HashMap<ApplicationKey, Follower>,
    /// What asks for the next look.
    next_look: NextLook,
    last: Option<Instant>,
    next: Option<Instant>,
    /// Since when it cannot be read, and why.
    failure: Option<(String, String)>,
    stopped: bool,
}

/// When a look is due.
#[derive(Clone, Copy)]
struct Plan {
    /// Whatever happens.
    at: Instant,
    /// Without any delivery; not before `at`.
    regularly: Instant,
}

struct Follower {
    target_revision: String,
    /// The commit that it was told last; none to tell it whatever comes.
    told: Option<String>,
    /// What its last render read.
    inputs: Option<Inputs>,
    failed: bool,
    /// Somebody asked for a look: its outcome is told, whatever it is.
    asked: bool,
}

impl State {
    /// Whether one of these commits is not what a follower was told last.
    fn is_unknown(&self, commit_ids: &BTreeSet<String>) -> bool {
        let told = |id| {
            self.followers
                .values()
                .any(|it| it.told.as_ref() == Some(id))
        };
        commit_ids.iter().any(|id| !told(id))
    }
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// A ref that somebody follows is at another commit.
    News,
    Nothing,
    /// The repository could not be read.
    Failed,
}

impl Repository {
    pub(super) fn start(
        key: RepositoryKey,
        url: String,
        mirror: Mirror,
        forge: Arc<Forge>,
        shared: Shared,
    ) -> Arc<Self> {
        let repository = Arc::new(Self {
            key,
            url,
            mirror,
            forge,
            shared,
            state: Mutex::default(),
            woken: Notify::new(),
        });
        let supervised = Arc::clone(&repository);
        supervise(
            &repository.shared.metrics,
            Task::Repository,
            repository.key.clone(),
            move |panics| Arc::clone(&supervised).run(panics),
        );
        repository
    }

    pub(super) fn key(&self) -> &RepositoryKey {
        &self.key
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Whether a push to this ref can move what somebody follows.
    pub(super) fn concerns(&self, reference: &str) -> bool {
        concerns(reference, &self.wanted())
    }

    /// Fetches one revision, whoever follows it.
    pub(super) async fn fetch(&self, revision: String) -> Result<String, String> {
        let closed = self.forge.closed(Instant::now());
        if !closed.is_zero() {
            return Err(Forge::says_why(closed));
        }
        let credential = self.shared.credentials.for_url(&self.url);
        let wanted = BTreeSet::from([revision.clone()]);
        let fetched = self.mirror.fetch(&wanted, credential.as_ref()).await;
        let fetched = fetched.map_err(|error| {
            self.heed(&error);
            error.to_string()
        });
        match fetched?.commits.remove(&revision) {
            Some(Ok(commit_id)) => Ok(commit_id),
            Some(Err(error)) => Err(format!("revision \"{revision}\" {error}")),
            None => Err(format!("revision \"{revision}\" was not answered")),
        }
    }

    /// Asks for a look now. Several requests before it are one.
    pub(super) fn wake(&self, cause: Cause, received: Instant) {
        self.state().next_look.ask(cause, received);
        self.woken.notify_one();
    }

    /// The same for a delivery of a forge, with the commit that it names.
    pub(super) fn deliver(&self, delivery: &str, commit_id: Option<&str>, received: Instant) {
        let next = &mut self.state().next_look;
        next.deliver(delivery, commit_id, received);
        self.woken.notify_one();
    }

    /// Who follows it, and what.
    pub(super) fn followers(&self) -> Vec<(ApplicationKey, String)> {
        let state = self.state();
        let followers = state.followers.iter();
        followers
            .map(|(application, follower)| (application.clone(), follower.target_revision.clone()))
            .collect()
    }

    /// How it does.
    pub(super) fn last_look(&self) -> Look {
        let state = self.state();
        let mut followers: Vec<_> = state
            .followers
            .iter()
            .map(|(application, follower)| {
                let revision = follower.target_revision.clone();
                (application.clone(), revision, follower.told.clone())
            })
            .collect();
        followers.sort();
        let (stale_since, error) = state.failure.clone().unzip();
        Look {
            url: redact_url(&self.url),
            last: state.last,
            next: state.next,
            stale_since,
            error,
            followers,
        }
    }

    pub(super) fn follow(&self, application: &ApplicationKey, target_revision: String) {
        let mut state = self.state();
        if let Some(follower) = state.followers.get(application)
            && follower.target_revision == target_revision
        {
            return;
        }
        let follower = Follower {
            target_revision,
            told: None,
            inputs: None,
            failed: false,
            asked: false,
        };
        state.followers.insert(application.clone(), follower);
        drop(state);
        self.wake(Cause::Application, Instant::now());
    }

    /// Returns whether nobody follows any more.
    pub(super) fn forget(&self, application: &ApplicationKey) -> bool {
        let mut state = self.state();
        state.followers.remove(application);
        state.followers.is_empty()
    }

    pub(super) fn report_again(&self, application: &ApplicationKey) {
        if let Some(follower) = self.state().followers.get_mut(application) {
            follower.asked = true;
        }
    }

    pub(super) fn rendered(&self, application: &ApplicationKey, inputs: Option<Inputs>) {
        if let Some(follower) = self.state().followers.get_mut(application) {
            follower.inputs = inputs;
        }
    }

    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.woken.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> BTreeSet<String> {
        self.state()
            .followers
            .values()
            .map(|follower| follower.target_revision.clone())
            .collect()
    }

    /// Tells everybody anew, as at a start: who was told what before a panic is not known.
    fn begin_anew(&self) {
        const WHY: &str =
            "the agent's own work on the repository ended in a fault, and begins again";
        let followers = self.note_failure(WHY, |follower| {
            follower.told = None;
            follower.inputs = None;
        });
        // First, so that one that panics here is not looked past.
        self.wake(Cause::Poll, Instant::now());
        self.tell_failure(&followers, WHY);
    }

    async fn run(self: Arc<Self>, panics: u32) {
        if panics > 0 {
            self.begin_anew();
        }
        let mut failures = 0_u32;
        let mut last_look = None::<Instant>;
        let mut pace = Pace::new(Instant::now(), Arc::clone(&self.forge));
        loop {
            let now = Instant::now();
            let regularly = now
                + match failures {
                    0 => self.interval(last_look),
                    failures => pause_after(failures),
                };
            let again = if failures == 0 { pace.again() } else { None };
            let plan = Plan {
                at: again.map_or(regularly, |again| regularly.min(now + again)),
                regularly,
            };
            let Some((mut next, reasons)) = self.wait(&mut pace, plan).await else {
                return;
            };
            // Several applications that start at once ask one after the other: one look for all.
            if next.may_be_joined() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut state = self.state();
                if state.next_look.may_be_joined() {
                    next.join(std::mem::take(&mut state.next_look));
                }
            }
            let (cause, received) = next.asked.unwrap_or((Cause::Poll, Instant::now()));
            let came = self.look(&cause, received, &next.joined).await;
            pace.asked(Instant::now(), reasons, came == Came::News);
            if came == Came::Nothing && (next.unnamed || self.state().is_unknown(&next.promised)) {
                pace.is_missing();
            }
            failures = match came {
                Came::News | Came::Nothing => 0,
                Came::Failed => failures.saturating_add(1),
            };
            last_look = Some(Instant::now());
            if failures == 0 && self.mirror.is_crowded() {
                tokio::spawn(Arc::clone(&self).tidy());
            }
        }
    }

    /// Waits until the repository is to be asked; answers with what asks for it. What is asked for
    /// meanwhile joins it. None when nobody follows any more.
    async fn wait(&self, pace: &mut Pace, plan: Plan) -> Option<(NextLook, Reasons)> {
        loop {
            let now = Instant::now();
            let (next, is_due) = {
                let mut state = self.state();
                if state.stopped {
                    return None;
                }
                let reasons = Reasons {
                    regular: state.next_look.regular || now >= plan.regularly,
                    promise: state.is_unknown(&state.next_look.promised),
                };
                if state.next_look.asked.is_none() && now < plan.at {
                    (plan.at, false)
                } else {
                    let wait = pace.wait(now, reasons);
                    if wait.is_zero() {
                        return Some((std::mem::take(&mut state.next_look), reasons));
                    }
                    // Deliveries put off no look that is due without them.
                    let most = plan.regularly.saturating_duration_since(now);
                    let put_off = most.is_zero() || wait < most;
                    (now + if put_off { wait } else { most }, true)
                }
            };
            if is_due {
                self.say_left_alone(self.forge.closed(now));
            }
            self.state().next = Some(next);
            tokio::select! {
                () = self.woken.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Says why a look that is due is not made, unless something else is wrong already.
    fn say_left_alone(&self, closed: Duration) {
        if closed > SHORT && self.state().failure.is_none() {
            self.fail(&Forge::says_why(closed), &[]);
        }
    }

    /// Leaves the host alone for as long as it asks.
    fn heed(&self, error: &Error) {
        if let Some(pause) = error.retry_after() {
            self.forge.close(Instant::now(), pause);
        }
    }

    /// Replaces the mirror, which grows with every fetch, by a fresh one. Fetches go on meanwhile.
    async fn tidy(self: Arc<Self>) {
        let credential = self.shared.credentials.for_url(&self.url);
        if let Err(error) = self.mirror.tidy(&self.wanted(), credential.as_ref()).await {
            self.heed(&error);
            tracing::warn!(repository = %self.key, %error, "could not tidy the mirror");
        }
    }

    /// The poll interval, less or more by up to a tenth, so that repositories spread.
    fn interval(&self, last_look: Option<Instant>) -> Duration {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new().hash_one(last_look.map(|look| look.elapsed())) % 2001;
        let interval = Duration::from_millis(self.shared.poll_interval.load(Ordering::Relaxed));
        let tenth = interval / 10;
        let shift = tenth.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 1000.0);
        interval - tenth + shift
    }

    /// Looks at the repository once.
    async fn look(&self, cause: &Cause, received: Instant, deliveries: &[String]) -> Came {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Came::Nothing;
        }
        let credential = self.shared.credentials.for_url(&self.url);
        let started = Instant::now();
        let result = self.mirror.fetch(&wanted, credential.as_ref()).await;
        let transferred = result.as_ref().is_ok_and(|fetched| fetched.fetched);
        self.shared.metrics.git_request(
            if transferred {
                GitRequest::Fetch
            } else {
                GitRequest::List
            },
            if result.is_ok() {
                Answer::Ok
            } else {
                Answer::Failed
            },
            started.elapsed(),
        );
        if transferred {
            self.shared.stored.notify_one();
        }
        self.state().last = Some(Instant::now());
        match result {
            Ok(fetched) => {
                self.state().failure = None;
                let moved = fetched.fetched || self.is_moved(&fetched);
                let changed = self.tell(&fetched, cause, received);
                self.judge(deliveries, |application| match changed.get(application) {
                    Some(News::Revision(_)) => Verdict::Changed,
                    Some(News::Failed(_)) => Verdict::Failed,
                    Some(News::Unchanged) | None => Verdict::Unchanged,
                });
                if moved { Came::News } else { Came::Nothing }
            }
            Err(error) => {
                tracing::warn!(repository = %self.key, %error, "could not read the repository");
                self.heed(&error);
                self.fail(&error.to_string(), deliveries);
                Came::Failed
            }
        }
    }

    /// Tells everybody that the repository cannot be read, and why.
    fn fail(&self, why: &str, deliveries: &[String]) {
        self.judge(deliveries, |_| Verdict::Failed);
        let followers = self.note_failure(why, |_| {});
        self.tell_failure(&followers, why);
    }

    /// Notes that nothing new is known of the repository, and why; answers with who follows it.
    fn note_failure(&self, why: &str, change: impl Fn(&mut Follower)) -> Vec<ApplicationKey> {
        let mut state = self.state();
        let since = state.failure.take().map(|(since, _)| since);
        let since = since.unwrap_or_else(|| rfc3339(Timestamp::now()));
        state.failure = Some((since, why.to_owned()));
        for follower in state.followers.values_mut() {
            follower.failed = true;
            change(follower);
        }
        state.followers.keys().cloned().collect()
    }

    fn tell_failure(&self, followers: &[ApplicationKey], why: &str) {
        for application in followers {
            let news = News::Failed(SourceFault {
                message: why.to_owned(),
                is_missing: false,
            });
            self.shared.listener.hear(application, news);
        }
    }

    /// Whether a commit is another than the one that a follower was told last.
    fn is_moved(&self, fetched: &Fetched) -> bool {
        let state = self.state();
        state.followers.values().any(|follower| {
            match fetched.commits.get(&follower.target_revision) {
                Some(Ok(commit_id)) => follower.told.as_ref() != Some(commit_id),
                Some(Err(_)) | None => false,
            }
        })
    }

    /// Notes what deliveries came to for everybody who follows.
    fn judge(&self, deliveries: &[String], verdict: impl Fn(&ApplicationKey) -> Verdict) {
        if deliveries.is_empty() {
            return;
        }
        for (application, _) in self.followers() {
            for delivery in deliveries {
                self.shared
                    .journal
                    .judged(delivery, &application, verdict(&application));
            }
        }
    }

    /// Tells each follower what is new for it, and nothing to the others.
    fn tell(
        &self,
        fetched: &Fetched,
        cause: &Cause,
        received: Instant,
    ) -> BTreeMap<ApplicationKey, News> {
        let at = Instant::now();
        let mut news = BTreeMap::new();
        // One for each commit: a thousand followers mostly ask about the same.
        let mut opened: HashMap<&str, Option<TreeIds<'_>>> = HashMap::new();
        let mut state = self.state();
        for (application, follower) in &mut state.followers {
            let item = match fetched.commits.get(&follower.target_revision) {
                // Started to follow while the look was on its way: the next one is for it.
                None => continue,
                Some(Err(error)) => {
                    follower.failed = true;
                    let wanted = match follower.target_revision.as_str() {
                        "" => "HEAD",
                        revision => revision,
                    };
                    News::Failed(SourceFault {
                        message: format!("revision \"{wanted}\" {error}"),
                        is_missing: true,
                    })
                }
                Some(Ok(commit_id)) => {
                    let recovered = std::mem::take(&mut follower.failed);
                    let asked = std::mem::take(&mut follower.asked);
                    let known = follower.told.as_ref() == Some(commit_id) || {
                        let ids = opened
                            .entry(commit_id)
                            .or_insert_with(|| self.mirror.tree_ids(commit_id).ok());
                        ids.as_mut().is_some_and(|ids| reads_same(follower, ids))
                    };
                    if known && !asked {
                        follower.told = Some(commit_id.clone());
                        if !recovered {
                            continue;
                        }
                        News::Unchanged
                    } else {
                        follower.told = Some(commit_id.clone());
                        News::Revision(Revision {
                            commit_id: commit_id.clone(),
                            cause: cause.clone(),
                            received,
                            fetched: at,
                        })
                    }
                }
            };
            news.insert(application.clone(), item);
        }
        drop(state);
        for (application, item) in &news {
            self.shared.listener.hear(application, item.clone());
        }
        news
    }
}

/// Whether a commit leaves everything as it is that the last render read.
fn reads_same(follower: &Follower, ids: &mut TreeIds<'_>) -> bool {
    follower.inputs.as_ref().is_some_and(|inputs| {
        let mut inputs = inputs.iter();
        inputs.all(|(path, id)| ids.id(path).is_ok_and(|found| found == *id))
    })
}
