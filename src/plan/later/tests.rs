//! Which refusals are over when the sync has written more, as a table.

use serde_json::{Value, json};

use super::*;

fn object(api_version: &str, kind: &str, name: &str, more: &Value) -> Object {
    let mut value = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"},
    });
    for (field, below) in more.as_object().unwrap() {
        value[field] = below.clone();
    }
    Object::new(value).unwrap()
}

fn cluster(api_version: &str, kind: &str, name: &str, more: &Value) -> Object {
    let mut object = object(api_version, kind, name, more);
    object.metadata_mut().remove("namespace");
    object
}

fn definition() -> Object {
    let spec = json!({"spec": {"group": "a.io", "names": {"kind": "Backup"}}});
    let name = "backups.a.io";
    cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        name,
        &spec,
    )
}

fn rbac(kind: &str, name: &str) -> Object {
    let subjects = json!({"subjects": [{"kind": "ServiceAccount", "name": "deployer"}]});
    object("rbac.authorization.k8s.io/v1", kind, name, &subjects)
}

fn admission(kind: &str, name: &str, more: &Value) -> Object {
    cluster("admissionregistration.k8s.io/v1", kind, name, more)
}

fn plain(kind: &str, name: &str) -> Object {
    object("v1", kind, name, &json!({}))
}

fn backup() -> Object {
    object("a.io/v1", "Backup", "nightly", &json!({}))
}

fn is_later(refused: &Object, code: u16, text: &str, coming: &[Object]) -> bool {
    let refusal = Refusal::new(code, text, []);
    let all: Vec<_> = coming.iter().collect();
    let coming = coming.iter().map(|object| Coming {
        object,
        exists: true,
    });
    later(Obstacle::Refused(&refusal), &refused.key(), coming, &all) != When::Never
}

const UNDECLARED: &str =
    "failed to create typed patch object (shop/nightly): .spec.keep: field not declared in schema";
const NO_ACCOUNT: &str = "pods \"tool\" is forbidden: error looking up service account shop/tool: \
                          serviceaccount \"tool\" not found";
const NO_ROLE: &str = "roles.rbac.authorization.k8s.io \"dev\" not found";
const NO_BINDING: &str = "rolebindings.rbac.authorization.k8s.io \"binding\" not found";
const GRANTS: &str = "roles.rbac.authorization.k8s.io \"dev\" is forbidden: user \
                      \"system:serviceaccount:shop:deployer\" is attempting to grant RBAC permissions";
const MAY_NOT: &str = "configmaps \"a\" is forbidden: User \"system:serviceaccount:shop:deployer\" \
                       cannot patch resource \"configmaps\"";
const QUOTA: &str = "pods \"tool\" is forbidden: exceeded quota: few, requested: pods=1";
const LIMITED: &str = "pods \"tool\" is forbidden: maximum cpu usage per Container is 1";
const POLICY: &str = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'house' with binding \
                      'all' denied request: no";
const SECURITY: &str = "pods \"tool\" is forbidden: violates PodSecurity \"restricted:latest\"";
const NOT_CALLED: &str = "Internal error occurred: failed calling webhook \"w.a.io\": failed to call \
                          webhook: Post \"https://gate.ops.svc:443/\": service \"gate\" not found";
const DENIED: &str =
    "admission webhook \"w.a.io\" denied the request: issuer \"main\" is not there";
const RESIZED: &str = "persistentvolumeclaims \"data\" is forbidden: only dynamically provisioned pvc \
                       can be resized and the storageclass must support resize";
const PORT: &str = "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: \
                    provided port is already allocated";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_comes_may_lift_a_refusal() {
    let (pod, map) = (plain("Pod", "tool"), plain("ConfigMap", "a"));
    let binding = rbac("RoleBinding", "binding");
    let scheduling = |kind| cluster("scheduling.k8s.io/v1", kind, "high", &json!({}));
    let here = cluster("v1", "Namespace", "shop", &json!({}));
    let hooks = json!({"webhooks": [{"name": "w.a.io"}]});
    let webhook = admission("ValidatingWebhookConfiguration", "any", &hooks);
    let param = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
    let house = admission("ValidatingAdmissionPolicy", "house", &param);
    let mut gate = plain("Service", "gate");
    gate.metadata_mut().insert("namespace".into(), "ops".into());
    let mut server = object("apps/v1", "Deployment", "server", &json!({}));
    server
        .metadata_mut()
        .insert("namespace".into(), "ops".into());
    let aggregated = json!({"spec": {"group": "a.io", "service": {"namespace": "ops"}}});
    let aggregated = cluster(
        "apiregistration.k8s.io/v1",
        "APIService",
        "v1.a.io",
        &aggregated,
    );
    let claim = plain("PersistentVolumeClaim", "data");
    let storage = cluster("storage.k8s.io/v1", "StorageClass", "fast", &json!({}));
    let priority = "pods \"tool\" is forbidden: no PriorityClass with name high was found";
    let runtime = "pods \"tool\" is forbidden: pod rejected: RuntimeClass \"high\" not found";
    let gone = "namespaces \"shop\" not found";
    let unavailable = "the server is currently unable to handle the request";
    let web = plain("Service", "web");
    for (refused, code, text, coming, expected) in [
        (&backup(), 500, UNDECLARED, vec![definition()], true),
        (&backup(), 500, UNDECLARED, vec![map.clone()], false),
        (&map, 500, UNDECLARED, vec![definition()], false),
        (
            &backup(),
            422,
            "spec.mode: Unsupported value",
            vec![definition()],
            true,
        ),
        (
            &backup(),
            404,
            "the server could not find it",
            vec![definition()],
            true,
        ),
        (&backup(), 404, gone, vec![definition()], false),
        (&backup(), 404, gone, vec![here.clone()], true),
        (&backup(), 503, unavailable, vec![aggregated.clone()], true),
        (
            &backup(),
            503,
            unavailable,
            vec![server.clone(), aggregated],
            true,
        ),
        (&backup(), 503, unavailable, vec![server.clone()], false),
        (
            &pod,
            403,
            NO_ACCOUNT,
            vec![plain("ServiceAccount", "tool")],
            true,
        ),
        (
            &pod,
            403,
            NO_ACCOUNT,
            vec![plain("ServiceAccount", "other")],
            false,
        ),
        (
            &pod,
            403,
            NO_ACCOUNT,
            vec![plain("ConfigMap", "tool")],
            false,
        ),
        (&pod, 403, NO_ACCOUNT, vec![pod.clone()], false),
        (&pod, 403, priority, vec![scheduling("PriorityClass")], true),
        (&pod, 403, runtime, vec![scheduling("RuntimeClass")], true),
        (&pod, 403, runtime, vec![scheduling("PriorityClass")], false),
        (&pod, 403, QUOTA, vec![plain("ResourceQuota", "few")], true),
        (&pod, 403, QUOTA, vec![plain("Pod", "other")], true),
        (&pod, 403, QUOTA, vec![map.clone()], false),
        (&pod, 403, LIMITED, vec![plain("LimitRange", "range")], true),
        (
            &pod,
            403,
            LIMITED,
            vec![plain("ResourceQuota", "few")],
            false,
        ),
        (&pod, 403, SECURITY, vec![here.clone()], true),
        (&pod, 403, SECURITY, vec![map.clone()], false),
        (&binding, 404, NO_BINDING, vec![rbac("Role", "dev")], true),
        (&binding, 404, NO_BINDING, vec![map.clone()], false),
        (&binding, 404, NO_ROLE, vec![rbac("Role", "dev")], true),
        (&binding, 404, NO_ROLE, vec![rbac("Role", "ops")], false),
        (
            &rbac("Role", "dev"),
            403,
            GRANTS,
            vec![binding.clone()],
            true,
        ),
        (&map, 403, MAY_NOT, vec![binding.clone()], true),
        (&map, 403, MAY_NOT, vec![rbac("Role", "any")], true),
        (&map, 403, MAY_NOT, vec![pod.clone(), here.clone()], false),
        (&map, 422, POLICY, vec![house.clone()], true),
        (
            &map,
            422,
            POLICY,
            vec![admission(
                "ValidatingAdmissionPolicyBinding",
                "all",
                &json!({}),
            )],
            true,
        ),
        (&pod, 422, POLICY, vec![map.clone(), house], true),
        (&map, 422, POLICY, vec![here], true),
        (
            &map,
            422,
            POLICY,
            vec![webhook.clone(), plain("ConfigMap", "b")],
            false,
        ),
        (&map, 500, NOT_CALLED, vec![webhook.clone()], true),
        (&map, 500, NOT_CALLED, vec![gate], true),
        (&map, 500, NOT_CALLED, vec![server], true),
        (&map, 500, NOT_CALLED, vec![pod.clone()], false),
        (&map, 400, DENIED, vec![webhook], true),
        (
            &map,
            400,
            DENIED,
            vec![object("a.io/v1", "Issuer", "main", &json!({}))],
            true,
        ),
        (&claim, 403, RESIZED, vec![storage], true),
        (&web, 422, PORT, vec![plain("Service", "old")], true),
        (&web, 422, PORT, vec![map.clone()], false),
        (
            &web,
            422,
            "Service \"web\" is invalid: spec.type",
            vec![plain("Service", "old")],
            false,
        ),
        (&map, 413, "too large", vec![definition()], false),
    ] {
        let names: Vec<_> = coming.iter().map(|it| it.key().to_string()).collect();
        let found = is_later(refused, code, text, &coming);
        assert_eq!(found, expected, "{}: {text}: {names:?}", refused.kind());
    }
}

#[test]
fn a_kind_that_nobody_serves_yet() {
    let kind = |name: &str| Kind {
        group: "a.io".into(),
        version: "v1".into(),
        kind: name.into(),
    };
    let check = |name: &str, object: &Object| {
        let coming = [Coming {
            object,
            exists: false,
        }];
        let kind = kind(name);
        later(Obstacle::UnknownKind(&kind), &backup().key(), coming, &[])
    };
    assert_eq!(
        check("Backup", &definition()),
        When::Later(vec![definition().key()])
    );
    assert_eq!(check("Other", &definition()), When::Never);
    assert_eq!(check("Backup", &plain("ConfigMap", "a")), When::Never);
}

#[test]
fn a_fault_of_the_metadata_is_none_of_the_schema() {
    let cause = |field: &str| crate::diff::Cause {
        field: field.into(),
        ..crate::diff::Cause::default()
    };
    let definition = definition();
    for (fields, expected) in [
        (vec!["metadata.labels"], false),
        (vec!["metadata.labels", "spec.mode"], true),
        (vec!["spec.mode"], true),
    ] {
        let refusal = Refusal::new(422, "invalid", fields.iter().map(|field| cause(field)));
        let coming = [Coming {
            object: &definition,
            exists: true,
        }];
        let found = later(Obstacle::Refused(&refusal), &backup().key(), coming, &[]);
        assert_eq!(found != When::Never, expected, "{fields:?}");
    }
}
