//! apps/DaemonSet.

use super::{Error, Fields, Health, healthy, not_observed, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let live = Fields::of(live);
    if !live.is_observed()? {
        return Ok(not_observed());
    }
    if live.text("spec.updateStrategy.type")? == "OnDelete" {
        return Ok(healthy("pods are updated when somebody deletes them"));
    }
    let desired = live.count("status.desiredNumberScheduled")?;
    let updated = live.count("status.updatedNumberScheduled")?;
    let available = live.count("status.numberAvailable")?;
    Ok(if updated < desired {
        progressing(format!("{updated} of {desired} pods are updated"))
    } else if available < desired {
        progressing(format!("{available} of {desired} pods are available"))
    } else {
        healthy("")
    })
}
