//! Which fields of others stand in the way, as a table.

use serde_json::json;

use super::super::overlay::all_owned;
use super::*;

fn cause(reason: &str, field: &str, message: &str) -> Cause {
    Cause {
        reason: reason.into(),
        field: field.into(),
        message: message.into(),
    }
}

fn live(spec: &Value, entries: &Value) -> Object {
    Object::new(json!({
        "apiVersion": "v1", "kind": "A", "spec": spec, "metadata": {"managedFields": entries},
    }))
    .unwrap()
}

fn check(live: &Object, spec: &Value, cause: &Cause, expected: &[&str]) {
    let manifest = json!({"apiVersion": "v1", "kind": "A", "spec": spec});
    let manifest = Object::new(manifest).unwrap();
    let found = in_the_way(live, &manifest, &all_owned(live), "trimtab", cause);
    let found: Vec<_> = found.iter().map(|path| path.join(" ")).collect();
    assert_eq!(found, expected, "{}: {}", cause.field, cause.message);
}

#[test]
fn an_item_of_somebody_with_a_value_of_ours() {
    let ports = json!({"f:spec": {"f:ports": {"k:{\"port\":83,\"protocol\":\"TCP\"}": {".": {}}}}});
    let entries = json!([{"manager": "kubectl-patch", "fieldsV1": ports}]);
    let live = live(
        &json!({"ports": [
            {"port": 83, "protocol": "TCP", "name": "http"},
            {"port": 90, "protocol": "TCP", "name": "metrics"},
        ]}),
        &entries,
    );
    let ours = json!({"ports": [{"port": 80, "protocol": "TCP", "name": "http"}]});
    let duplicate = "Duplicate value: \"http\"";
    let reason = "FieldValueDuplicate";
    let theirs = "f:spec f:ports k:{\"port\":83,\"protocol\":\"TCP\"}";
    check(
        &live,
        &ours,
        &cause(reason, "spec.ports[1].name", duplicate),
        &[theirs],
    );
    // Another list, another value, and what is not declared.
    check(
        &live,
        &ours,
        &cause(reason, "spec.other[1].name", duplicate),
        &[],
    );
    check(
        &live,
        &ours,
        &cause(reason, "spec.ports[1].nodePort", duplicate),
        &[],
    );
    check(
        &live,
        &json!({}),
        &cause(reason, "spec.ports[1].name", duplicate),
        &[],
    );
    let long = cause("FieldValueInvalid", "spec.ports[1].name", "must be short");
    check(&live, &ours, &long, &[]);
}

#[test]
fn a_member_that_excludes_ours() {
    let containers = json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}}},
        "f:volumes": {"k:{\"name\":\"data\"}": {".": {}}}}});
    let entries = json!([{"manager": "trimtab", "fieldsV1": containers}]);
    let live = live(
        &json!({
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}, "more": 1},
            "replicas": 3, "minAvailable": 1, "maxUnavailable": 2,
            "containers": [{"name": "web", "resources": {}, "readinessProbe": {
                "exec": {}, "tcpSocket": {}, "periodSeconds": 3,
            }}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "theirs", "secret": {}}],
        }),
        &entries,
    );
    let forbidden = |field: &str, message: &str| cause("FieldValueForbidden", field, message);
    let recreate = json!({"strategy": {"type": "Recreate"}});
    let words = "may not be specified when strategy `type` is 'Recreate'";
    let rolling = forbidden("spec.strategy.rollingUpdate", words);
    check(
        &live,
        &recreate,
        &rolling,
        &["f:spec f:strategy f:rollingUpdate"],
    );
    // What the manifest says nothing about is not touched.
    check(&live, &json!({"replicas": 1}), &rolling, &[]);

    let web = "f:spec f:containers k:{\"name\":\"web\"} f:readinessProbe";
    let probe = json!({"containers": [{"name": "web", "readinessProbe": {"httpGet": {}}}]});
    let words = "may not specify more than 1 handler type";
    let path = "spec.containers[0].readinessProbe.tcpSocket";
    check(
        &live,
        &probe,
        &forbidden(path, words),
        &[&format!("{web} f:tcpSocket")],
    );
    let path = "spec.containers[0].readinessProbe.httpGet";
    let both = [format!("{web} f:exec"), format!("{web} f:tcpSocket")];
    check(
        &live,
        &probe,
        &forbidden(path, words),
        &[&both[0], &both[1]],
    );

    let volumes = json!({"volumes": [{"name": "data", "configMap": {}}]});
    let words = "may not specify more than 1 volume type";
    let data = "f:spec f:volumes k:{\"name\":\"data\"} f:emptyDir";
    for member in ["emptyDir", "configMap"] {
        let path = format!("spec.volumes[0].{member}");
        check(&live, &volumes, &forbidden(&path, words), &[data]);
    }

    let words = "minAvailable and maxUnavailable cannot be both set";
    let invalid = cause("FieldValueInvalid", "spec", words);
    let disruption = json!({"minAvailable": 1});
    check(&live, &disruption, &invalid, &["f:spec f:maxUnavailable"]);
    let immutable = forbidden("spec.strategy.rollingUpdate", "field is immutable");
    check(&live, &recreate, &immutable, &[]);
}

#[test]
fn of_a_schema_with_alternatives_what_a_controller_set_stays() {
    let owned = |field: &str| json!({"f:spec": {field: {}}});
    let entries = json!([
        {"manager": "kubectl-edit", "fieldsV1": owned("f:file")},
        {"manager": "operator", "fieldsV1": owned("f:assigned")},
    ]);
    let live = live(
        &json!({"file": "a", "assigned": "b", "mode": "c"}),
        &entries,
    );
    let words =
        "\"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives";
    let invalid = cause("FieldValueInvalid", "spec", words);
    let expected = ["f:spec f:file", "f:spec f:mode"];
    check(&live, &json!({"url": "d"}), &invalid, &expected);
}

#[test]
fn paths_as_the_server_writes_them() {
    let field = |name: &str| Segment::Field(name.into());
    assert_eq!(
        segments("spec.ports[1].name"),
        [field("spec"), field("ports"), Segment::Item, field("name")]
    );
    assert_eq!(
        segments("metadata.annotations[a.b/c]"),
        [field("metadata"), field("annotations"), field("a.b/c")]
    );
    assert_eq!(segments(""), []);
}
