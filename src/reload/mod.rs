//! A mounted file, or a set of them, as a value that follows the files.
//!
//! A broken file never takes a good value away: it is reported, and the last good value stays.
//! A file mounted by `subPath` does not change while the pod lives; Kubernetes does not update it.

mod error;
mod files;
mod watcher;

use std::{
    error::Error as _,
    fmt::Display,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::{Notify, watch};

pub(crate) use error::Error;
pub(crate) use files::Content;
use files::Files;
use watcher::DirectoryWatcher;

/// How files are followed.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How long a directory must be quiet before its files are read again.
    pub(crate) debounce: Duration,
    /// How often the files are read without any sign of a change: the net below the watch.
    pub(crate) poll: Duration,
    /// The largest file that is read.
    pub(crate) max_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(100),
            poll: Duration::from_secs(60),
            max_bytes: 1 << 20,
        }
    }
}

/// The value that some files make, as of now. Clones follow the same files.
pub(crate) struct Reloaded<T> {
    value: watch::Receiver<Arc<T>>,
    error: Arc<RwLock<Option<Arc<Error>>>>,
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            error: Arc::clone(&self.error),
        }
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files, and gives the value together with the task that follows them, which the
    /// caller runs. The task ends when the last clone of the value is gone.
    ///
    /// `parse` gets the contents in the order of `paths`, none for a file that is not there, so
    /// that it decides what a missing file means. Files that are broken at the start are an error:
    /// there is no last good value yet.
    pub(crate) fn follow<P, E>(
        paths: Vec<PathBuf>,
        options: Options,
        parse: P,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), Error>
    where
        P: Fn(&[Content]) -> Result<T, E> + Send + Sync + 'static,
        E: Display + 'static,
    {
        let wake = Arc::new(Notify::new());
        let watcher = DirectoryWatcher::new(&paths, &wake);
        let files = Arc::new(Files::new(paths, options.max_bytes));
        let read = files.read();
        let seen = read.mark();
        let value = read.parse(&parse)?;
        let (sender, receiver) = watch::channel(Arc::new(value));
        let error = Arc::default();
        let follower = Follower {
            files,
            parse: Arc::new(parse),
            seen,
            sender,
            error: Arc::clone(&error),
        };
        let reloaded = Self {
            value: receiver,
            error,
        };
        Ok((reloaded, follower.run(wake, watcher, options)))
    }

    /// The last good value.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.borrow())
    }

    /// What is wrong with the files now, if they no longer make a value.
    #[cfg(test)]
    pub(crate) fn error(&self) -> Option<Arc<Error>> {
        self.error
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the next value after the last one waited for. Forever, once nobody follows.
    pub(crate) async fn changed(&mut self) {
        if self.value.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

struct Follower<T, P> {
    files: Arc<Files>,
    parse: Arc<P>,
    seen: files::Mark,
    sender: watch::Sender<Arc<T>>,
    error: Arc<RwLock<Option<Arc<Error>>>>,
}

impl<T, P, E> Follower<T, P>
where
    T: Send + Sync + 'static,
    P: Fn(&[Content]) -> Result<T, E> + Send + Sync + 'static,
    E: Display + 'static,
{
    async fn run(mut self, wake: Arc<Notify>, mut watcher: DirectoryWatcher, options: Options) {
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                () = wake.notified() => settle(&wake, options.debounce).await,
                () = tokio::time::sleep(options.poll) => watcher.renew(),
            }
            let (files, parse, before) = (
                Arc::clone(&self.files),
                Arc::clone(&self.parse),
                self.seen.clone(),
            );
            let looked = tokio::task::spawn_blocking(move || {
                let read = files.read();
                let mark = read.mark();
                (mark != before).then(|| (mark, read.parse(&*parse)))
            });
            match looked.await {
                Ok(None) => {}
                Ok(Some((mark, result))) => {
                    self.seen = mark;
                    self.take(result);
                }
                Err(error) => tracing::error!(%error, files = %self.files, "reading files broke"),
            }
        }
    }

    fn take(&self, result: Result<T, Error>) {
        let error = match result {
            Ok(value) => {
                tracing::info!(files = %self.files, "read changed files");
                self.sender.send_replace(Arc::new(value));
                None
            }
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                let cause = cause.as_deref();
                tracing::warn!(files = %self.files, %error, cause, "changed files are broken, the last good value stays");
                Some(Arc::new(error))
            }
        };
        *self.error.write().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// Waits until nothing has happened for `quiet`, but not for ever in a busy directory.
async fn settle(wake: &Notify, quiet: Duration) {
    for _ in 0..10 {
        if tokio::time::timeout(quiet, wake.notified()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
