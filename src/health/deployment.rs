//! apps/Deployment. The condition Available is not looked at: it allows for missing replicas.

use super::{Error, Fields, Health, degraded, healthy, not_observed, progressing, suspended};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let live = Fields::of(live);
    if live.flag("spec.paused")? {
        return Ok(suspended("paused"));
    }
    if !live.is_observed()? {
        return Ok(not_observed());
    }
    for condition in live.conditions()? {
        if condition.name == "Progressing" && condition.reason == "ProgressDeadlineExceeded" {
            return Ok(degraded(condition.words()));
        }
    }
    let desired = live.number("spec.replicas")?;
    let replicas = live.count("status.replicas")?;
    let updated = live.count("status.updatedReplicas")?;
    let available = live.count("status.availableReplicas")?;
    Ok(match desired {
        Some(desired) if updated < desired => {
            progressing(format!("{updated} of {desired} replicas are updated"))
        }
        _ if replicas > updated => progressing(format!(
            "{} old replicas wait to be deleted",
            replicas - updated
        )),
        _ if available < updated => progressing(format!(
            "{available} of {updated} updated replicas are available"
        )),
        _ => healthy(""),
    })
}
