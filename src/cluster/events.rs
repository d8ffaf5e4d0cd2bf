//! Kubernetes Events about Applications, as `kubectl describe` shows them.

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

impl Cluster {
    /// The announcer and the task that must run for it. The recorder folds equal Events into one.
    pub(crate) fn announcer(&self) -> (Announcer, impl Future<Output = ()> + Send + 'static) {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Notice)>(1024);
        let reporter = Reporter {
            controller: "trimtab".to_owned(),
            instance: None,
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let cluster = self.clone();
        let write = async move {
            while let Some((application, notice)) = receiver.recv().await {
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
