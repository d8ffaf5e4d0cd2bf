//! The rules as tables, one file for each kind in `testdata/`, and the same objects malformed.

use serde_json::{Value, json};

use super::*;
use crate::object::{ResourceKey, parse_document};

const TABLES: [(&str, &str); 17] = [
    ("apiservice", include_str!("testdata/apiservice.yaml")),
    ("application", include_str!("testdata/application.yaml")),
    ("argo", include_str!("testdata/argo.yaml")),
    ("crd", include_str!("testdata/crd.yaml")),
    ("cronjob", include_str!("testdata/cronjob.yaml")),
    ("daemonset", include_str!("testdata/daemonset.yaml")),
    ("deployment", include_str!("testdata/deployment.yaml")),
    ("generic", include_str!("testdata/generic.yaml")),
    ("hpa", include_str!("testdata/hpa.yaml")),
    ("ingress", include_str!("testdata/ingress.yaml")),
    ("job", include_str!("testdata/job.yaml")),
    ("pdb", include_str!("testdata/pdb.yaml")),
    ("pod", include_str!("testdata/pod.yaml")),
    ("pvc", include_str!("testdata/pvc.yaml")),
    ("replicaset", include_str!("testdata/replicaset.yaml")),
    ("service", include_str!("testdata/service.yaml")),
    ("statefulset", include_str!("testdata/statefulset.yaml")),
];

/// One line of a table: what is said of an object.
struct Case {
    title: String,
    object: Value,
    /// The code, or `none`.
    health: String,
    /// What the message contains.
    message: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (table, text) in TABLES {
        let content = parse_document(text).unwrap();
        for case in content["cases"].as_array().unwrap() {
            let title = format!("{table}: {}", case["name"].as_str().unwrap());
            for field in case.as_object().unwrap().keys() {
                let known = ["name", "health", "message", "with"].contains(&field.as_str());
                assert!(known, "{title}: {field}");
            }
            let mut object = content["base"].clone();
            for (field, value) in case["with"].as_object().unwrap() {
                object[field] = value.clone();
            }
            cases.push(Case {
                title,
                object,
                health: case["health"].as_str().unwrap().to_owned(),
                message: case["message"].as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    cases
}

fn assess_value(value: &Value) -> Option<Health> {
    assess(&Object::new(value.clone()).unwrap())
}

#[test]
fn every_case_of_the_tables_holds() {
    let mut wrong = Vec::new();
    for case in cases() {
        let health = assess_value(&case.object);
        let code = health
            .as_ref()
            .map_or("none".to_owned(), |health| health.status.to_string());
        let message = health.map(|health| health.message).unwrap_or_default();
        if code != case.health || !message.contains(&case.message) {
            wrong.push(format!(
                "{}: {code} \"{message}\" instead of {} \"{}\"",
                case.title, case.health, case.message
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn pointers(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('/', "~1");
                pointers(value, format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(pointer);
}

#[test]
fn malformed_objects_never_panic() {
    for case in cases() {
        let mut all = Vec::new();
        pointers(&case.object, String::new(), &mut all);
        all.retain(|p| !["", "/apiVersion", "/kind"].contains(&p.as_str()));
        for pointer in all {
            for replacement in [
                json!(null),
                json!(""),
                json!("\u{0}"),
                json!(-1),
                json!(i64::MIN),
                json!(u64::MAX),
                json!(0.5),
                json!(false),
                json!([]),
                json!([null]),
                json!([[]]),
                json!({}),
                json!({"a": {"b": []}}),
                json!([{"type": {}, "status": []}]),
            ] {
                let mut object = case.object.clone();
                *object.pointer_mut(&pointer).unwrap() = replacement;
                assess_value(&object);
            }
        }
    }
}

#[test]
fn a_status_of_another_type_is_unknown() {
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "Pod"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "Service"),
        ("networking.k8s.io/v1", "Ingress"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("policy/v1", "PodDisruptionBudget"),
        ("argoproj.io/v1alpha1", "Workflow"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("argoproj.io/v1alpha1", "ApplicationSet"),
        ("argoproj.io/v1alpha1", "Application"),
    ] {
        for status in [json!("text"), json!([]), json!(7), json!(true)] {
            let object = json!({"apiVersion": api_version, "kind": kind, "status": status});
            let health = assess_value(&object).unwrap();
            assert_eq!(health.status, HealthCode::Unknown, "{object}");
            assert!(health.message.contains("status"), "{object}");
        }
    }
}

#[test]
fn long_messages_are_cut() {
    let long = "\u{e9}".repeat(100_000);
    let health = assess_value(&json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": long}]},
    }))
    .unwrap();
    assert_eq!(health.message.chars().count(), MAX_MESSAGE);
}

fn key(kind: &str, name: &str) -> ResourceKey {
    ResourceKey {
        group: if kind == "Application" {
            names::GROUP.to_owned()
        } else {
            String::new()
        },
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

/// Each resource is written `Kind/name=state`; the state is a code, `none` or `gone`, with `!`
/// after it when it is to be ignored.
fn check_worst(resources: &[&str], code: HealthCode, message: &str) {
    let parsed: Vec<_> = resources
        .iter()
        .map(|text| {
            let (resource, state) = text.split_once('=').unwrap();
            let (kind, name) = resource.split_once('/').unwrap();
            let code = serde_json::from_value(json!(state.trim_end_matches('!'))).ok();
            let health = code.map(|code| Health::new(code, "why"));
            (key(kind, name), state, health)
        })
        .collect();
    let given = || {
        parsed.iter().map(|(key, state, health)| Managed {
            key,
            live: !state.starts_with("gone"),
            health: health.as_ref(),
            ignored: state.ends_with('!'),
        })
    };
    let expected = Health::new(code, message);
    assert_eq!(worst(given()), expected, "{resources:?}");
    assert_eq!(worst(given().rev()), expected, "{resources:?} reversed");
}

#[test]
fn an_application_is_as_well_as_its_worst_resource() {
    use HealthCode::*;
    let check = check_worst;
    check(&[], Healthy, "");
    check(&["Pod/a=Healthy", "ConfigMap/b=none"], Healthy, "");
    check(&["ConfigMap/b=none"], Healthy, "");
    check(
        &["Pod/a=Healthy", "Pod/b=Suspended"],
        Suspended,
        "Pod/shop/b",
    );
    check(
        &["Pod/a=Suspended", "Pod/b=Progressing"],
        Progressing,
        "Pod/shop/b",
    );
    check(
        &["Pod/a=Progressing", "Pod/b=Degraded", "Pod/c=Healthy"],
        Degraded,
        "Pod/shop/b",
    );
    check(&["Pod/a=Degraded", "Pod/b=Unknown"], Unknown, "Pod/shop/b");
}

#[test]
fn three_causes_are_named_and_the_others_counted() {
    use HealthCode::Degraded;
    let all = [
        "Pod/d=Degraded",
        "Pod/b=Degraded",
        "Pod/x=Progressing",
        "Pod/a=Degraded",
        "Pod/c=Degraded",
        "Pod/e=Degraded",
    ];
    check_worst(&all[..4], Degraded, "Pod/shop/a, Pod/shop/b, Pod/shop/d");
    check_worst(
        &all,
        Degraded,
        "Pod/shop/a, Pod/shop/b, Pod/shop/c and 2 more",
    );
}

#[test]
fn missing_resources_count_only_when_all_are_missing() {
    use HealthCode::*;
    let check = check_worst;
    check(&["Pod/a=Healthy", "Pod/b=gone"], Healthy, "");
    check(&["ConfigMap/a=none", "Pod/b=gone"], Healthy, "");
    check(
        &["Pod/a=gone", "Pod/b=gone"],
        Missing,
        "Pod/shop/a, Pod/shop/b",
    );
    // What is ignored is not there at all.
    check(&["Pod/a=Degraded!"], Healthy, "");
    check(
        &["Pod/a=Degraded!", "Pod/b=Progressing"],
        Progressing,
        "Pod/shop/b",
    );
    check(&["Pod/a=Healthy!", "Pod/b=gone"], Missing, "Pod/shop/b");
    check(&["Pod/b=gone!"], Missing, "Pod/shop/b");
}

#[test]
fn child_applications_that_know_nothing_do_not_count() {
    use HealthCode::*;
    let check = check_worst;
    check(
        &["Application/a=Unknown", "Application/b=Missing"],
        Healthy,
        "",
    );
    check(
        &["Application/a=Degraded", "Application/b=Unknown"],
        Degraded,
        "Application.trimtab.dev/shop/a",
    );
    check(&["Pod/a=Unknown"], Unknown, "Pod/shop/a");
    check(&["Pod/a=Missing"], Missing, "Pod/shop/a");
}
