//! A manifest as it is sent: without what the server would drop or reject, spelled so that equal
//! manifests have equal digests.

use serde_json::{Map, Value, json};

use super::nulls;
use crate::object::{Object, is_built_in};

/// Brings a manifest into the form that is hashed and applied.
///
/// `namespaced` is the scope of its kind; a missing namespace becomes `namespace`, and a
/// cluster-scoped manifest loses the one it names by mistake.
pub(crate) fn normalize(object: &mut Object, namespaced: bool, namespace: &str) {
    if !namespaced {
        object.metadata_mut().remove("namespace");
    } else if object.namespace().is_none() {
        object
            .metadata_mut()
            .insert("namespace".to_owned(), namespace.into());
    }
    for generated in [
        "creationTimestamp",
        "managedFields",
        "resourceVersion",
        "uid",
        "selfLink",
        "generation",
    ] {
        object.metadata_mut().remove(generated);
    }
    object.fields_mut().remove("status");
    let built_in = is_built_in(object.group());
    nulls::resolve(object, built_in);
    match (object.group(), object.kind()) {
        ("", "Secret") => fold_string_data(object.fields_mut()),
        ("", "Service") => protocol_of(object.fields_mut().get_mut("spec"), "ports"),
        ("rbac.authorization.k8s.io", "ClusterRole")
            // A controller writes the rules of an aggregated role; ours would fight it for ever.
            if object.fields().get("aggregationRule").is_some_and(Value::is_object) =>
        {
            object.fields_mut().remove("rules");
        }
        _ => {}
    }
    if built_in {
        protocols_of_pods(object);
    }
}

/// Ports of containers, wherever a built-in kind has them; what a custom resource calls so has a
/// shape of its own.
fn protocols_of_pods(object: &mut Object) {
    for pod_spec in [
        "/spec",
        "/spec/template/spec",
        "/spec/jobTemplate/spec/template/spec",
    ] {
        let Some(spec) = pointer_mut(object.fields_mut(), pod_spec) else {
            continue;
        };
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec
                .get_mut(containers)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                protocol_of(Some(container), "ports");
            }
        }
    }
}

/// `stringData` is write-only: keys applied through it are never removed again, so it becomes
/// `data`. Line breaks inside base64 are dropped; a value that is no text stays for the API
/// server to refuse.
fn fold_string_data(secret: &mut Map<String, Value>) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let texts = match secret.remove("stringData") {
        Some(Value::Object(texts)) => texts,
        Some(other) => {
            secret.insert("stringData".to_owned(), other);
            Map::new()
        }
        None => Map::new(),
    };
    if !texts.is_empty() {
        let data = secret.entry("data").or_insert_with(|| json!({}));
        if let Value::Object(data) = data {
            for (name, text) in texts {
                let value = match text {
                    Value::String(text) => Value::String(STANDARD.encode(text)),
                    other => other,
                };
                data.insert(name, value);
            }
        }
    }
    if let Some(Value::Object(data)) = secret.get_mut("data") {
        for value in data.values_mut() {
            if let Value::String(text) = value
                && text.contains(char::is_whitespace)
            {
                text.retain(|c| !c.is_whitespace());
            }
        }
    }
}

/// Ports are keyed by number and protocol; without a protocol two spellings of one port collide.
fn protocol_of(parent: Option<&mut Value>, list: &str) {
    let ports = parent
        .and_then(|parent| parent.get_mut(list))
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

fn pointer_mut<'a>(map: &'a mut Map<String, Value>, pointer: &str) -> Option<&'a mut Value> {
    let mut segments = pointer.split('/').skip(1);
    let mut value = map.get_mut(segments.next()?)?;
    for segment in segments {
        value = value.get_mut(segment)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: Value, namespaced: bool, expected: &Value) {
        let mut object = Object::new(input).unwrap();
        normalize(&mut object, namespaced, "shop");
        assert_eq!(&object.into_value(), expected);
    }

    #[test]
    fn the_namespace_follows_the_scope() {
        check(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            true,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}),
        );
        check(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "namespace": "x"}}),
            false,
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}),
        );
    }

    #[test]
    fn what_the_server_writes_is_dropped() {
        check(
            json!({
                "apiVersion": "v1", "kind": "A",
                "metadata": {"name": "a", "creationTimestamp": null, "uid": "x"},
                "status": {"a": 1},
            }),
            false,
            &json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}),
        );
    }

    #[test]
    fn string_data_becomes_data() {
        check(
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
                "data": {"a": "eA==", "b": "eH\nk=\n"}, "stringData": {"a": "y"},
            }),
            false,
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
                "data": {"a": "eQ==", "b": "eHk="},
            }),
        );
    }

    #[test]
    fn ports_get_their_protocol() {
        check(
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
                "spec": {"template": {"spec": {"containers": [{"ports": [{"containerPort": 80}]}]}}},
            }),
            false,
            &json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
                "spec": {"template": {"spec": {"containers": [
                    {"ports": [{"containerPort": 80, "protocol": "TCP"}]},
                ]}}},
            }),
        );
        for api_version in ["example.com/v1", "gateway.networking.k8s.io/v1"] {
            let own = json!({
                "apiVersion": api_version, "kind": "Service", "metadata": {"name": "a"},
                "spec": {"containers": [{"ports": [{"number": 80}]}], "ports": [{"port": 80}]},
            });
            check(own.clone(), false, &own);
        }
    }

    #[test]
    fn an_aggregated_role_has_no_rules_of_its_own() {
        let role = |rule: Value| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "a"}, "rules": [], "aggregationRule": rule,
            })
        };
        let mut object = Object::new(role(json!({}))).unwrap();
        normalize(&mut object, false, "");
        assert_eq!(object.get("/rules"), None);
    }

    #[test]
    fn wrong_types_are_left_for_the_server_to_refuse() {
        for spec in [
            json!(7),
            json!([]),
            json!({"ports": 7}),
            json!({"ports": [7]}),
            json!({"template": 7}),
        ] {
            for kind in ["Service", "Secret", "ClusterRole", "Deployment"] {
                let value = json!({"apiVersion": "v1", "kind": kind, "spec": spec, "data": spec, "stringData": spec});
                normalize(&mut Object::new(value).unwrap(), true, "shop");
            }
        }
    }
}
