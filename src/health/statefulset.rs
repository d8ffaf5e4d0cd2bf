//! apps/StatefulSet.

use super::{Error, Fields, Health, healthy, not_observed, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let live = Fields::of(live);
    if live.count("status.observedGeneration")? == 0 || !live.is_observed()? {
        return Ok(not_observed());
    }
    let desired = live.number("spec.replicas")?;
    let ready = live.count("status.readyReplicas")?;
    if let Some(desired) = desired.filter(|desired| ready < *desired) {
        return Ok(progressing(format!(
            "{ready} of {desired} replicas are ready"
        )));
    }
    let strategy = live.text("spec.updateStrategy.type")?;
    let updated = live.count("status.updatedReplicas")?;
    let rolling = live.map("spec.updateStrategy.rollingUpdate")?;
    if let Some(rolling) = rolling.filter(|_| strategy == "RollingUpdate") {
        // With this block but without a partition, revisions are not compared.
        let partition = rolling.number("partition")?;
        let share = desired
            .zip(partition)
            .map(|(desired, partition)| desired.saturating_sub(partition));
        return Ok(match share {
            Some(share) if updated < share => progressing(format!(
                "{updated} of the {share} replicas outside of the partition are updated"
            )),
            _ => healthy(""),
        });
    }
    let same_revision =
        live.text("status.updateRevision")? == live.text("status.currentRevision")?;
    Ok(if strategy == "OnDelete" || same_revision {
        healthy("")
    } else {
        progressing(format!("{updated} replicas are updated"))
    })
}
