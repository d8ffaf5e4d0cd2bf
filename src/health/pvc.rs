//! PersistentVolumeClaim. Unlike in Argo CD, a claim that waits for the first pod to use it is
//! healthy: nothing more will come before that pod.

use super::{Error, Fields, Health, degraded, healthy, progressing, unknown};
use crate::object::Object;

/// What Kubernetes writes on a claim once a volume is being made for it.
const CHOSEN: [&str; 3] = [
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let claim = Fields::of(live);
    Ok(match claim.text("status.phase")? {
        "Lost" => degraded("its volume is lost"),
        "Bound" => healthy(""),
        "Pending" if waits_for_consumer(live)? => healthy("waits for its first consumer"),
        "Pending" => progressing("waits for a volume"),
        _ => unknown("no known phase"),
    })
}

/// The binding mode is the storage class's and cannot be seen here; a claim of a class with no
/// sign of a volume being chosen is taken to wait.
fn waits_for_consumer(live: &Object) -> Result<bool, Error> {
    let claim = Fields::of(live);
    Ok(claim.text("spec.volumeName")?.is_empty()
        && !claim.text("spec.storageClassName")?.is_empty()
        && CHOSEN.iter().all(|name| live.annotation(name).is_none()))
}
