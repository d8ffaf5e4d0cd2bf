//! Which Applications there are: one task each, woken by news that are coalesced.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use tokio::sync::broadcast;

use crate::cluster::{Cluster, Selection, Served, WatchEvent};
use crate::controller::{
    Context, Summary,
    mailbox::{Codes, Inbox, Mailbox, lock},
    reconcile,
};
use crate::crd::{Application, ApplicationKey, read};
use crate::supervise::supervise;
use crate::telemetry::Task;
use crate::trigger::{Listener, News, Revision};

/// Changes that a follower may be behind before it misses some.
const BEHIND: usize = 1024;

/// An application as lists show it now, or that it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) application: ApplicationKey,
    pub(crate) summary: Option<Arc<Summary>>,
}

/// All Applications that are there.
pub(crate) struct Registry {
    mailboxes: Mutex<HashMap<ApplicationKey, Arc<Mailbox>>>,
    context: OnceLock<Arc<Context>>,
    changes: broadcast::Sender<Change>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            mailboxes: Mutex::default(),
            context: OnceLock::new(),
            changes: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Registry {
    /// Gives the context that the tasks run with; once, before the first Application.
    pub(crate) fn begin(&self, context: Arc<Context>) {
        let _ = self.context.set(context);
    }

    pub(super) fn context(&self) -> Option<Arc<Context>> {
        self.context.get().cloned()
    }

    /// Wakes an application because its live objects changed.
    pub(crate) fn live_changed(&self, application: &ApplicationKey) {
        self.put(application, |inbox| inbox.live = true);
    }

    /// Wakes every application, because what holds for all of them changed.
    pub(crate) fn wake_all(&self) {
        for mailbox in lock(&self.mailboxes).values() {
            mailbox.put(|inbox| inbox.live = true);
        }
    }

    /// Every application as lists show it, by namespace and name.
    pub(crate) fn summaries(&self) -> Vec<Arc<Summary>> {
        let mut summaries: Vec<Arc<Summary>> = lock(&self.mailboxes)
            .values()
            .filter_map(|mailbox| lock(&mailbox.summary).clone())
            .collect();
        summaries.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        summaries
    }

    /// How many live objects are remembered.
    pub(crate) fn managed_objects(&self) -> usize {
        self.context.get().map_or(0, |context| context.live.len())
    }

    /// What changes in [`Registry::summaries`] from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn show(&self, mailbox: &Mailbox, application: &Application) {
        let summary = Arc::new(Summary::of(application));
        let mut shown = lock(&mailbox.summary);
        if shown.as_ref() != Some(&summary) {
            *shown = Some(Arc::clone(&summary));
            // Nobody looks: nothing to do.
            let _ = self.changes.send(Change {
                application: application.key.clone(),
                summary: Some(summary),
            });
        }
    }

    /// How each application does.
    pub(crate) fn codes(&self) -> Vec<Codes> {
        lock(&self.mailboxes)
            .values()
            .map(|mailbox| *lock(&mailbox.codes))
            .collect()
    }

    fn put(&self, application: &ApplicationKey, change: impl FnOnce(&mut Inbox)) {
        let mailbox = lock(&self.mailboxes).get(application).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.put(change);
        }
    }

    fn changed(self: &Arc<Self>, application: Application) {
        let Some(context) = self.context.get() else {
            return;
        };
        let key = application.key.clone();
        let mut mailboxes = lock(&self.mailboxes);
        let mailbox = mailboxes.entry(key.clone()).or_insert_with(|| {
            let mailbox = Arc::new(Mailbox::default());
            let (context, own) = (Arc::clone(context), Arc::clone(&mailbox));
            let metrics = Arc::clone(&context.engine.metrics);
            supervise(&metrics, Task::Application, key.clone(), move |panics| {
                let (context, own) = (Arc::clone(&context), Arc::clone(&own));
                reconcile::run(context, key.clone(), own, panics)
            });
            mailbox
        });
        self.show(mailbox, &application);
        mailbox.show(application);
    }

    fn gone(&self, key: &ApplicationKey) {
        let mailbox = lock(&self.mailboxes).remove(key);
        if let Some(mailbox) = mailbox {
            mailbox.put(|inbox| inbox.gone = true);
            let _ = self.changes.send(Change {
                application: key.clone(),
                summary: None,
            });
        }
    }
}

impl Listener for Registry {
    fn hear(&self, application: &ApplicationKey, news: News) {
        // A look at what is no Application yet leaves nothing behind.
        if !lock(&self.mailboxes).contains_key(application) {
            return;
        }
        if let (News::Revision(_), Some(context)) = (&news, self.context.get()) {
            context.claims.expect(application);
        }
        self.put(application, |inbox| match news {
            News::Revision(revision) => {
                // The time that counts is that of the first cause that was not served yet.
                let received = inbox
                    .revision
                    .as_ref()
                    .map_or(revision.received, |r| r.received);
                inbox.revision = Some(Revision {
                    received,
                    ..revision
                });
                inbox.source = Some(Ok(()));
            }
            News::Unchanged => inbox.source = Some(Ok(())),
            News::Failed(fault) => inbox.source = Some(Err(fault)),
        });
    }
}

/// Watches the Applications of one namespace, for ever.
pub(crate) async fn watch_applications(
    registry: Arc<Registry>,
    cluster: Cluster,
    served: Served,
    namespace: String,
    ready: impl Fn() + Send + Sync,
) {
    let mut unconfirmed: Option<HashSet<ApplicationKey>> = None;
    let selection = Selection {
        namespace: Some(namespace.clone()),
        labels: None,
    };
    let started = Instant::now();
    let handle = |event| match event {
        // Each Application that went back shows it by its version.
        WatchEvent::SetBack => {}
        WatchEvent::Listing => {
            let known = lock(&registry.mailboxes);
            let here = known.keys().filter(|key| key.namespace == namespace);
            unconfirmed = Some(here.cloned().collect());
        }
        WatchEvent::Applied(object) => {
            let application = read(object);
            if let Some(unconfirmed) = &mut unconfirmed {
                unconfirmed.remove(&application.key);
            }
            registry.changed(application);
        }
        WatchEvent::Deleted(object) => registry.gone(&read(object).key),
        WatchEvent::Listed => {
            for key in unconfirmed.take().unwrap_or_default() {
                registry.gone(&key);
            }
            tracing::debug!(namespace, elapsed = ?started.elapsed(), "Applications are listed");
            ready();
        }
        WatchEvent::Failed(message) | WatchEvent::Refused(message) => {
            tracing::warn!(namespace, message, "the watch of Applications failed");
        }
    };
    cluster.watch(&served, selection, handle).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::Cause;

    #[test]
    fn an_application_that_goes_back_begins_anew() {
        let mailbox = Mailbox::default();
        for (version, anew) in [
            ("7", false),
            ("7", false),
            ("9", false),
            ("8", true),
            ("8", false),
        ] {
            let object = serde_json::json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"namespace": "a", "name": "b", "uid": "u", "resourceVersion": version},
            });
            mailbox.show(read(crate::object::Object::new(object).unwrap()));
            let inbox = mailbox.take();
            assert!(inbox.application.is_some());
            assert_eq!(inbox.anew, anew, "{version}");
        }
    }

    #[test]
    fn the_answer_to_a_refresh_supersedes_nothing_when_the_source_did_not_move() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.supersedes(Some("abc")));
        let now = Instant::now();
        mailbox.put(|inbox| {
            inbox.revision = Some(Revision {
                commit_id: "abc".to_owned(),
                cause: Cause::Manual,
                received: now,
                fetched: now,
            });
        });
        assert!(!mailbox.supersedes(Some("abc")));
        assert!(mailbox.supersedes(Some("def")));
        mailbox.put(|inbox| inbox.gone = true);
        assert!(mailbox.supersedes(Some("abc")));
    }
}
