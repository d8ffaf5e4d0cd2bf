//! The source loop: one task a repository, which polls, fetches when asked, and tells each
//! application that follows the repository what is new for it.
//!
//! A push wakes the task directly; no write to the API server lies between.

mod credentials;
mod forge;
mod keeping;
mod next;
mod pace;
mod repository;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::crd::ApplicationKey;
use crate::git::{Limits, Mirror, RepositoryUrl, Transport};
use crate::object::{RepositoryKey, redact_url, rfc3339_before};
use crate::telemetry::Metrics;
use crate::trigger::{
    Cause, Delivery, Following, Inputs, Journal, Listener, News, SourceFault, Sources, Verdict,
    concerns,
};

pub(crate) use credentials::Credentials;
use forge::Forges;
pub(crate) use repository::Look;
use repository::{Repository, Shared};

/// What the loop runs with.
pub(crate) struct Options {
    pub(crate) mirrors: PathBuf,
    pub(crate) poll_interval: Duration,
    pub(crate) limits: Limits,
    /// Bytes that all mirrors together may have on disk.
    pub(crate) mirror_bytes: u64,
}

/// All repositories that are followed.
pub(crate) struct SourceLoop {
    options: Options,
    transport: Transport,
    shared: Shared,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    repositories: HashMap<String, Arc<Repository>>,
    forges: Forges,
    /// The repository (by its URL as written) that each application follows.
    followed: HashMap<ApplicationKey, String>,
}

/// A push as the source loop needs it.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    /// Every spelling of the repository's URL that the delivery gave; empty for all repositories.
    pub(crate) urls: Vec<String>,
    /// The full ref, none when the delivery does not say.
    pub(crate) reference: Option<String>,
    /// The commit that it is at now, none when the delivery does not say. Never fetched because of
    /// that: it tells how soon to ask, not what for.
    pub(crate) commit_id: Option<String>,
    pub(crate) delivery: String,
    pub(crate) received: Instant,
}

impl SourceLoop {
    pub(crate) fn new(
        options: Options,
        credentials: Arc<Credentials>,
        listener: Arc<dyn Listener>,
        metrics: Arc<Metrics>,
        journal: Arc<Journal>,
    ) -> Self {
        let transport = Transport::new();
        let poll_interval = Arc::new(AtomicU64::new(millis(options.poll_interval)));
        Self {
            options,
            transport,
            shared: Shared {
                poll_interval,
                credentials,
                listener,
                metrics,
                journal,
                stored: Arc::default(),
            },
            state: Mutex::default(),
        }
    }

    pub(crate) fn set_poll_interval(&self, interval: Duration) {
        self.shared
            .poll_interval
            .store(millis(interval), Ordering::Relaxed);
    }

    /// Wakes the repositories that a push may have moved, and notes it; returns how many.
    pub(crate) fn pushed(&self, receiver: &str, pushed: &Pushed) -> usize {
        let keys: Vec<_> = pushed
            .urls
            .iter()
            .filter_map(|url| RepositoryKey::parse(url))
            .collect();
        let mut repositories: Vec<_> = self.state().repositories.values().cloned().collect();
        repositories.retain(|repository| pushed.urls.is_empty() || keys.contains(repository.key()));
        self.note(receiver, pushed, &repositories);
        let concerned = repositories.iter().filter(|repository| {
            let reference = pushed.reference.as_ref();
            reference.is_none_or(|reference| repository.concerns(reference))
        });
        let commit_id = pushed.commit_id.as_deref();
        concerned
            .map(|repository| repository.deliver(&pushed.delivery, commit_id, pushed.received))
            .count()
    }

    /// Notes a delivery with everybody whose repository it is about.
    fn note(&self, receiver: &str, pushed: &Pushed, repositories: &[Arc<Repository>]) {
        let reference = pushed.reference.clone().unwrap_or_default();
        let mut verdicts: Vec<_> = repositories
            .iter()
            .flat_map(|repository| repository.followers())
            .map(|(application, revision)| {
                let follows = reference.is_empty() || concerns(&reference, &[revision].into());
                let verdict = if follows {
                    Verdict::Waiting
                } else {
                    Verdict::OtherRevision
                };
                (application, verdict)
            })
            .collect();
        verdicts.sort_by(|a, b| a.0.cmp(&b.0));
        self.shared.journal.delivered(Delivery {
            receiver: receiver.to_owned(),
            id: pushed.delivery.clone(),
            event: "push".to_owned(),
            at: rfc3339_before(Timestamp::now(), pushed.received.elapsed()),
            repository: pushed
                .urls
                .first()
                .map(|url| redact_url(url))
                .unwrap_or_default(),
            reference,
            verdicts,
            more: 0,
        });
    }

    /// Every repository that is followed, by address.
    pub(crate) fn looks(&self) -> Vec<Look> {
        let repositories: Vec<_> = self.state().repositories.values().cloned().collect();
        let mut looks: Vec<_> = repositories.iter().map(|it| it.last_look()).collect();
        looks.sort_by(|a, b| a.url.cmp(&b.url));
        looks
    }

    /// The mirror that an application's source is read from.
    pub(crate) fn mirror(&self, application: &ApplicationKey) -> Option<Mirror> {
        self.followed_by(application)
            .map(|repository| repository.mirror().clone())
    }

    /// Fetches one more revision of an application's repository, for a look at it; answers with
    /// its commit.
    pub(crate) async fn fetch(
        &self,
        application: &ApplicationKey,
        revision: String,
    ) -> Result<String, String> {
        match self.followed_by(application) {
            Some(repository) => repository.fetch(revision).await,
            None => Err("its repository was not read yet".to_owned()),
        }
    }

    /// The repository that an application follows.
    fn followed_by(&self, application: &ApplicationKey) -> Option<Arc<Repository>> {
        let state = self.state();
        state
            .repositories
            .get(state.followed.get(application)?)
            .cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository of a URL, started when it is new.
    fn repository(&self, state: &mut State, url: &str) -> Result<Arc<Repository>, String> {
        if let Some(repository) = state.repositories.get(url) {
            return Ok(Arc::clone(repository));
        }
        let parsed = RepositoryUrl::parse(url).map_err(|error| error.to_string())?;
        let key =
            RepositoryKey::parse(url).ok_or_else(|| "spec.source.repoURL is no URL".to_owned())?;
        let forge = state.forges.at(parsed.authority());
        let mirror = Mirror::new(
            &self.options.mirrors,
            parsed,
            self.transport.clone(),
            self.options.limits,
        );
        let repository = Repository::start(key, url.to_owned(), mirror, forge, self.shared.clone());
        state
            .repositories
            .insert(url.to_owned(), Arc::clone(&repository));
        Ok(repository)
    }

    fn forget_in(&self, state: &mut State, application: &ApplicationKey) {
        let Some(url) = state.followed.remove(application) else {
            return;
        };
        if let Some(repository) = state.repositories.get(&url)
            && repository.forget(application)
        {
            repository.stop();
            state.repositories.remove(&url);
            self.shared.stored.notify_one();
        }
    }
}

impl Sources for SourceLoop {
    fn follow(&self, application: &ApplicationKey, following: Following) {
        let mut state = self.state();
        if state
            .followed
            .get(application)
            .is_some_and(|url| *url != following.repo_url)
        {
            self.forget_in(&mut state, application);
        }
        match self.repository(&mut state, &following.repo_url) {
            Ok(repository) => {
                state
                    .followed
                    .insert(application.clone(), following.repo_url);
                drop(state);
                repository.follow(application, following.target_revision);
            }
            Err(message) => {
                drop(state);
                let fault = SourceFault {
                    message,
                    is_missing: true,
                };
                self.shared.listener.hear(application, News::Failed(fault));
            }
        }
    }

    fn forget(&self, application: &ApplicationKey) {
        self.forget_in(&mut self.state(), application);
    }

    fn refresh(&self, application: &ApplicationKey, cause: Cause) -> bool {
        let Some(repository) = self.followed_by(application) else {
            return false;
        };
        repository.report_again(application);
        repository.wake(cause, Instant::now());
        true
    }

    fn rendered(&self, application: &ApplicationKey, inputs: Option<Inputs>) {
        if let Some(repository) = self.followed_by(application) {
            repository.rendered(application, inputs);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    /// Panics at the first news, and passes on the others.
    struct Nervous {
        calm: std::sync::atomic::AtomicBool,
        heard: UnboundedSender<(ApplicationKey, News)>,
    }

    impl Listener for Nervous {
        fn hear(&self, application: &ApplicationKey, news: News) {
            assert!(self.calm.swap(true, Ordering::Relaxed), "canary");
            self.heard.send((application.clone(), news)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_repository_whose_task_panics_is_told_of_again() {
        let directory = tempfile::tempdir().unwrap();
        let (heard, mut news) = unbounded_channel();
        let metrics = Arc::new(Metrics::new("1"));
        let sources = SourceLoop::new(
            Options {
                mirrors: directory.path().to_owned(),
                poll_interval: Duration::from_secs(180),
                limits: Limits {
                    timeout: Duration::from_secs(10),
                    bytes: 1 << 20,
                },
                mirror_bytes: 64 << 20,
            },
            Arc::default(),
            Arc::new(Nervous {
                calm: false.into(),
                heard,
            }),
            Arc::clone(&metrics),
            Arc::default(),
        );
        let application = ApplicationKey {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        // Nobody listens there: the first look tells of it, and panics.
        let following = Following {
            repo_url: "http://127.0.0.1:1/web.git".to_owned(),
            target_revision: "main".to_owned(),
        };
        sources.follow(&application, following);
        for by_us in [true, false] {
            let next = tokio::time::timeout(Duration::from_secs(20), news.recv()).await;
            let (told, news) = next.unwrap().unwrap();
            assert_eq!(told, application);
            // First why it is told, then that it looked again.
            let News::Failed(SourceFault { message: why, .. }) = news else {
                panic!("{news:?}");
            };
            assert_eq!(why.contains("the agent's own work"), by_us, "{why}");
        }
        let line = "trimtab_task_panics_total{task=\"repository\"} 1";
        let text = metrics.encode();
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
