//! policy/PodDisruptionBudget. Too few pods is what it guards against, not a fault of its own.

use super::{Error, Fields, Health, degraded, healthy, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let conditions = Fields::of(live).conditions()?;
    let broken = conditions
        .iter()
        .find(|condition| condition.is_false() && condition.reason != "InsufficientPods");
    Ok(match broken {
        Some(condition) => degraded(condition.words()),
        None if conditions.is_empty() => progressing("waits for its controller"),
        None => healthy(""),
    })
}
