//! The source loop: one task a repository, which polls, fetches when asked, and tells each
//! application that follows the repository what is new for it.
//!
//! A push wakes the task directly; no write to the API server lies between.

mod credentials;
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

use crate::crd::ApplicationKey;
use crate::git::{Limits, Mirror, RepositoryUrl, Transport};
use crate::object::RepositoryKey;
use crate::telemetry::Metrics;
use crate::trigger::{Cause, Following, Inputs, Listener, News, Sources};

pub(crate) use credentials::Credentials;
use repository::Repository;

/// What the loop runs with.
pub(crate) struct Options {
    pub(crate) mirrors: PathBuf,
    pub(crate) poll_interval: Duration,
    pub(crate) limits: Limits,
}

/// All repositories that are followed.
pub(crate) struct SourceLoop {
    options: Options,
    transport: Transport,
    credentials: Arc<Credentials>,
    listener: Arc<dyn Listener>,
    metrics: Arc<Metrics>,
    /// In milliseconds; read before every wait, so that new settings hold from the next one on.
    poll_interval: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    repositories: HashMap<String, Arc<Repository>>,
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
    pub(crate) delivery: String,
    pub(crate) received: Instant,
}

impl SourceLoop {
    pub(crate) fn new(
        options: Options,
        credentials: Arc<Credentials>,
        listener: Arc<dyn Listener>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let transport = Transport::new();
        let poll_interval = Arc::new(AtomicU64::new(millis(options.poll_interval)));
        Self {
            options,
            transport,
            credentials,
            listener,
            metrics,
            poll_interval,
            state: Mutex::default(),
        }
    }

    pub(crate) fn set_poll_interval(&self, interval: Duration) {
        self.poll_interval
            .store(millis(interval), Ordering::Relaxed);
    }

    /// Wakes the repositories that a push may have moved; returns how many.
    pub(crate) fn pushed(&self, pushed: &Pushed) -> usize {
        let keys: Vec<_> = pushed
            .urls
            .iter()
            .filter_map(|url| RepositoryKey::parse(url))
            .collect();
        let repositories: Vec<_> = self.state().repositories.values().cloned().collect();
        let concerned = repositories.iter().filter(|repository| {
            (pushed.urls.is_empty() || keys.contains(repository.key()))
                && pushed
                    .reference
                    .as_ref()
                    .is_none_or(|reference| repository.concerns(reference))
        });
        let cause = Cause::Push(pushed.delivery.clone());
        concerned
            .map(|repository| repository.wake(cause.clone(), pushed.received))
            .count()
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
        let mirror = Mirror::new(
            &self.options.mirrors,
            parsed,
            self.transport.clone(),
            self.options.limits,
        );
        let repository = Repository::start(
            key,
            url.to_owned(),
            mirror,
            Arc::clone(&self.poll_interval),
            Arc::clone(&self.credentials),
            Arc::clone(&self.listener),
            Arc::clone(&self.metrics),
        );
        state
            .repositories
            .insert(url.to_owned(), Arc::clone(&repository));
        Ok(repository)
    }

    fn forget_in(state: &mut State, application: &ApplicationKey) {
        let Some(url) = state.followed.remove(application) else {
            return;
        };
        if let Some(repository) = state.repositories.get(&url)
            && repository.forget(application)
        {
            repository.stop();
            state.repositories.remove(&url);
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
            Self::forget_in(&mut state, application);
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
                self.listener.hear(application, News::Failed(message));
            }
        }
    }

    fn forget(&self, application: &ApplicationKey) {
        Self::forget_in(&mut self.state(), application);
    }

    fn refresh(&self, application: &ApplicationKey) {
        if let Some(repository) = self.followed_by(application) {
            repository.report_again(application);
            repository.wake(Cause::Manual, Instant::now());
        }
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
