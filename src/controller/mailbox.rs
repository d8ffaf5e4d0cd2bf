//! Where news for the task of an application wait until it reconciles: the newest of each counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::controller::Summary;
use crate::crd::{Application, HealthCode, SyncCode};
use crate::trigger::{Revision, SourceFault};

/// What arrived for an application since it was last looked at. The newest of each counts.
#[derive(Default)]
pub(in crate::controller) struct Inbox {
    pub(in crate::controller) application: Option<Box<Application>>,
    pub(in crate::controller) gone: bool,
    /// All that is remembered is out of date: it begins as at a start.
    pub(in crate::controller) anew: bool,
    pub(in crate::controller) revision: Option<Revision>,
    /// The last word about the source: none when it was not looked at, an error or all well.
    pub(in crate::controller) source: Option<Result<(), SourceFault>>,
    pub(in crate::controller) live: bool,
}

/// Where news for one application arrive.
#[derive(Default)]
pub(in crate::controller) struct Mailbox {
    inbox: Mutex<Inbox>,
    /// How the application does, for the counts.
    pub(in crate::controller) codes: Mutex<Codes>,
    /// What lists show of it.
    pub(in crate::controller) summary: Mutex<Option<Arc<Summary>>>,
    /// The resourceVersion that was seen last.
    seen: Mutex<Option<u128>>,
    pub(in crate::controller) woken: Notify,
}

/// Sync and health of one application.
pub(in crate::controller) type Codes = (SyncCode, Option<HealthCode>);

impl Mailbox {
    pub(in crate::controller) fn set_codes(&self, codes: Codes) {
        *lock(&self.codes) = codes;
    }

    pub(in crate::controller) fn take(&self) -> Inbox {
        std::mem::take(&mut *lock(&self.inbox))
    }

    /// Whether another revision than this one, or a deletion, is waiting.
    pub(in crate::controller) fn supersedes(&self, commit_id: Option<&str>) -> bool {
        let inbox = lock(&self.inbox);
        let told = inbox.revision.as_ref();
        let newer = told.is_some_and(|told| Some(told.commit_id.as_str()) != commit_id);
        newer || inbox.gone
    }

    /// Takes in the Application as a watch shows it. Lists and watches never go back, but with the
    /// cluster: what was done since is undone, and so is what the status said of it.
    pub(in crate::controller) fn show(&self, application: Application) {
        let version = application.resource_version.parse::<u128>().ok();
        let before = std::mem::replace(&mut *lock(&self.seen), version);
        let went_back = version.is_some() && version < before;
        self.put(|inbox| {
            inbox.anew |= went_back;
            inbox.application = Some(Box::new(application));
        });
    }

    /// Brings the Application as it is stored, unless a newer one has arrived.
    pub(in crate::controller) fn bring(&self, stored: Application) {
        let version = |it: &Application| it.resource_version.parse::<u128>().ok();
        self.put(|inbox| match &inbox.application {
            Some(known) if version(known) > version(&stored) => {}
            _ => inbox.application = Some(Box::new(stored)),
        });
    }

    pub(in crate::controller) fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut lock(&self.inbox));
        self.woken.notify_one();
    }
}

/// What is behind a mutex; a panic elsewhere leaves it whole.
pub(in crate::controller) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
