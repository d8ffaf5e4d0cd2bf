//! Whether something that runs once came to its end: when it is gone then, by its own time to live
//! or by a cleaner, it is not missing.

use serde_json::Value;

use crate::crd::Ended;
use crate::object::{Kind, Object};

/// Whether objects of a kind run to an end of their own.
pub(crate) fn runs_once(kind: &Kind) -> bool {
    matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("batch", "Job")
            | ("", "Pod")
            | ("argoproj.io", "Workflow")
            | ("tekton.dev", "TaskRun" | "PipelineRun")
    )
}

/// How a live object ended; none while it runs, and where its kind does not end.
///
/// One that failed counts only where it removes itself: created anew it would fail again and again,
/// while one that a person deletes is meant to run again. What is being deleted says nothing: the
/// containers of a pod end when it is deleted.
pub(crate) fn ended(live: &Object) -> Option<Ended> {
    if live.is_terminating() {
        return None;
    }
    let text = |pointer| live.get(pointer).and_then(Value::as_str);
    let is = |type_, status| {
        let conditions = live.get("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| it["type"] == type_ && it["status"] == status)
    };
    let phase = text("/status/phase");
    let complete = match (live.group(), live.kind()) {
        ("batch", "Job") => is("Complete", "True"),
        ("", "Pod") => phase == Some("Succeeded") && text("/spec/restartPolicy") != Some("Always"),
        ("argoproj.io", "Workflow") => phase == Some("Succeeded"),
        ("tekton.dev", "TaskRun" | "PipelineRun") => is("Succeeded", "True"),
        _ => return None,
    };
    if complete {
        return Some(Ended::Complete);
    }
    let removes_itself = live.get("/spec/ttlSecondsAfterFinished").is_some()
        || live.get("/spec/ttlStrategy").is_some();
    let failed = match live.kind() {
        "Job" => is("Failed", "True"),
        "Workflow" => matches!(phase, Some("Failed" | "Error")),
        _ => false,
    };
    (failed && removes_itself).then_some(Ended::Failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ends() {
        let job = |ttl: bool, type_: &str, status: &str| {
            let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {},
                "status": {"conditions": [{"type": type_, "status": status}]}});
            if ttl {
                job["spec"]["ttlSecondsAfterFinished"] = json!(0);
            }
            job
        };
        let pod = |policy: &str, phase: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"restartPolicy": policy},
                "status": {"phase": phase}})
        };
        let mut leaving = job(true, "Complete", "True");
        leaving["metadata"] = json!({"deletionTimestamp": "now"});
        for (object, expected) in [
            (job(false, "Complete", "True"), Some(Ended::Complete)),
            (job(true, "Complete", "True"), Some(Ended::Complete)),
            (job(true, "Complete", "False"), None),
            (job(true, "Suspended", "True"), None),
            (job(true, "Failed", "True"), Some(Ended::Failed)),
            (job(false, "Failed", "True"), None),
            (leaving, None),
            (pod("Never", "Succeeded"), Some(Ended::Complete)),
            (pod("OnFailure", "Succeeded"), Some(Ended::Complete)),
            (pod("Always", "Succeeded"), None),
            (pod("Never", "Failed"), None),
            (pod("Never", "Running"), None),
            (
                json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
                    "status": {"phase": "Succeeded"}}),
                Some(Ended::Complete),
            ),
            (
                json!({"apiVersion": "e.com/v1", "kind": "Job",
                    "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
                None,
            ),
        ] {
            let object = Object::new(object).unwrap();
            assert_eq!(ended(&object), expected, "{:?}", object.fields());
            assert!(expected.is_none() || runs_once(&object.api()));
        }
    }
}
