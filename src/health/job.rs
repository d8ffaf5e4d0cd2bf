//! batch/Job. Unlike in Argo CD a condition must be true to count, so that a job which was
//! resumed is not taken for done.

use super::{Error, Fields, Health, degraded, healthy, progressing, suspended};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let conditions = Fields::of(live).conditions()?;
    let find = |name| conditions.iter().find(|c| c.is(name, "True"));
    Ok(if let Some(failed) = find("Failed") {
        degraded(failed.words())
    } else if let Some(paused) = find("Suspended") {
        suspended(paused.words())
    } else if let Some(complete) = find("Complete") {
        healthy(complete.message)
    } else {
        progressing("")
    })
}
