//! Kinds of the Argo projects whose conditions the generic rule would misread.

use super::{
    Error, Fields, Health, degraded, healthy, not_observed, progressing, suspended, unknown,
};
use crate::object::Object;

const WORKLOAD_GENERATION: &str = "rollout.argoproj.io/workload-generation";

pub(super) fn workflow(live: &Object) -> Result<Health, Error> {
    let workflow = Fields::of(live);
    let message = workflow.text("status.message")?;
    Ok(match workflow.text("status.phase")? {
        "" | "Pending" | "Running" => progressing(message),
        "Succeeded" => healthy(message),
        "Failed" | "Error" => degraded(message),
        _ => unknown("no known phase"),
    })
}

/// Of releases that write a phase, which all since 1.0 do. Generations are texts there.
pub(super) fn rollout(live: &Object) -> Result<Health, Error> {
    let rollout = Fields::of(live);
    let generation = rollout.count("metadata.generation")?.to_string();
    let of_workload = live.annotation(WORKLOAD_GENERATION).unwrap_or_default();
    if rollout.text("status.observedGeneration")? != generation
        || rollout.text("status.workloadObservedGeneration")? != of_workload
    {
        return Ok(not_observed());
    }
    let message = rollout.text("status.message")?;
    Ok(match rollout.text("status.phase")? {
        "" | "Progressing" => progressing(message),
        "Healthy" => healthy(message),
        "Paused" => suspended(message),
        "Degraded" => degraded(message),
        _ => unknown("no known phase"),
    })
}

pub(super) fn application_set(live: &Object) -> Result<Health, Error> {
    let conditions = Fields::of(live).conditions()?;
    let find = |name, status| conditions.iter().find(|c| c.is(name, status));
    Ok(if let Some(condition) = find("ErrorOccurred", "True") {
        degraded(condition.words())
    } else if let Some(condition) = find("ResourcesUpToDate", "False") {
        degraded(condition.words())
    } else if let Some(condition) = find("RolloutProgressing", "True") {
        progressing(condition.words())
    } else if find("ResourcesUpToDate", "True").is_some() {
        healthy("")
    } else {
        progressing("")
    })
}
