//! What the pods of a manifest cannot start without.

use serde_json::Value;

use crate::object::{Object, ResourceKey};

/// The objects that must be there before a pod of this manifest can be created and started, apart
/// from its namespace. What is marked as optional is left out.
pub(crate) fn needs(manifest: &Object) -> Vec<ResourceKey> {
    let spec = match (manifest.group(), manifest.kind()) {
        ("", "Pod") => manifest.get("/spec"),
        _ => manifest.get("/spec/template/spec"),
    };
    let Some(spec) = spec else {
        return Vec::new();
    };
    let namespace = manifest.namespace().unwrap_or_default();
    let mut found = Vec::new();
    let mut need = |group: &str, kind: &str, namespace: &str, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            found.push(ResourceKey {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
    };
    need("", "ServiceAccount", namespace, &spec["serviceAccountName"]);
    need(
        "scheduling.k8s.io",
        "PriorityClass",
        "",
        &spec["priorityClassName"],
    );
    need("node.k8s.io", "RuntimeClass", "", &spec["runtimeClassName"]);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut need_kept = |kind: &str, source: &Value, name: &str| {
        if source["optional"] != true {
            need("", kind, namespace, &source[name]);
        }
    };
    for volume in list(&spec["volumes"]) {
        need_kept("ConfigMap", &volume["configMap"], "name");
        need_kept("Secret", &volume["secret"], "secretName");
        need_kept(
            "PersistentVolumeClaim",
            &volume["persistentVolumeClaim"],
            "claimName",
        );
        for source in list(&volume["projected"]["sources"]) {
            need_kept("ConfigMap", &source["configMap"], "name");
            need_kept("Secret", &source["secret"], "name");
        }
    }
    for containers in ["initContainers", "containers"] {
        for container in list(&spec[containers]) {
            for variable in list(&container["env"]) {
                let from = &variable["valueFrom"];
                need_kept("ConfigMap", &from["configMapKeyRef"], "name");
                need_kept("Secret", &from["secretKeyRef"], "name");
            }
            for from in list(&container["envFrom"]) {
                need_kept("ConfigMap", &from["configMapRef"], "name");
                need_kept("Secret", &from["secretRef"], "name");
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_cannot_start_without() {
        let spec = json!({
            "serviceAccountName": "a", "priorityClassName": "p",
            "volumes": [
                {"configMap": {"name": "c"}}, {"secret": {"secretName": "s"}},
                {"secret": {"secretName": "maybe", "optional": true}},
                {"persistentVolumeClaim": {"claimName": "d"}}, {"emptyDir": {}},
                {"projected": {"sources": [{"secret": {"name": "t"}}, {"downwardAPI": {}}]}},
            ],
            "containers": [{
                "env": [{"name": "A", "value": "1"}, {"valueFrom": {"secretKeyRef": {"name": "s"}}}],
                "envFrom": [{"configMapRef": {"name": "e"}}, {"secretRef": {"name": "no", "optional": true}}],
            }],
        });
        let job = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"namespace": "shop"}, "spec": {"template": {"spec": spec}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop"}, "spec": spec});
        for manifest in [job, pod] {
            let found = needs(&Object::new(manifest).unwrap());
            let found: Vec<_> = found.iter().map(ResourceKey::id).collect();
            let expected = [
                "/ConfigMap:shop/c",
                "/ConfigMap:shop/e",
                "/PersistentVolumeClaim:shop/d",
                "/Secret:shop/s",
                "/Secret:shop/t",
                "/ServiceAccount:shop/a",
                "scheduling.k8s.io/PriorityClass:/p",
            ];
            assert_eq!(found, expected);
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
        assert!(needs(&Object::new(map).unwrap()).is_empty());
    }
}
