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
        "status": {"sync": {"status": "Synced"}}, "operation": {"sync": {}},
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
    assert!(made.get("status").is_none() && made.get("operation").is_none());
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

#[test]
fn a_kustomization_of_flux_takes_its_repository_along() {
    let repository = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "shop", "namespace": "flux-system"},
        "spec": {"url": "https://example.com/shop", "ref": {"branch": "main"}},
    });
    let kustomization = |more: Value| {
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
    };
    let found = imported(&[
        kustomization(
            json!({"targetNamespace": "shop", "suspend": true, "serviceAccountName": "shop",
            "dependsOn": [{"name": "base"}]}),
        ),
        repository.clone(),
    ]);
    assert_eq!(found.warnings, Vec::<String>::new());
    let spec = &found.applications[0]["spec"];
    assert_eq!(
        spec["source"],
        json!({"repoURL": "https://example.com/shop", "targetRevision": "main", "path": "deploy/prod"})
    );
    assert_eq!(spec["destination"]["namespace"], "shop");
    assert_eq!(
        spec["syncPolicy"]["automated"],
        json!({"prune": true, "selfHeal": true})
    );
    assert_eq!(spec["dependsOn"], json!([{"name": "base"}]));
    assert_eq!(spec["serviceAccountName"], "shop");
    assert_eq!(spec["pause"]["reason"], "it was suspended in Flux");
    let found = imported(&[
        kustomization(json!({"postBuild": {"substitute": {}}, "decryption": {}})),
        repository,
    ]);
    let text = found.warnings.join("\n");
    assert!(text.contains("spec.postBuild does not") && text.contains("spec.decryption does not"));
    let alone = imported(&[kustomization(json!({}))]);
    assert!(alone.applications.is_empty() && alone.warnings[0].contains("not here"));
}
