//! Deletes one object of ours.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Deletion, Error, Served};
use crate::crd::{ApplicationKey, Consent, Propagation};
use crate::object::{Kind, Object, ResourceKey};

/// How long a deletion may take before its object is created again.
const GOING: Duration = Duration::from_secs(30);

/// Deletes an object of ours and waits until it is gone.
pub(super) async fn delete_until_gone(
    cluster: &Cluster,
    served: &Served,
    key: &ResourceKey,
    owner: &ApplicationKey,
) -> Result<(), Error> {
    let deadline = Instant::now() + GOING;
    let mut pause = Duration::from_millis(20);
    loop {
        let deletion = cluster
            .delete_owned(served, key, owner, Propagation::Background, |_| {
                Consent::Yes
            })
            .await;
        match deletion {
            Ok(Deletion::Gone) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut {
                doing: format!("see {key} gone"),
                after: GOING,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Deletes one object of the inventory if it agrees. A kind that is not served any more has no
/// objects.
pub(crate) async fn delete(
    cluster: &Cluster,
    kind: &Kind,
    key: &ResourceKey,
    owner: &ApplicationKey,
    propagation: Propagation,
    consent: impl Fn(&Object) -> Consent,
) -> Result<Deletion, Error> {
    let served = match cluster.served(kind).await {
        Ok(served) => served,
        Err(Error::UnknownKind(_)) => return Ok(Deletion::Gone),
        Err(error) => return Err(error),
    };
    let asked = cluster.delete_owned(&served, key, owner, propagation, &consent);
    match asked.await {
        // Somebody wrote between our read and our delete: look again once.
        Err(error) if error.is_conflict() => {
            cluster
                .delete_owned(&served, key, owner, propagation, consent)
                .await
        }
        result => result,
    }
}
