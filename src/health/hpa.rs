//! autoscaling/HorizontalPodAutoscaler. Version 1 keeps its conditions in an annotation.

use serde_json::Value;

use super::{Condition, Error, Fields, Health, degraded, healthy, progressing};
use crate::object::Object;

const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    if live.version() != "v1" {
        return Ok(of(&Fields::of(live).conditions()?));
    }
    match live.annotation(CONDITIONS) {
        None | Some("") => Ok(of(&[])),
        Some(text) => match serde_json::from_str(text).map_err(|_| Error::Annotation)? {
            Value::Null => Ok(of(&[])),
            list => Condition::read_all(&list)
                .map(|conditions| of(&conditions))
                .ok_or(Error::Annotation),
        },
    }
}

fn of(conditions: &[Condition<'_>]) -> Health {
    if let Some(condition) = conditions.iter().find(|condition| has_failed(condition)) {
        return degraded(condition.words());
    }
    let works = |condition: &&Condition<'_>| {
        condition.is("AbleToScale", "True") || condition.is("ScalingLimited", "True")
    };
    match conditions.iter().find(works) {
        Some(condition) => healthy(condition.message),
        None => progressing("waits to scale"),
    }
}

/// By the reason alone, as in Argo CD.
fn has_failed(condition: &Condition<'_>) -> bool {
    matches!(
        (condition.name, condition.reason),
        ("AbleToScale", "FailedGetScale" | "FailedUpdateScale")
            | (
                "ScalingActive",
                "FailedGetResourceMetric"
                    | "FailedGetObjectMetric"
                    | "FailedGetPodsMetric"
                    | "FailedGetExternalMetric"
                    | "FailedComputeMetricsReplicas"
                    | "InvalidSelector"
            )
    )
}
