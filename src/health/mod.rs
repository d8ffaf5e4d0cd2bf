//! How well an object does, seen from the object alone: Argo CD's rules, with the few changes
//! that each file names. Never asks the cluster.

mod apiservice;
mod application;
mod argo;
mod crd;
mod cronjob;
mod daemonset;
mod deployment;
mod ended;
mod error;
mod fields;
mod generic;
mod hpa;
mod ingress;
mod job;
mod pdb;
mod pod;
mod pvc;
mod replicaset;
mod service;
mod statefulset;
#[cfg(test)]
mod tests;
mod worst;

use serde_json::Value;

use crate::crd::{Health, HealthCode, names};
use crate::object::Object;

pub(crate) use ended::{ended, runs_once};
pub(crate) use worst::{Managed, worst};

use error::Error;
use fields::{Condition, Fields};

/// Characters of a message that are kept: some controllers write whole logs into theirs.
const MAX_MESSAGE: usize = 512;

/// What is said of an object that is being deleted.
pub(crate) const LEAVING: &str = "waits to be deleted";

/// Keeps a hook that is being deleted from being judged by that. See [`names::annotation_names`]
/// for the prefixes.
const HOOK_FINALIZER: &str = "hook-finalizer";

/// The health of a live object. None where nothing is known about its kind: it is not counted,
/// and nothing waits for it.
pub(crate) fn assess(live: &Object) -> Option<Health> {
    let outcome = if live.is_terminating() && !has_hook_finalizer(live) {
        Ok(progressing(LEAVING))
    } else {
        judge(live).transpose()?
    };
    let mut health =
        outcome.unwrap_or_else(|error| Health::new(HealthCode::Unknown, error.to_string()));
    if let Some((end, _)) = health.message.char_indices().nth(MAX_MESSAGE) {
        health.message.truncate(end);
    }
    Some(health)
}

/// Finds the rule of a kind, and the versions that it can read; none are given where the fields
/// that it reads are the same in all of them.
fn judge(live: &Object) -> Result<Option<Health>, Error> {
    type Rule = fn(&Object) -> Result<Health, Error>;
    let (versions, rule): (&[&str], Rule) = match (live.group(), live.kind()) {
        ("apps", "Deployment") => (&["v1"], deployment::assess),
        ("apps", "StatefulSet") => (&["v1"], statefulset::assess),
        ("apps", "DaemonSet") => (&["v1"], daemonset::assess),
        ("apps", "ReplicaSet") => (&["v1"], replicaset::assess),
        ("", "Pod") => (&["v1"], pod::assess),
        ("", "PersistentVolumeClaim") => (&["v1"], pvc::assess),
        ("", "Service") => (&["v1"], service::assess),
        ("networking.k8s.io" | "extensions", "Ingress") => (&[], ingress::assess),
        ("batch", "Job") => (&["v1"], job::assess),
        ("batch", "CronJob") => (&[], cronjob::assess),
        ("autoscaling", "HorizontalPodAutoscaler") => (&["v1", "v2"], hpa::assess),
        ("apiregistration.k8s.io", "APIService") => (&["v1", "v1beta1"], apiservice::assess),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => (&[], crd::assess),
        ("policy", "PodDisruptionBudget") => (&[], pdb::assess),
        ("argoproj.io", "Workflow") => (&[], argo::workflow),
        ("argoproj.io", "Rollout") => (&[], argo::rollout),
        ("argoproj.io", "ApplicationSet") => (&[], argo::application_set),
        (group, kind) if application::is_application(group, kind) => {
            return application::assess(live);
        }
        (group, _) if is_custom(group) => return generic::assess(live),
        _ => return Ok(None),
    };
    if !versions.is_empty() && !versions.contains(&live.version()) {
        return Err(Error::Version(live.api_version().to_owned()));
    }
    rule(live).map(Some)
}

/// Groups of Kubernetes itself have no dot or end in `.k8s.io`. What remains in them has
/// conditions that mean something else than in a custom resource.
fn is_custom(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io")
}

fn has_hook_finalizer(live: &Object) -> bool {
    let ours = names::annotation_names(HOOK_FINALIZER);
    live.get("/metadata/finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|finalizer| ours.iter().any(|name| name == finalizer))
}

fn healthy(message: impl Into<String>) -> Health {
    Health::new(HealthCode::Healthy, message)
}

fn progressing(message: impl Into<String>) -> Health {
    Health::new(HealthCode::Progressing, message)
}

fn degraded(message: impl Into<String>) -> Health {
    Health::new(HealthCode::Degraded, message)
}

fn suspended(message: impl Into<String>) -> Health {
    Health::new(HealthCode::Suspended, message)
}

fn unknown(message: impl Into<String>) -> Health {
    Health::new(HealthCode::Unknown, message)
}

/// The state of an object whose controller has not looked at its last change.
fn not_observed() -> Health {
    progressing("its controller has not seen the last change")
}
