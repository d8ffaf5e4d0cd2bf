//! What becomes of what people have.

use serde_json::json;

use super::*;

fn imported(values: &[Value]) -> Imported {
    let objects: Vec<_> = values
        .iter()
        .map(|it| Object::new(it.clone()).unwrap())
        .collect();
    import(&objects, "apps")
}

#[test]
fn an_application_of_argo_cd_stays_nearly_as_it_is() {
    let found = imported(&[json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {
            "name": "shop", "namespace": "argocd", "uid": "u", "labels": {"team": "a"},
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            "annotations": {"argocd.argoproj.io/refresh": "hard", "note": "x",
                "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://example.com/shop", "path": "deploy"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
            "syncPolicy": {"automated": {"prune": true}},
        },
        "status": {"sync": {"status": "Synced"}},
    })]);
    assert_eq!(found.warnings, Vec::<String>::new());
    let made = &found.applications[0];
    assert_eq!(made["apiVersion"], "trimtab.dev/v1alpha1");
    assert_eq!(
        made["metadata"],
        json!({"name": "shop", "namespace": "apps", "labels": {"team": "a"},
            "finalizers": ["resources-finalizer.argocd.argoproj.io"], "annotations": {"note": "x"}})
    );
    assert_eq!(made["spec"]["syncPolicy"]["automated"]["prune"], true);
    assert!(made.get("status").is_none());
}

#[test]
fn what_is_beside_the_spec_of_argo_cd_is_named() {
    let found = imported(&[json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {
            "name": "shop",
            "annotations": {
                "argocd.argoproj.io/tracking-id": "x", "argocd.argoproj.io/skip-reconcile": "true",
                "argocd.argoproj.io/manifest-generate-paths": ".",
                "notifications.argoproj.io/subscribe.on-deployed.slack": "ops",
                "argocd-image-updater.argoproj.io/image-list": "a=b",
            },
            "finalizers": ["post-delete-finalizer.argocd.argoproj.io"],
            "ownerReferences": [{"kind": "ApplicationSet", "name": "shops"}],
        },
        "spec": {
            "source": {"repoURL": "https://example.com/shop"},
            "ignoreDifferences": [{"kind": "Deployment", "jqPathExpressions": ["reduce .a as $b (0; 1)"]}],
        },
        "operation": {"sync": {}},
    })]);
    let text = found.warnings.join("\n");
    for expected in [
        "manifest-generate-paths",
        "subscribe.on-deployed.slack",
        "image-list",
        "finalizer post-delete-finalizer",
        "ApplicationSet shops",
        "spec.ignoreDifferences",
        "operation does not",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(found.warnings.len(), 7, "{text}");
    let metadata = &found.applications[0]["metadata"];
    assert!(metadata.get("finalizers").is_none());
    assert_eq!(
        metadata["annotations"]["argocd.argoproj.io/skip-reconcile"],
        "true"
    );
    assert!(
        metadata["annotations"]
            .get("argocd.argoproj.io/tracking-id")
            .is_none()
    );
}

#[test]
fn what_does_not_carry_over_is_named() {
    let application = |spec: Value| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop"}, "spec": spec})
    };
    let source = json!({"repoURL": "https://example.com/shop"});
    for (spec, expected) in [
        (json!({"sources": [source]}), "sources"),
        (
            json!({"source": {"repoURL": "https://charts.example.com", "chart": "redis", "targetRevision": "1"}}),
            "chart",
        ),
        (
            json!({"source": source, "destination": {"server": "https://other.example.com"}}),
            "destination",
        ),
        (
            json!({"source": source, "syncPolicy": {"syncOptions": ["ServerSideApply=false"]}}),
            "ServerSideApply",
        ),
    ] {
        let found = imported(&[application(spec)]);
        let text = found.warnings.join("\n");
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(text.contains("Application shop"), "{text}");
    }
    let found = imported(&[
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet",
        "metadata": {"name": "all"}}),
    ]);
    assert!(found.warnings[0].contains("ApplicationSet all"));
}

#[test]
fn a_project_becomes_a_part_of_the_settings() {
    let found = imported(&[json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "team"},
        "spec": {
            "sourceRepos": ["https://example.com/*"],
            "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "team-*"}],
            "clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}],
            "roles": [{"name": "ci"}],
            "syncWindows": [{"kind": "deny", "schedule": "0 22 * * *", "duration": "1h", "applications": ["*"]}],
        },
    })]);
    assert_eq!(found.projects[0]["name"], "team");
    assert_eq!(
        found.warnings,
        ["AppProject team: spec.roles does not carry over"]
    );
    let settings = json!({"projects": found.projects}).to_string();
    Settings::parse(&settings).unwrap();
}

fn repository(reference: Value) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "shop", "namespace": "flux-system"},
        "spec": {"url": "https://example.com/shop", "ref": reference, "interval": "1m"},
    })
}

fn kustomization(more: Value) -> Value {
    let mut object = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": "flux-system"},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "shop"}, "path": "./deploy/prod",
            "prune": true, "interval": "10m"},
    });
    for (name, value) in more.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    object
}

#[test]
fn a_kustomization_of_flux_takes_its_repository_along() {
    let mut given = kustomization(json!({"suspend": true, "serviceAccountName": "shop",
        "dependsOn": [{"name": "base"}], "timeout": "90s", "wait": true, "patches": [],
        "postBuild": {}}));
    given["metadata"]["namespace"] = json!("apps");
    given["metadata"]["labels"] = json!({"team": "a", "kustomize.toolkit.fluxcd.io/name": "all"});
    given["spec"]["sourceRef"]["namespace"] = json!("flux-system");
    let found = imported(&[given, repository(json!({"branch": "main"}))]);
    assert_eq!(found.warnings, Vec::<String>::new());
    let made = &found.applications[0];
    assert_eq!(
        made["metadata"],
        json!({"name": "shop", "namespace": "apps", "labels": {"team": "a"},
            "finalizers": ["trimtab.dev/resources-finalizer"]})
    );
    let spec = &made["spec"];
    assert_eq!(
        spec["source"],
        json!({"repoURL": "https://example.com/shop", "targetRevision": "main",
            "path": "deploy/prod", "kustomize": {}, "directory": {"recurse": true}})
    );
    assert_eq!(spec["destination"]["namespace"], "apps");
    assert_eq!(
        spec["syncPolicy"],
        json!({"automated": {"prune": true, "selfHeal": true}, "waveTimeout": "90s"})
    );
    assert_eq!(spec["dependsOn"], json!([{"name": "base"}]));
    assert_eq!(spec["serviceAccountName"], "shop");
    assert_eq!(spec["pause"]["reason"], "it was suspended in Flux");
}

#[test]
fn every_field_of_flux_that_is_lost_is_named() {
    for (more, expected, pauses) in [
        (
            json!({"postBuild": {"substitute": {"a": "b"}}}),
            "spec.postBuild",
            true,
        ),
        (
            json!({"decryption": {"provider": "sops"}}),
            "spec.decryption",
            true,
        ),
        (json!({"patches": [{"patch": "x"}]}), "spec.patches", true),
        (json!({"images": [{"name": "a"}]}), "spec.images", true),
        (json!({"components": ["../a"]}), "spec.components", true),
        (
            json!({"commonMetadata": {"labels": {"a": "b"}}}),
            "spec.commonMetadata",
            true,
        ),
        (
            json!({"kubeConfig": {"secretRef": {"name": "a"}}}),
            "spec.kubeConfig",
            true,
        ),
        (
            json!({"targetNamespace": "shop"}),
            "spec.targetNamespace",
            false,
        ),
        (
            json!({"healthChecks": [{"kind": "Deployment"}]}),
            "spec.healthChecks",
            false,
        ),
        (
            json!({"healthCheckExprs": [{"kind": "A"}]}),
            "spec.healthCheckExprs",
            false,
        ),
        (json!({"sparkle": 1}), "spec.sparkle", false),
        (json!({"timeout": "soon"}), "spec.timeout", false),
        (
            json!({"serviceAccountName": "a"}),
            "spec.serviceAccountName",
            false,
        ),
        (
            json!({"dependsOn": [{"name": "a", "readyExpr": "true"}]}),
            "spec.dependsOn.readyExpr",
            false,
        ),
    ] {
        let found = imported(&[kustomization(more), repository(json!({"branch": "main"}))]);
        let text = found.warnings.join("\n");
        assert!(
            text.contains(&format!("Kustomization shop: {expected}")),
            "{text}"
        );
        assert_eq!(
            found.applications[0]["spec"].get("pause").is_some(),
            pauses,
            "{text}"
        );
    }
}

#[test]
fn every_field_of_a_repository_of_flux_that_is_lost_is_named() {
    let found = imported(&[
        kustomization(json!({})),
        repository(json!({"semver": ">=1.0.0"})),
    ]);
    let text = found.warnings.join("\n");
    assert!(
        text.contains("spec.ref.semver of its GitRepository (>=1.0.0)"),
        "{text}"
    );
    let spec = &found.applications[0]["spec"];
    assert!(spec["source"].get("targetRevision").is_none() && spec.get("pause").is_some());
    let mut odd = repository(json!({"branch": "main"}));
    odd["spec"]["url"] = json!("ssh://git@example.com/shop");
    for field in [
        "secretRef",
        "ignore",
        "include",
        "verify",
        "recurseSubmodules",
        "proxySecretRef",
    ] {
        odd["spec"][field] = json!("x");
    }
    odd["spec"]["provider"] = json!("github");
    let text = imported(&[kustomization(json!({})), odd])
        .warnings
        .join("\n");
    for expected in [
        "url",
        "secretRef",
        "ignore",
        "include",
        "verify",
        "recurseSubmodules",
        "proxySecretRef",
        "provider",
    ] {
        assert!(
            text.contains(&format!("GitRepository shop: spec.{expected}")),
            "{text}"
        );
    }
}

#[test]
fn what_flux_has_beside_is_named_with_its_kind() {
    let of = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {}});
    let mut other = kustomization(json!({}));
    other["spec"]["sourceRef"] = json!({"kind": "OCIRepository", "name": "images"});
    let found = imported(&[
        of("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
        of("source.toolkit.fluxcd.io/v1", "OCIRepository"),
        of("notification.toolkit.fluxcd.io/v1", "Receiver"),
        other,
        kustomization(json!({})),
    ]);
    let text = found.warnings.join("\n");
    for expected in [
        "HelmRelease a: is left out",
        "OCIRepository a: is left out",
        "Receiver a: is left out",
        "Kustomization shop: left out: it reads OCIRepository images",
        "Kustomization shop: left out: its GitRepository shop is not in the input",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(found.applications.is_empty());
    let twice = imported(&[
        kustomization(json!({})),
        kustomization(json!({})),
        repository(json!({"tag": "v1"})),
    ]);
    assert!(
        twice
            .warnings
            .join("\n")
            .contains("there are several of this name")
    );
}
