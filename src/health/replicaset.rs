//! apps/ReplicaSet.

use super::{Error, Fields, Health, degraded, healthy, not_observed, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let live = Fields::of(live);
    if !live.is_observed()? {
        return Ok(not_observed());
    }
    for condition in live.conditions()? {
        if condition.is("ReplicaFailure", "True") {
            return Ok(degraded(condition.words()));
        }
    }
    let available = live.count("status.availableReplicas")?;
    Ok(match live.number("spec.replicas")? {
        Some(desired) if available < desired => {
            progressing(format!("{available} of {desired} replicas are available"))
        }
        _ => healthy(""),
    })
}
