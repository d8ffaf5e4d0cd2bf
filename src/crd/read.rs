//! From what the API server sends to an Application that can be worked with, or to the reasons
//! why not. An Application written against any schema, or none, is a reason, never a crash.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApplicationSpec, ApplicationStatus, Operation, Propagation};
use crate::object::Object;

/// Namespace and name of an Application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ApplicationKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ApplicationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// An Application as read from the API server.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) key: ApplicationKey,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// The whole object without its managed fields: annotations, finalizers and what is unknown.
    pub(crate) object: Object,
    pub(crate) spec: ApplicationSpec,
    pub(crate) status: ApplicationStatus,
    pub(crate) operation: Option<Operation>,
    /// What is wrong with the spec; nothing is synced while this is not empty.
    pub(crate) faults: Vec<String>,
    /// The status could not be read: its inventory is unknown, so nothing may be pruned.
    pub(crate) inventory_unknown: bool,
}

impl Application {
    /// The value of an annotation in either spelling.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        super::names::annotation(&self.object, name)
    }

    /// Takes an annotation away in both spellings.
    pub(crate) fn remove_annotation(&mut self, name: &str) {
        let annotations = self.object.metadata_mut().get_mut("annotations");
        if let Some(Value::Object(annotations)) = annotations {
            for name in super::names::annotation_names(name) {
                annotations.remove(&name);
            }
        }
    }

    /// Whether its resources go when it goes.
    pub(crate) fn cascades(&self) -> bool {
        self.finalizers().any(super::names::is_resources_finalizer)
    }

    /// Takes off what was asked for, with what is wrong with it.
    pub(crate) fn remove_operation(&mut self) {
        self.operation = None;
        self.object.fields_mut().remove("operation");
        self.faults.retain(|fault| !is_of_operation(fault));
    }

    /// What is wrong with what is asked for.
    pub(crate) fn operation_faults(&self) -> Vec<&str> {
        let faults = self.faults.iter().map(String::as_str);
        faults.filter(|fault| is_of_operation(fault)).collect()
    }

    /// Everything of the spec that decides what is rendered and how it is made ready to apply.
    pub(crate) fn rendered_spec(&self) -> Value {
        let spec = &self.spec;
        serde_json::json!([spec.source, spec.destination, spec.sync_options()])
    }

    /// What becomes of the objects that its resources own, by the finalizer: Argo CD knows one
    /// for each policy.
    pub(crate) fn propagation(&self) -> Propagation {
        let mut policies = self.finalizers().filter_map(super::options::propagation);
        policies.next().unwrap_or_default()
    }

    pub(crate) fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.object
            .get("/metadata/finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }
}

fn is_of_operation(fault: &str) -> bool {
    fault.starts_with("operation.")
}

/// Reads an Application. Fields that are wrong or not supported end up in `faults`.
pub(crate) fn read(mut object: Object) -> Application {
    object.metadata_mut().remove("managedFields");
    let mut faults = Vec::new();
    let spec: Option<ApplicationSpec> = part(&object, "spec", &mut faults);
    if spec.is_none() && faults.is_empty() {
        faults.push("spec is missing".to_owned());
    }
    let operation: Option<Operation> = part(&object, "operation", &mut faults);
    let mut status_faults = Vec::new();
    let status: Option<ApplicationStatus> = part(&object, "status", &mut status_faults);
    let spec = spec.unwrap_or_default();
    if faults.is_empty() {
        faults = super::faults::application_faults(&spec);
    }
    object.fields_mut().remove("status");
    Application {
        key: ApplicationKey {
            namespace: object.namespace().unwrap_or_default().to_owned(),
            name: object.name().to_owned(),
        },
        uid: object.uid().to_owned(),
        resource_version: object.resource_version().to_owned(),
        spec,
        inventory_unknown: status.is_none() && !status_faults.is_empty(),
        status: status.unwrap_or_default(),
        operation,
        faults,
        object,
    }
}

/// One top-level field as a type; what does not fit and what is not known goes to `faults`.
fn part<T: DeserializeOwned>(object: &Object, field: &str, faults: &mut Vec<String>) -> Option<T> {
    let value = object
        .fields()
        .get(field)
        .filter(|value| !value.is_null())?;
    let mut unknown = Vec::new();
    let track = |path: serde_ignored::Path<'_>| {
        // What says nothing is left behind by forms and generators.
        if !says_nothing(at(value, &path)) {
            unknown.push(path.to_string());
        }
    };
    match serde_ignored::deserialize(value, track) {
        Ok(part) => {
            // A status written by another version may say more than we read; that is no fault.
            if field != "status" {
                faults.extend(unknown.iter().map(|path| {
                    // serde_ignored writes `?` for the step into an optional field.
                    let path = path.replace(".?", "").replace("?.", "");
                    format!("{field}.{path} is not supported by this version")
                }));
            }
            Some(part)
        }
        Err(_) => {
            let error = serde_path_to_error::deserialize::<_, T>(value).err()?;
            faults.push(format!("{field}.{}: {}", error.path(), error.inner()));
            None
        }
    }
}

/// The value at a path.
fn at<'a>(value: &'a Value, path: &serde_ignored::Path<'_>) -> &'a Value {
    use serde_ignored::Path;
    match path {
        Path::Root => value,
        Path::Seq { parent, index } => at(value, parent).get(index).unwrap_or(&Value::Null),
        Path::Map { parent, key } => at(value, parent).get(key).unwrap_or(&Value::Null),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => at(value, parent),
    }
}

/// Whether a field is as good as not there: null, empty, zero or false, or made of such.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(spec: Value) -> Vec<String> {
        let object = Object::new(json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"}, "spec": spec,
        }));
        read(object.unwrap()).faults
    }

    fn good() -> Value {
        json!({
            "project": "default",
            "source": {"repoURL": "https://example.com/shop.git", "path": "deploy"},
            "destination": {"namespace": "shop"},
            "syncPolicy": {"automated": {"prune": true}},
        })
    }

    #[test]
    fn a_good_spec_has_no_faults() {
        assert_eq!(faults(good()), Vec::<String>::new());
    }

    #[test]
    fn wrong_types_name_the_field() {
        let mut spec = good();
        spec["source"]["path"] = json!(7);
        let found = faults(spec);
        assert!(
            found[0].starts_with("spec.source.path: invalid type"),
            "{found:?}"
        );
    }

    #[test]
    fn unsupported_fields_are_named() {
        for (pointer, value, expected) in [
            ("sources", json!([{}]), "spec.sources is not supported"),
            (
                "syncWindows",
                json!([{"kind": "deny"}]),
                "spec.syncWindows is not supported",
            ),
        ] {
            let mut spec = good();
            spec[pointer] = value;
            assert!(faults(spec)[0].starts_with(expected));
        }
        let mut spec = good();
        spec["source"]["kustomize"] = json!({"images": ["a"]});
        let found = faults(spec);
        assert_eq!(
            found,
            ["spec.source.kustomize.images is not supported by this version"]
        );
    }

    #[test]
    fn what_says_nothing_is_no_fault() {
        let mut spec = good();
        spec["sources"] = json!([]);
        spec["source"]["plugin"] = json!(null);
        spec["source"]["chart"] = json!("");
        spec["source"]["helm"] = json!({"fileParameters": [], "skipCrds": false});
        spec["source"]["kustomize"] = json!({"images": [], "commonLabels": {}});
        spec["source"]["directory"] = json!({"recurse": true, "jsonnet": {"tlas": []}});
        spec["syncPolicy"]["retry"] = json!({"limit": 2, "refresh": true});
        assert_eq!(faults(spec.clone()), Vec::<String>::new());
        spec["source"]["directory"]["jsonnet"] = json!({"libs": ["a"]});
        let found = faults(spec);
        assert_eq!(
            found,
            ["spec.source.directory.jsonnet is not supported by this version"]
        );
    }

    /// What pipelines of Argo CD patch into an Application.
    #[test]
    fn operations_of_argo_cd_are_read() {
        let of = |operation: Value| {
            read(
                Object::new(json!({
                    "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                    "metadata": {"namespace": "trimtab", "name": "shop"}, "spec": good(),
                    "operation": operation,
                }))
                .unwrap(),
            )
        };
        for (operation, leaves_hooks, options, tries) in [
            (
                json!({"sync": {"syncStrategy": {"hook": {}}}}),
                false,
                &[][..],
                [false, false],
            ),
            (
                json!({"sync": {"syncStrategy": {"apply": {"force": true}}, "revisions": []}}),
                true,
                &["Force=true"],
                [false, false],
            ),
            (
                json!({"retry": {"limit": 1}, "sync": {"syncStrategy": {"hook": {"force": true}},
                    "syncOptions": ["Replace=true"], "autoHealAttemptsCount": 0}}),
                false,
                &["Replace=true", "Force=true"],
                [true, false],
            ),
            (
                json!({"retry": {"limit": -1}, "sync": null}),
                false,
                &[],
                [true, true],
            ),
        ] {
            let read = of(operation.clone());
            assert_eq!(read.faults, Vec::<String>::new(), "{operation}");
            let asked = read.operation.unwrap();
            assert_eq!(
                [asked.tries_again(0), asked.tries_again(1)],
                tries,
                "{operation}"
            );
            let sync = asked.sync.unwrap_or_default();
            assert_eq!(sync.leaves_hooks(), leaves_hooks, "{operation}");
            assert_eq!(sync.all_options(), options, "{operation}");
        }
        let refused = of(json!({"sync": {"manifests": ["a"], "source": {"repoURL": "b"}}}));
        assert_eq!(refused.faults.len(), 2, "{:?}", refused.faults);
    }

    #[test]
    fn a_missing_spec_is_a_fault() {
        assert_eq!(faults(json!(null)), ["spec is missing"]);
    }

    #[test]
    fn an_unreadable_status_means_that_the_inventory_is_unknown() {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"}, "spec": good(),
            "status": {"inventory": {"entries": [7]}},
        });
        let application = read(Object::new(object).unwrap());
        assert!(application.inventory_unknown);
        assert_eq!(application.faults, Vec::<String>::new());
    }
}
