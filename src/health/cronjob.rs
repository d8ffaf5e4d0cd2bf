//! batch/CronJob: as its last run that ended, healthy while one runs or none was due yet. A
//! suspended one is healthy too, on purpose: it is desired so.

use super::{Error, Fields, Health, degraded, healthy, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let cron = Fields::of(live);
    if cron.flag("spec.suspend")? {
        return Ok(healthy("suspended"));
    }
    if cron.map("status")?.is_none() {
        return Ok(progressing("waits for its controller"));
    }
    let scheduled = cron.text("status.lastScheduleTime")?;
    let successful = cron.text("status.lastSuccessfulTime")?;
    Ok(if scheduled.is_empty() {
        healthy("has not run yet")
    } else if successful.is_empty() {
        healthy("no run has succeeded yet")
    } else if !cron.list("status.active")?.is_empty() {
        healthy("runs")
    } else if successful < scheduled {
        // RFC 3339 in UTC sorts as text.
        degraded(format!("the run of {scheduled} did not succeed"))
    } else {
        healthy("")
    })
}
