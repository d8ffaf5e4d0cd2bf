//! Whether what is known of the cluster is of now: whether it answers, and whether it was set back to an
//! older state, as etcd is when a backup is restored. Versions begin again lower then, and a watch that
//! goes on at a higher one shows nothing until they pass it: everything is listed again.
//!
//! etcd is not set back under an API server that serves: watches are cut, and for a while nobody answers.
//! So at rest nothing is asked; when a watch was cut or refused, one Application is listed, without its
//! content, until that is answered. After an answer that was not there at once, or that shows an older
//! version than the one before, everything is listed again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, api::ListParams};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{Applications, Cluster, Error, bounded};
use crate::object::rfc3339;
use crate::telemetry::{Answer, KubeVerb};

/// The pauses while nobody answers.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The cluster does not answer, or refuses: what is known of it is as of a moment that is past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct AsOf {
    /// When it answered last, or since when it is asked (RFC 3339).
    pub(crate) at: String,
    /// Why nothing newer is known.
    pub(crate) why: String,
}

/// What is known of the moment.
#[derive(Default)]
struct Moment {
    answered: Option<Timestamp>,
    as_of: Option<AsOf>,
}

impl Moment {
    /// Takes in what became of a question; says whether that is news.
    fn note(&mut self, now: Timestamp, why: Option<String>) -> bool {
        let before = self.as_of.is_some();
        match why {
            None => {
                self.answered = Some(now);
                self.as_of = None;
            }
            Some(why) => {
                let at = rfc3339(self.answered.unwrap_or(now));
                // The time stays, also where it never answered; the reason may be another.
                let at = self.as_of.take().map_or(at, |before| before.at);
                self.as_of = Some(AsOf { at, why });
            }
        }
        before != self.as_of.is_some()
    }
}

/// What the watches of a cluster hear of this.
pub(super) struct Course {
    /// A watch was cut or refused.
    cut: Notify,
    /// How often all was set back.
    setbacks: watch::Sender<u64>,
    moment: Mutex<Moment>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            cut: Notify::new(),
            setbacks: watch::Sender::new(0),
            moment: Mutex::default(),
        }
    }
}

impl Course {
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    fn moment(&self) -> MutexGuard<'_, Moment> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn setbacks(&self) -> watch::Receiver<u64> {
        self.setbacks.subscribe()
    }
}

/// The newest version that was seen.
#[derive(Debug, Default)]
struct Seen(Option<u64>);

impl Seen {
    /// Takes in a version; says whether it is older than the one before. What is no number says
    /// nothing.
    fn is_set_back(&mut self, version: &str) -> bool {
        let Ok(version) = version.parse::<u64>() else {
            return false;
        };
        self.0
            .replace(version)
            .is_some_and(|before| version < before)
    }
}

impl Applications {
    /// The version of everything, as a list of one Application of a namespace shows it.
    async fn version(&self, namespace: &str) -> Result<String, Error> {
        let doing = format!("ask for the version of {}", self.resource_name());
        let api: Api<kube::api::DynamicObject> = self.api(Some(namespace));
        let params = ListParams::default().limit(1);
        let list = bounded(&doing, api.list_metadata(&params)).await?;
        Ok(list.metadata.resource_version.unwrap_or_default())
    }
}

impl Cluster {
    /// Has all watches list again whenever the cluster was set back, for ever.
    pub(crate) async fn follow_course(&self, applications: &Applications, namespace: &str) {
        let mut seen = Seen::default();
        loop {
            let (version, was_away) = self.ask_version(applications, namespace).await;
            if seen.is_set_back(&version) {
                tracing::warn!(version, "the cluster was set back to an older state");
                self.list_again();
            } else if was_away {
                // How far the version was when it went away is not known.
                self.list_again();
            }
            self.course.cut.notified().await;
        }
    }

    /// The version as soon as it is answered, and whether it was not at once.
    async fn ask_version(&self, applications: &Applications, namespace: &str) -> (String, bool) {
        let mut was_away = false;
        let mut pause = SHORTEST;
        loop {
            let answer = applications.version(namespace).await;
            let told = if answer.is_ok() {
                Answer::Ok
            } else {
                Answer::Failed
            };
            self.metrics.kube_request(KubeVerb::List, told);
            self.metrics.cluster_answers(answer.is_ok());
            let why = answer.as_ref().err().map(ToString::to_string);
            let is_news = self.course.moment().note(Timestamp::now(), why);
            match answer {
                Ok(version) => {
                    if is_news {
                        tracing::info!("the cluster answers again");
                    }
                    return (version, was_away);
                }
                Err(error) if is_news => {
                    tracing::warn!(%error, "what is known of the cluster is not of now");
                }
                Err(error) => tracing::debug!(%error, ?pause, "asked again"),
            }
            was_away = true;
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// As of when the cluster is known; none while it answers.
    pub(crate) fn as_of(&self) -> Option<AsOf> {
        self.course.moment().as_of.clone()
    }

    /// Has all watches list again, as what was seen may be undone. What is served may be as well.
    pub(super) fn list_again(&self) {
        let kinds = &self.discovery.kinds;
        kinds.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.discovery.interrupt();
        self.course.setbacks.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts_until_there_is_another() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut moment = Moment::default();
        let fault = |why: &str| Some(why.to_owned());
        assert!(moment.note(at(5), fault("refused")), "before any answer");
        assert!(!moment.note(at(6), fault("refused")));
        let as_of = moment.as_of.clone().unwrap();
        assert_eq!(as_of.at, rfc3339(at(5)));
        assert!(moment.note(at(7), None));
        assert_eq!(moment.as_of, None);
        assert!(!moment.note(at(8), None));
        assert!(moment.note(at(70), fault("refused")));
        assert!(!moment.note(at(80), fault("forbidden")));
        let as_of = moment.as_of.clone().unwrap();
        assert_eq!(
            (as_of.at, as_of.why),
            (rfc3339(at(8)), "forbidden".to_owned())
        );
    }

    #[test]
    fn only_an_older_version_is_a_setback() {
        let mut seen = Seen::default();
        for (version, expected) in [
            ("100", false),
            ("100", false),
            ("250", false),
            ("", false),
            ("abc", false),
            ("249", true),
            ("249", false),
            ("260", false),
            ("18446744073709551615", false),
            ("1", true),
        ] {
            assert_eq!(seen.is_set_back(version), expected, "{version}");
        }
    }
}
