//! Pod.

use super::{Error, Fields, Health, degraded, healthy, progressing, unknown};
use crate::crd::names;
use crate::object::Object;

/// On a pod that is no hook: judge it as one that runs for ever, whatever its restart policy.
const IGNORE_RESTART_POLICY: &str = "ignore-restart-policy";

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let pod = Fields::of(live);
    let policy = pod.text("spec.restartPolicy")?;
    let runs_for_ever = policy == "Always" || (ignores_policy(live) && !is_hook(live));
    let containers = pod.list("status.containerStatuses")?;
    if runs_for_ever {
        let faults = waiting_faults(&containers)?;
        if !faults.is_empty() {
            return Ok(degraded(faults.join(", ")));
        }
    }
    let message = pod.text("status.message")?;
    Ok(match pod.text("status.phase")? {
        "Pending" => progressing(message),
        "Succeeded" => healthy(message),
        "Failed" if !message.is_empty() => degraded(message),
        "Failed" => {
            let mut all = pod.list("status.initContainerStatuses")?;
            all.extend(containers);
            degraded(first_failure(&all)?)
        }
        "Running" if runs_for_ever => running(pod, &containers, message)?,
        "Running" if matches!(policy, "OnFailure" | "Never") => progressing(message),
        _ => unknown(message),
    })
}

fn running(pod: Fields<'_>, containers: &[Fields<'_>], message: &str) -> Result<Health, Error> {
    let conditions = pod.conditions()?;
    if conditions
        .iter()
        .any(|condition| condition.is("Ready", "True"))
    {
        return Ok(healthy(message));
    }
    for container in containers {
        if container.map("lastState.terminated")?.is_some() {
            let last = container.text("lastState.terminated.message")?;
            return Ok(degraded(if last.is_empty() {
                format!("container {} was restarted", container.text("name")?)
            } else {
                last.to_owned()
            }));
        }
    }
    Ok(progressing(message))
}

/// Containers that cannot start, such as by ErrImagePull, CreateContainerError or
/// CrashLoopBackOff.
fn waiting_faults(containers: &[Fields<'_>]) -> Result<Vec<String>, Error> {
    let mut faults = Vec::new();
    for container in containers {
        let reason = container.text("state.waiting.reason")?;
        let message = container.text("state.waiting.message")?;
        if reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff") {
            faults.push(if message.is_empty() { reason } else { message }.to_owned());
        }
    }
    Ok(faults)
}

fn first_failure(containers: &[Fields<'_>]) -> Result<String, Error> {
    for container in containers {
        let message = container.text("state.terminated.message")?;
        let reason = container.text("state.terminated.reason")?;
        let code = container.count("state.terminated.exitCode")?;
        if !message.is_empty() {
            return Ok(message.to_owned());
        }
        if reason == "OOMKilled" {
            return Ok(reason.to_owned());
        }
        if code != 0 {
            let name = container.text("name")?;
            return Ok(format!("container {name} ended with exit code {code}"));
        }
    }
    Ok(String::new())
}

fn ignores_policy(live: &Object) -> bool {
    names::annotation(live, IGNORE_RESTART_POLICY) == Some("true")
}

fn is_hook(live: &Object) -> bool {
    names::annotation(live, names::HOOK).is_some() || live.annotation("helm.sh/hook").is_some()
}
