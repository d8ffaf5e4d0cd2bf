//! What wakes an application: the words that the source loop and the controller share, and the
//! decision whether a push concerns a repository.

mod journal;

use std::{collections::BTreeSet, time::Instant};

use crate::crd::ApplicationKey;
use crate::telemetry;

pub(crate) use journal::{Delivery, Journal, ReceiverName, Timed, Verdict};

/// Why the source was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A signed delivery of a forge, with its id.
    Push(String),
    /// The interval passed, or the agent looks by itself.
    Poll,
    /// The Application is new to the agent, also at a start of it, or follows another source now.
    Application,
    /// A person asked for a refresh or a sync.
    Manual,
}

impl Cause {
    /// How it is called in metrics and in the status.
    pub(crate) fn label(&self) -> telemetry::Trigger {
        match self {
            Self::Push(_) => telemetry::Trigger::Push,
            Self::Poll => telemetry::Trigger::Poll,
            Self::Application => telemetry::Trigger::Application,
            Self::Manual => telemetry::Trigger::Manual,
        }
    }
}

/// A revision of a source that an application should look at.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) commit_id: String,
    pub(crate) cause: Cause,
    /// When what caused it was received.
    pub(crate) received: Instant,
    pub(crate) fetched: Instant,
}

/// What the source loop has to tell an application.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The source is at this commit, and what the application reads of it differs from before.
    Revision(Revision),
    /// The source was read and holds nothing new for the application.
    Unchanged,
    /// The source says nothing that could be deployed; what is deployed stays as it is.
    Failed(SourceFault),
}

/// Why it is not known what an application should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFault {
    pub(crate) message: String,
    /// The repository was read, and what the application follows is not in it: then what was
    /// deployed before is not known to be right. Else the repository could not be read.
    pub(crate) is_missing: bool,
}

/// What an application follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Following {
    pub(crate) repo_url: String,
    pub(crate) target_revision: String,
}

/// The ids of what the last render of an application read, by path; none where there was nothing.
pub(crate) type Inputs = Vec<(String, Option<String>)>;

/// What the controller asks of the source loop.
pub(crate) trait Sources: Send + Sync {
    /// Reports on this source from now on, first at once.
    fn follow(&self, application: &ApplicationKey, following: Following);
    /// Reports no more.
    fn forget(&self, application: &ApplicationKey);
    /// Looks at the source now, for this cause; false when there is none to look at.
    fn refresh(&self, application: &ApplicationKey, cause: Cause) -> bool;
    /// Tells what the render of the newest commit read: commits that leave that as it is are not
    /// reported. None when it failed, so that every commit is.
    fn rendered(&self, application: &ApplicationKey, inputs: Option<Inputs>);
}

/// Who hears what the source loop has to tell.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, application: &ApplicationKey, news: News);
}

/// Whether a push to `reference` can move one of the revisions that are followed.
///
/// The default branch is not known from here, so `HEAD` is concerned by every branch. A commit id
/// never moves, but the push may be the one that brings it.
pub(crate) fn concerns(reference: &str, followed: &BTreeSet<String>) -> bool {
    followed.iter().any(|revision| {
        let revision = revision.as_str();
        let is_commit_id = revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
        is_commit_id
            || match reference
                .split_once('/')
                .and_then(|(_, rest)| rest.split_once('/'))
            {
                Some(("heads", branch)) => {
                    matches!(revision, "" | "HEAD") || revision == branch || revision == reference
                }
                Some(("tags", tag)) => revision == tag || revision == reference,
                _ => true,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_concerns_who_follows_its_ref() {
        let commit_id = "0a05129851238652bf806a400af89fa974ade739";
        for (reference, followed, expected) in [
            ("refs/heads/main", "main", true),
            ("refs/heads/main", "HEAD", true),
            ("refs/heads/main", "", true),
            ("refs/heads/main", "refs/heads/main", true),
            ("refs/heads/main", "other", false),
            ("refs/heads/a/b", "a/b", true),
            ("refs/heads/v1", "refs/tags/v1", false),
            ("refs/tags/v1", "v1", true),
            ("refs/tags/v1", "HEAD", false),
            ("refs/tags/v1", "refs/heads/v1", false),
            ("refs/heads/main", commit_id, true),
            ("something", "main", true),
        ] {
            let followed = BTreeSet::from([followed.to_owned()]);
            assert_eq!(
                concerns(reference, &followed),
                expected,
                "{reference} {followed:?}"
            );
        }
        assert!(!concerns("refs/heads/main", &BTreeSet::new()));
    }
}
