//! apiextensions.k8s.io/CustomResourceDefinition.

use super::{Error, Fields, Health, degraded, healthy, progressing, unknown};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    if live.is_terminating() {
        return Ok(progressing("waits to be deleted"));
    }
    let definition = Fields::of(live);
    if definition.map("status")?.is_none() {
        return Ok(unknown("no status"));
    }
    let conditions = definition.conditions()?;
    if conditions.is_empty() {
        return Ok(progressing("waits to be established"));
    }
    for condition in &conditions {
        if condition.is("Terminating", "True") {
            return Ok(progressing(condition.words()));
        }
        if condition.is("NamesAccepted", "False") || condition.is("NonStructuralSchema", "True") {
            return Ok(degraded(condition.words()));
        }
        let installing = condition.name == "Established" && condition.reason == "Installing";
        if installing && !condition.is_true() {
            return Ok(progressing(condition.words()));
        }
    }
    Ok(if conditions.iter().any(|c| c.is("Established", "True")) {
        healthy("")
    } else {
        degraded("not established")
    })
}
