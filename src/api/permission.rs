//! What somebody may do: the cluster's own rules (RBAC), asked by SubjectAccessReview.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Identity, Problem};
use crate::cluster::{Access, Cluster, Served};
use crate::crd::{ApplicationKey, names};
use crate::object::ResourceKey;

/// How long a yes counts ...
const ALLOWED: Duration = Duration::from_secs(10);
/// ... and a no: who was just given a right need not wait for it.
const DENIED: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const REMEMBERED: usize = 8192;

/// What a route needs before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it tells nobody anything.
    Public,
    /// Somebody who is known; what is shown is chosen by what they may see.
    LoggedIn,
    /// This verb on the application in the path.
    Application(&'static str),
}

pub(super) struct Permissions {
    cluster: Cluster,
    /// The API group of the Applications.
    group: String,
    answers: Mutex<HashMap<(String, Access), (Instant, bool)>>,
}

impl Permissions {
    pub(super) fn new(cluster: Cluster, group: &str) -> Self {
        Self {
            cluster,
            group: group.to_owned(),
            answers: Mutex::default(),
        }
    }

    /// Whether somebody may do this to an application, or to all of a namespace when the name is
    /// empty.
    pub(super) async fn application(
        &self,
        identity: &Identity,
        verb: &str,
        application: &ApplicationKey,
    ) -> Result<bool, Problem> {
        let access = Access {
            verb: verb.to_owned(),
            group: self.group.clone(),
            resource: names::PLURAL.to_owned(),
            namespace: application.namespace.clone(),
            name: application.name.clone(),
            ..Access::default()
        };
        self.allows(identity, access).await
    }

    /// Whether somebody may do this to a live object, or to all of its kind in its namespace when
    /// its name is empty.
    pub(super) async fn live(
        &self,
        identity: &Identity,
        verb: &str,
        served: &Served,
        key: &ResourceKey,
        subresource: &str,
    ) -> Result<bool, Problem> {
        let access = Access {
            verb: verb.to_owned(),
            group: key.group.clone(),
            resource: served.plural.clone(),
            subresource: subresource.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        self.allows(identity, access).await
    }

    async fn allows(&self, identity: &Identity, access: Access) -> Result<bool, Problem> {
        // What rules may look at beside the name can differ from one token to the other.
        let user = identity.user();
        let extra = user.extra.iter();
        let extra = extra.map(|(name, values)| format!("{name}\t{}", values.join("\t")));
        let who = [user.name.clone(), user.uid.clone()].into_iter();
        let who = who.chain(user.groups.iter().cloned()).chain(extra);
        let who = who.collect::<Vec<_>>().join("\n");
        let question = (who, access);
        {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, allowed)) = answers.get(&question)
                && counts(*since, *allowed)
            {
                return Ok(*allowed);
            }
        }
        let allowed = self.cluster.may(user, &question.1).await?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.retain(|_, (since, allowed)| counts(*since, *allowed));
        }
        if answers.len() < REMEMBERED {
            answers.insert(question, (Instant::now(), allowed));
        }
        Ok(allowed)
    }
}

/// Whether an answer of then still counts.
fn counts(since: Instant, allowed: bool) -> bool {
    since.elapsed() < if allowed { ALLOWED } else { DENIED }
}
