//! The units of work that everything else is made of, each on a realistic input: for the
//! micro-benchmarks (`hack/bench micro`) and for the test that counts what they allocate.

use std::collections::{BTreeMap, HashMap};

use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use sha2::Sha256;

use crate::config::Provider;
use crate::crd::{Consent, HookPhase, SyncOptions};
use crate::diff::{Baseline, Digest, changes, observe, unified};
use crate::health::assess;
use crate::object::{Object, YamlLimits, parse_manifests};
use crate::plan::{Patience, Place, Progress, Subject, Task, step};
use crate::sync::{Desired, DesiredObject, Live, Lookup, compare};
use crate::webhook::{Secret, Secrets, receive};

/// One unit of work: its name, and the work as something that can be done again and again. The
/// number that it returns depends on the result, so that none of it can be left out.
pub struct Unit {
    pub name: &'static str,
    pub work: Box<dyn Fn() -> usize>,
}

/// All of them.
#[must_use]
pub fn units() -> Vec<Unit> {
    let live = deployment("web", 3);
    let changed = deployment("web", 4);
    let (one, two, three) = (live.clone(), live.clone(), live.clone());
    vec![
        unit("hash of a Deployment", move || {
            usize::from(Digest::of_map(one.fields()).0[0])
        }),
        unit("projection of a live Deployment", move || {
            usize::from(observe(&two, "trimtab").projection.0[0])
        }),
        unit("health of a Deployment", move || {
            assess(&three).map_or(0, |health| health.message.len() + 1)
        }),
        unit(
            "difference of a Deployment, as fields and text",
            move || changes(&live, &changed).len() + unified(Some(&live), Some(&changed)).len(),
        ),
        comparison(100),
        next_step(100),
        yaml(10),
        signature(),
    ]
}

fn unit(name: &'static str, work: impl Fn() -> usize + 'static) -> Unit {
    Unit {
        name,
        work: Box::new(work),
    }
}

/// A Deployment as the API server keeps it, owned by us and by its controller.
fn deployment(name: &str, replicas: i64) -> Object {
    let container = json!({
        "name": "web", "image": "registry.example/shop/web:1.2.3",
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 10},
    });
    let ours = json!({
        "f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {"f:trimtab.dev/tracking-id": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:env": {
                    "k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}},
                    "k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}}},
                "f:resources": {"f:requests": {"f:cpu": {}, "f:memory": {}}}}}}}},
    });
    let theirs = json!({"f:status": {"f:replicas": {}, "f:readyReplicas": {}, "f:conditions": {}}});
    Object::new(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "namespace": "shop", "uid": "5b0c8b43-5c1f-4a07-9a55-0d6a2b3a1f10",
            "resourceVersion": "812345", "generation": 3, "labels": {"app": name},
            "annotations": {"trimtab.dev/tracking-id": format!("shop:apps/Deployment:shop/{name}")},
            "managedFields": [
                {"manager": "trimtab", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": ours},
                {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                 "apiVersion": "apps/v1", "fieldsV1": theirs},
            ],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 30}}},
        "status": {"observedGeneration": 3, "replicas": replicas, "updatedReplicas": replicas,
                   "readyReplicas": replicas, "availableReplicas": replicas},
    }))
    .expect("a manifest")
}

/// An application of so many objects, all in sync.
fn comparison(count: usize) -> Unit {
    let mut desired = Desired::default();
    let mut baselines = HashMap::new();
    let mut live: BTreeMap<_, Live> = BTreeMap::new();
    for number in 0..count {
        let object = deployment(&format!("web-{number}"), 3);
        let (key, digest) = (object.key(), Digest::of_map(object.fields()));
        let observation = observe(&object, "trimtab");
        baselines.extend(Baseline::new(digest, &observation).map(|it| (key.clone(), it)));
        let seen = Live {
            observation,
            health: assess(&object),
            ours: true,
            other_owner: None,
            prune: None,
            extraneous: false,
            left_alone: false,
        };
        live.insert(key.clone(), seen);
        let remembered = DesiredObject {
            kind: object.api(),
            digest,
            ignores_health: false,
            place: Place::of_wave(HookPhase::Sync, 0),
            options: SyncOptions::default(),
        };
        desired.objects.insert(key, remembered);
    }
    unit("comparison of 100 objects that are in sync", move || {
        let found = |key: &_| live.get(key).cloned().map_or(Lookup::Absent, Lookup::Found);
        let compared = compare(
            &desired,
            &baselines,
            live.keys(),
            found,
            |_| None,
            Consent::Yes,
        );
        compared.verdicts.len() + usize::from(compared.is_synced())
    })
}

/// A sync of so many objects in ten waves, half way through.
fn next_step(count: usize) -> Unit {
    let task = |number: usize| Task {
        subject: Subject::Apply(deployment(&format!("web-{number}"), 3).key()),
        place: Place::of_wave(
            HookPhase::Sync,
            i32::try_from(number / 10).unwrap_or_default(),
        ),
        progress: if number < count / 2 {
            Progress::Done
        } else {
            Progress::Pending
        },
        last: false,
        first: false,
    };
    let tasks: Vec<_> = (0..count).map(task).collect();
    let patience = Patience {
        settled: true,
        ..Patience::default()
    };
    unit("next step of a sync of 100 objects", move || {
        match step(&tasks, patience) {
            crate::plan::Step::Run(begun) => begun.len(),
            _ => 0,
        }
    })
}

/// So many manifests in one file.
fn yaml(count: usize) -> Unit {
    let manifest = |number| {
        crate::object::to_yaml(&deployment(&format!("web-{number}"), 3)).expect("plain values")
    };
    let text: Vec<String> = (0..count).map(manifest).collect();
    let text = text.join("---\n");
    unit("YAML of 10 manifests", move || {
        parse_manifests(&text, YamlLimits::default()).map_or(0, |objects| objects.len())
    })
}

/// A push as GitHub sends it, some 20 KiB of which matter little.
fn signature() -> Unit {
    let commits: Vec<_> = (0..20)
        .map(|number| json!({"id": format!("{number:040x}"), "message": "x".repeat(900)}))
        .collect();
    let repository =
        json!({"clone_url": "https://github.com/acme/shop.git", "full_name": "acme/shop"});
    let body = json!({
        "ref": "refs/heads/main", "before": "0".repeat(40), "after": "1".repeat(40),
        "repository": repository, "commits": commits,
    })
    .to_string()
    .into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").expect("any length will do");
    mac.update(&body);
    let signed = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-github-event", "push"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("content-type", "application/json"),
        ("x-hub-signature-256", signed.as_str()),
    ] {
        headers.insert(name, HeaderValue::from_str(value).expect("plain text"));
    }
    let secrets = Secrets {
        tokens: Secret::new(b"secret".to_vec()).into_iter().collect(),
        signing_tokens: Vec::new(),
    };
    unit("a signed push, verified and read", move || {
        receive(Provider::GitHub, &secrets, &headers, &body, 0)
            .map_or(0, |delivery| delivery.id.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one unit allocates, in bytes, on this thread.
    fn allocated(unit: &Unit) -> u64 {
        let counter = tikv_jemalloc_ctl::thread::allocatedp::read().unwrap();
        // Caches of the first time do not count.
        assert!((unit.work)() > 0, "{} does nothing", unit.name);
        let before = counter.get();
        (unit.work)();
        counter.get() - before
    }

    #[test]
    fn no_unit_allocates_more_than_it_did() {
        let limits = [
            ("hash of a Deployment", 4_000),
            ("projection of a live Deployment", 6_000),
            ("health of a Deployment", 100),
            // Each text is read back to be sure what it says.
            ("difference of a Deployment, as fields and text", 400_000),
            ("comparison of 100 objects that are in sync", 40_000),
            ("next step of a sync of 100 objects", 4_000),
            ("YAML of 10 manifests", 450_000),
            ("a signed push, verified and read", 500),
        ];
        let units = units();
        assert_eq!(units.len(), limits.len());
        let measured: Vec<_> = units
            .iter()
            .map(|unit| (unit.name, allocated(unit)))
            .collect();
        for ((name, bytes), (expected, limit)) in measured.iter().zip(limits) {
            assert_eq!(*name, expected);
            assert!(
                *bytes <= limit,
                "{name}: {bytes} bytes of {limit}; {measured:?}"
            );
        }
    }
}
