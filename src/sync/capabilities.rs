//! What charts are told of the cluster: its version, and the versions and kinds that it serves.
//!
//! At rest nothing is asked. The version is asked for again when a watch was cut, as the API server
//! may have been upgraded. The first chart that asks for kinds starts a watch of what brings kinds
//! (definitions and API services, their metadata only); after each of its events the API server is
//! asked what it serves now, and the applications whose charts asked are woken when that differs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::cluster::{Cluster, Error, KindNews};
use crate::crd::ApplicationKey;
use crate::render::Asks;
use crate::supervise::supervise;
use crate::telemetry::Task;

/// When to ask after an event: a kind is served a moment after its definition says so.
const MOMENTS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];

/// The pause after it could not be asked.
const AGAIN: Duration = Duration::from_secs(5);

/// Wakes an application.
type Wake = Box<dyn Fn(&ApplicationKey) + Send + Sync>;

/// Shared by all renders.
pub(crate) struct Capabilities {
    cluster: Cluster,
    wake: Wake,
    state: Mutex<State>,
    /// Something that is served may have changed.
    changed: Notify,
}

struct State {
    version: Arc<str>,
    /// None while no chart asked.
    versions: Option<Arc<[String]>>,
    askers: BTreeMap<ApplicationKey, Asks>,
    is_watched: bool,
    /// The watch failed: what is remembered may be old.
    is_blind: bool,
}

/// What one chart is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) version: Arc<str>,
    /// Empty for a chart that does not ask.
    pub(crate) versions: Arc<[String]>,
    /// Names what it asked for; empty for a chart that asks nothing.
    pub(crate) digest: String,
}

impl Capabilities {
    /// Asks for the version, and keeps it up to date from now on.
    pub(crate) async fn start(cluster: &Cluster, wake: Wake) -> Result<Arc<Self>, Error> {
        let this = Arc::new(Self {
            cluster: cluster.clone(),
            wake,
            state: Mutex::new(State {
                version: cluster.version().await?.into(),
                versions: None,
                askers: BTreeMap::new(),
                is_watched: false,
                is_blind: false,
            }),
            changed: Notify::new(),
        });
        let keeper = Arc::clone(&this);
        supervise(
            &cluster.metrics(),
            Task::Keeper,
            "what the API server serves",
            move |_| Arc::clone(&keeper).keep(),
        );
        Ok(this)
    }

    /// What an application's chart is told. Asks the API server when it is the first that asks.
    pub(crate) async fn offer(
        self: &Arc<Self>,
        application: &ApplicationKey,
        asks: Asks,
    ) -> Result<Offered, Error> {
        let must_ask = {
            let mut state = self.state();
            if asks != Asks::Nothing {
                let asked = state.askers.entry(application.clone()).or_default();
                *asked = asks.max(*asked);
            }
            if asks == Asks::Versions && !std::mem::replace(&mut state.is_watched, true) {
                let this = Arc::clone(self);
                let metrics = self.cluster.metrics();
                supervise(
                    &metrics,
                    Task::Watch,
                    "the kinds that are served",
                    move |_| {
                        let this = Arc::clone(&this);
                        async move { this.cluster.watch_kinds(|news| this.hear(news)).await }
                    },
                );
            }
            asks == Asks::Versions && (state.versions.is_none() || state.is_blind)
        };
        if must_ask {
            let versions = self.cluster.api_versions().await?;
            self.state().versions = Some(versions.into());
        }
        let state = self.state();
        Ok(Offered {
            version: Arc::clone(&state.version),
            versions: match asks {
                Asks::Versions => state.versions.clone().unwrap_or_default(),
                Asks::Nothing | Asks::Version => Arc::default(),
            },
            digest: state.digest(asks),
        })
    }

    /// Whether a chart that asked would be told the same now.
    pub(crate) fn is_current(&self, asks: Asks, digest: &str) -> bool {
        asks == Asks::Nothing || self.state().digest(asks) == digest
    }

    fn hear(&self, news: KindNews) {
        self.state().is_blind = news == KindNews::Failed;
        if news != KindNews::Failed {
            self.changed.notify_one();
        }
    }

    async fn keep(self: Arc<Self>) {
        loop {
            let moments = tokio::select! {
                () = self.changed.notified() => &MOMENTS[..],
                () = self.cluster.interrupted() => &MOMENTS[..1],
            };
            for moment in moments {
                tokio::time::sleep(*moment).await;
                while let Err(error) = self.ask().await {
                    tracing::debug!(%error, "could not ask what the API server serves");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Asks what is served now, and wakes those who asked for what differs.
    async fn ask(&self) -> Result<(), Error> {
        let version: Arc<str> = self.cluster.version().await?.into();
        let is_asked = self.state().versions.is_some();
        let versions = match is_asked {
            true => Some(self.cluster.api_versions().await?.into()),
            false => None,
        };
        let concerned = self.state().take(version, versions);
        for application in concerned {
            (self.wake)(&application);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in what is served now; returns whom that concerns.
    fn take(&mut self, version: Arc<str>, versions: Option<Arc<[String]>>) -> Vec<ApplicationKey> {
        let other_version = self.version != version;
        let other_versions = versions.is_some() && self.versions != versions;
        if other_version {
            tracing::info!(from = %self.version, to = %version, "the API server is another version");
            self.version = version;
        }
        if other_versions {
            self.versions = versions;
        }
        let concerned = self.askers.iter().filter(|(_, asks)| match asks {
            Asks::Nothing => false,
            Asks::Version => other_version,
            Asks::Versions => other_version || other_versions,
        });
        concerned.map(|(key, _)| key.clone()).collect()
    }

    fn digest(&self, asks: Asks) -> String {
        match asks {
            Asks::Nothing => String::new(),
            Asks::Version => self.version.to_string(),
            Asks::Versions => {
                let parts = serde_json::json!([self.version, self.versions]);
                hex::encode(Sha256::digest(parts.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_asked_are_concerned() {
        let key = |name: &str| ApplicationKey {
            namespace: "trimtab".to_owned(),
            name: name.to_owned(),
        };
        let some = |versions: &[&str]| -> Option<Arc<[String]>> {
            Some(versions.iter().map(|it| (*it).to_owned()).collect())
        };
        let mut state = State {
            version: "1.36.0".into(),
            versions: some(&["v1"]),
            askers: BTreeMap::from([
                (key("version"), Asks::Version),
                (key("versions"), Asks::Versions),
            ]),
            is_watched: true,
            is_blind: false,
        };
        let asks = [Asks::Nothing, Asks::Version, Asks::Versions];
        let digests = |state: &State| asks.map(|asks| state.digest(asks));
        let first = digests(&state);
        assert!(state.take("1.36.0".into(), some(&["v1"])).is_empty());
        assert!(state.take("1.36.0".into(), None).is_empty());
        assert_eq!(digests(&state), first);
        let concerned = state.take("1.36.0".into(), some(&["a/v1", "v1"]));
        assert_eq!(concerned, [key("versions")]);
        let second = digests(&state);
        assert_eq!(second[..2], first[..2]);
        assert_ne!(second[2], first[2]);
        let concerned = state.take("1.37.0".into(), some(&["a/v1", "v1"]));
        assert_eq!(concerned, [key("version"), key("versions")]);
        let third = digests(&state);
        assert_eq!(third[0], "");
        assert!(third[1] != second[1] && third[2] != second[2]);
    }
}
