//! Kubernetes Events about Applications, as `kubectl describe` shows them.

use std::collections::{HashMap, hash_map::Entry};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::Cluster;
use crate::telemetry::KubeVerb;

/// Something that happened to an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    /// PascalCase, such as `SyncSucceeded`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Hands notices to a task that writes them one after the other; never waits.
#[derive(Clone)]
pub(crate) struct Announcer(mpsc::Sender<(ObjectReference, Notice)>);

impl Announcer {
    /// Announces a notice. When more than 1,024 are waiting it is dropped: Events are for
    /// people to look at, the logs have them all.
    pub(crate) fn announce(&self, application: ObjectReference, notice: Notice) {
        if self.0.try_send((application, notice)).is_err() {
            tracing::debug!("an Event was dropped, too many are waiting");
        }
    }
}

/// Applications and reasons whose last note is remembered.
const REMEMBERED: usize = 1024;

/// The recorders of what was said last. One folds Events of an object and a reason into the first of
/// them, also when they say something else: so each note has its own.
#[derive(Default)]
struct Recorders(HashMap<(ObjectName, &'static str), (String, Recorder)>);

/// Namespace and name.
type ObjectName = (Option<String>, Option<String>);

impl Recorders {
    fn of(
        &mut self,
        application: &ObjectReference,
        notice: &Notice,
        begin: impl FnOnce() -> Recorder,
    ) -> &Recorder {
        let name = (application.namespace.clone(), application.name.clone());
        let key = (name, notice.reason);
        if !self.0.contains_key(&key) && self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        match self.0.entry(key) {
            Entry::Occupied(known) if known.get().0 == notice.message => &known.into_mut().1,
            entry => {
                &entry
                    .insert_entry((notice.message.clone(), begin()))
                    .into_mut()
                    .1
            }
        }
    }
}

impl Cluster {
    /// The announcer and the task that must run for it. Equal Events are folded into one.
    pub(crate) fn announcer(&self) -> (Announcer, impl Future<Output = ()> + Send + 'static) {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Notice)>(1024);
        let reporter = Reporter {
            controller: "trimtab".to_owned(),
            instance: None,
        };
        let cluster = self.clone();
        let write = async move {
            let mut recorders = Recorders::default();
            let begin = || Recorder::new(cluster.client.clone(), reporter.clone());
            while let Some((application, notice)) = receiver.recv().await {
                let recorder = recorders.of(&application, &notice, begin);
                let event = Event {
                    type_: if notice.warning {
                        EventType::Warning
                    } else {
                        EventType::Normal
                    },
                    reason: notice.reason.to_owned(),
                    // The API server takes 1,024 bytes.
                    note: Some(notice.message.chars().take(250).collect()),
                    action: "Sync".to_owned(),
                    secondary: None,
                };
                let doing = format!("write Event {}", notice.reason);
                let sent = recorder.publish(&event, &application);
                if let Err(error) = cluster.counted(KubeVerb::Event, doing, false, sent).await {
                    tracing::debug!(%error, "an Event was not written");
                }
            }
        };
        (Announcer(sender), write)
    }
}
