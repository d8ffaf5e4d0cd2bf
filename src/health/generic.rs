//! Custom resources: the conventions that most controllers keep (kstatus). One whose status does
//! not keep to them is not judged at all; its schema is not ours to call wrong.

use serde_json::Value;

use super::{Condition, Error, Health, degraded, healthy, not_observed, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Option<Health>, Error> {
    let number = |pointer| live.get(pointer).and_then(Value::as_i64);
    let generation = number("/metadata/generation");
    let observed = number("/status/observedGeneration");
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        return Ok(Some(not_observed()));
    }
    let conditions = live.get("/status/conditions").and_then(Condition::read_all);
    Ok(conditions.map(|conditions| of(&conditions)))
}

fn of(conditions: &[Condition<'_>]) -> Health {
    for condition in conditions.iter().filter(|condition| condition.is_true()) {
        match condition.name {
            "Reconciling" => return progressing(condition.words()),
            "Stalled" => return degraded(condition.words()),
            _ => {}
        }
    }
    match conditions.iter().find(|c| c.name == "Ready") {
        Some(ready) if ready.is_true() => healthy(ready.message),
        Some(ready) => progressing(ready.words()),
        None => progressing("no condition says that it is ready"),
    }
}
