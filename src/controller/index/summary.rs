//! One application in a few words, for lists: kept in memory, so that a list of a thousand asks
//! nobody.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::crd::{Application, HealthCode, OperationPhase, SyncCode};
use crate::object::redact_url;

/// Characters of a message in a list.
const MESSAGE: usize = 300;

/// What a list shows of an application.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Without a login that may be in it.
    pub(crate) repository: String,
    pub(crate) path: String,
    pub(crate) target_revision: String,
    /// The namespace that it goes to.
    pub(crate) destination: String,
    pub(crate) sync: SyncCode,
    pub(crate) health: Option<HealthCode>,
    /// The commit that was compared.
    pub(crate) revision: String,
    /// How many objects it has.
    pub(crate) objects: usize,
    /// How many of them differ.
    pub(crate) differing: usize,
    pub(crate) operation: Option<OperationPhase>,
    pub(crate) paused: bool,
    pub(crate) terminating: bool,
    /// The first thing that a person should know, empty when all is well.
    pub(crate) message: String,
    /// When the last operation ended or began (RFC 3339), empty before the first.
    pub(crate) operated_at: String,
}

impl Summary {
    pub(crate) fn of(application: &Application) -> Self {
        let (spec, status) = (&application.spec, &application.status);
        let source = spec.source.clone().unwrap_or_default();
        let labels = application.object.get("/metadata/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let operation = status.operation_state.as_ref();
        Self {
            namespace: application.key.namespace.clone(),
            name: application.key.name.clone(),
            project: match spec.project.as_str() {
                "" => "default".to_owned(),
                project => project.to_owned(),
            },
            labels: labels
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            repository: redact_url(&source.repo_url),
            path: source.path,
            target_revision: source.target_revision,
            destination: spec.destination.namespace.clone(),
            sync: status.sync.status,
            health: status.health.as_ref().map(|health| health.status),
            revision: status.sync.revision.clone(),
            objects: status.objects(),
            differing: status.differing(),
            operation: operation.map(|operation| operation.phase),
            paused: spec.pause.is_some(),
            terminating: application.object.is_terminating(),
            message: message(application).chars().take(MESSAGE).collect(),
            operated_at: operation.map_or_else(String::new, |operation| {
                let finished = operation.finished_at.as_ref();
                finished.unwrap_or(&operation.started_at).clone()
            }),
        }
    }
}

fn message(application: &Application) -> String {
    let status = &application.status;
    if let Some(condition) = status.conditions.first() {
        return format!("{}: {}", condition.type_, condition.message);
    }
    if let Some(fault) = application.faults.first() {
        return fault.clone();
    }
    match &status.operation_state {
        Some(state) if state.phase == OperationPhase::Running => return state.message.clone(),
        _ => {}
    }
    let health = status.health.as_ref();
    health.map_or_else(String::new, |health| health.message.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    #[test]
    fn a_summary_names_the_first_trouble_and_no_login() {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop", "labels": {"team": "a"}},
            "spec": {"source": {"repoURL": "https://me:hunter2@e.com/a", "path": "deploy"},
                     "destination": {"namespace": "shop"}, "pause": {"by": "ann"}},
            "status": {
                "sync": {"status": "OutOfSync", "revision": "0123"},
                "health": {"status": "Degraded", "message": "no progress"},
                "operationState": {"phase": "Failed", "startedAt": "s", "finishedAt": "f"},
                "conditions": [{"type": "SyncError", "message": "no"}],
                "resources": [{"version": "v1", "kind": "A", "name": "a", "status": "Synced"},
                              {"version": "v1", "kind": "A", "name": "b", "status": "OutOfSync"}],
                "leftOut": {"resources": 40, "differing": 3},
            },
        });
        let application = read(Object::new(object).unwrap());
        let summary = Summary::of(&application);
        assert_eq!((summary.objects, summary.differing), (42, 4));
        assert_eq!(summary.message, "SyncError: no");
        assert_eq!(summary.operated_at, "f");
        assert_eq!(summary.project, "default");
        assert!(summary.paused && !summary.terminating);
        let text = serde_json::to_string(&summary).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains(r#""labels":{"team":"a"}"#), "{text}");
    }
}
