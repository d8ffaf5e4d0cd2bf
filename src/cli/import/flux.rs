//! Flux's Kustomization and the GitRepository that it reads.

use serde_json::{Value, json};

use super::{Imported, carried_metadata, given, made};
use crate::crd::names::FINALIZER;
use crate::object::{Object, duration};

/// Fields of a Kustomization that are read here, or that change nothing: every application is
/// compared as it changes, synced in waves that wait for health, and tried again for as long as
/// something differs.
const KNOWN: [&str; 13] = [
    "sourceRef",
    "path",
    "prune",
    "targetNamespace",
    "suspend",
    "serviceAccountName",
    "dependsOn",
    "timeout",
    "deletionPolicy",
    "force",
    "interval",
    "retryInterval",
    "wait",
];

/// Fields without which the same directory renders to something else.
const RENDERING: [&str; 13] = [
    "postBuild",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "images",
    "components",
    "namePrefix",
    "nameSuffix",
    "commonMetadata",
    "buildMetadata",
    "decryption",
    "ignoreMissingComponents",
    "kubeConfig",
];

/// Fields of a GitRepository that are read here, or that change nothing.
const KNOWN_OF_REPOSITORY: [&str; 6] = [
    "url",
    "ref",
    "suspend",
    "interval",
    "timeout",
    // Nothing is fetched but what the application reads.
    "sparseCheckout",
];

/// Ways to name a revision, as Flux chooses: a commit before a name before a range of versions
/// before a tag before a branch.
const REFERENCES: [&str; 5] = ["commit", "name", "semver", "tag", "branch"];

pub(super) fn kustomization(object: &Object, all: &[Object], into: &str, imported: &mut Imported) {
    let Some(repository) = repository_of(object, all) else {
        let kind = text(object, "/spec/sourceRef/kind");
        let name = text(object, "/spec/sourceRef/name");
        let what = match kind {
            "GitRepository" => format!("left out: its GitRepository {name} is not in the input"),
            _ => format!("left out: it reads {kind} {name}, and only Git is read here"),
        };
        return imported.warn(object, &what);
    };
    let fields = given(object, "/spec");
    let mut lost: Vec<String> = Vec::new();
    for field in fields
        .iter()
        .filter(|field| !KNOWN.contains(&field.as_str()))
    {
        imported.warn(object, &format!("spec.{field} does not carry over"));
        if RENDERING.contains(&field.as_str()) {
            lost.push(format!("spec.{field}"));
        }
    }
    let source = source(object, repository, imported, &mut lost);
    let namespace = match text(object, "/spec/targetNamespace") {
        "" => object.namespace().unwrap_or("default"),
        namespace => {
            let what = "spec.targetNamespace does not carry over as it is: the destination's \
                        namespace is for manifests that name none, Flux sets it on every object";
            imported.warn(object, what);
            namespace
        }
    };
    let prune = flag(object, "/spec/prune");
    let mut spec = json!({
        "project": "default", "source": source,
        "destination": {"name": "in-cluster", "namespace": namespace},
    });
    if flag(object, "/spec/force") {
        spec["syncPolicy"]["syncOptions"] = json!(["Force=true"]);
    }
    spec["syncPolicy"]["automated"] = json!({"prune": prune, "selfHeal": true});
    wave_timeout(object, &mut spec, imported);
    service_account(object, into, &mut spec, imported);
    dependencies(object, &mut spec, imported);
    if flag(object, "/spec/suspend") || flag(repository, "/spec/suspend") {
        spec["pause"] = json!({"by": "import", "reason": "it was suspended in Flux"});
    }
    if !lost.is_empty() {
        let lost = lost.join(", ");
        let reason = format!("would not deploy what Flux did, for want of {lost}");
        spec["pause"] = json!({"by": "import", "reason": reason});
        imported.warn(object, &format!("printed with a pause: it {reason}"));
    }
    let mut application = made(object.name(), into, &spec);
    carried_metadata(object, &mut application, |name| {
        !name
            .split('/')
            .next()
            .unwrap_or_default()
            .ends_with("fluxcd.io")
    });
    let goes = match text(object, "/spec/deletionPolicy") {
        "Orphan" => false,
        "Delete" | "WaitForTermination" => true,
        _ => prune,
    };
    if goes {
        application["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    imported.applications.push(application);
}

/// Says what of a repository does not carry over.
pub(super) fn repository(object: &Object, imported: &mut Imported) {
    for field in given(object, "/spec") {
        match field.as_str() {
            "secretRef" => {
                let secret = text(object, "/spec/secretRef/name");
                let what = format!(
                    "spec.secretRef does not carry over: a Secret with the label \
                     trimtab.dev/secret-type: repository takes the place of {secret}"
                );
                imported.warn(object, &what);
            }
            "provider" if text(object, "/spec/provider") == "generic" => {}
            field if KNOWN_OF_REPOSITORY.contains(&field) => {}
            field => imported.warn(object, &format!("spec.{field} does not carry over")),
        }
    }
    for field in given(object, "/spec/ref") {
        if !REFERENCES.contains(&field.as_str()) {
            imported.warn(object, &format!("spec.ref.{field} does not carry over"));
        }
    }
    let url = text(object, "/spec/url");
    if !url.starts_with("https://") && !url.starts_with("http://") {
        let what = format!("spec.url: {url} cannot be read, only https:// and http:// are");
        imported.warn(object, &what);
    }
}

fn repository_of<'a>(object: &Object, all: &'a [Object]) -> Option<&'a Object> {
    let reference = object.get("/spec/sourceRef")?;
    let own = object.namespace().unwrap_or_default();
    let namespace = reference["namespace"].as_str().unwrap_or(own);
    all.iter().find(|it| {
        it.kind() == "GitRepository"
            && reference["kind"] == "GitRepository"
            && reference["name"] == it.name()
            && it.namespace().unwrap_or_default() == namespace
    })
}

/// The source of an Application. As in Flux a kustomization counts where there is one, else every
/// manifest below the path.
fn source(
    object: &Object,
    repository: &Object,
    imported: &mut Imported,
    lost: &mut Vec<String>,
) -> Value {
    let mut source = json!({
        "repoURL": text(repository, "/spec/url"),
        "kustomize": {}, "directory": {"recurse": true},
    });
    let named = REFERENCES.iter().find_map(|kind| {
        let name = text(repository, &format!("/spec/ref/{kind}"));
        (!name.is_empty()).then_some((*kind, name))
    });
    match named {
        Some(("semver", range)) => {
            let what = format!(
                "spec.ref.semver of its GitRepository ({range}) does not carry over: set \
                 spec.source.targetRevision to a branch, tag or commit"
            );
            imported.warn(object, &what);
            lost.push("spec.ref.semver".to_owned());
        }
        Some((_, name)) => source["targetRevision"] = json!(name),
        // Flux's own default.
        None => source["targetRevision"] = json!("master"),
    }
    let path = text(object, "/spec/path");
    let path = path.trim_start_matches("./").trim_matches('/');
    if !path.is_empty() && path != "." {
        source["path"] = json!(path);
    }
    source
}

fn wave_timeout(object: &Object, spec: &mut Value, imported: &mut Imported) {
    match text(object, "/spec/timeout") {
        "" => {}
        timeout if duration(timeout).is_some() => {
            spec["syncPolicy"]["waveTimeout"] = timeout.into();
        }
        timeout => imported.warn(
            object,
            &format!("spec.timeout: {timeout} does not carry over"),
        ),
    }
}

fn service_account(object: &Object, into: &str, spec: &mut Value, imported: &mut Imported) {
    let account = text(object, "/spec/serviceAccountName");
    if account.is_empty() {
        return;
    }
    spec["serviceAccountName"] = json!(account);
    let own = object.namespace().unwrap_or_default();
    if own != into {
        let what = format!(
            "spec.serviceAccountName: {account} is looked for in the namespace {into}, not in {own}"
        );
        imported.warn(object, &what);
    }
}

fn dependencies(object: &Object, spec: &mut Value, imported: &mut Imported) {
    let needed = object.get("/spec/dependsOn").and_then(Value::as_array);
    let mut names = Vec::new();
    for need in needed.into_iter().flatten() {
        names.extend(need["name"].as_str().map(|name| json!({"name": name})));
        if need.get("readyExpr").is_some() {
            imported.warn(object, "spec.dependsOn.readyExpr does not carry over");
        }
    }
    if !names.is_empty() {
        spec["dependsOn"] = json!(names);
    }
}

fn text<'a>(object: &'a Object, pointer: &str) -> &'a str {
    let text = object.get(pointer).and_then(Value::as_str);
    text.unwrap_or_default()
}

fn flag(object: &Object, pointer: &str) -> bool {
    object.get(pointer) == Some(&Value::Bool(true))
}
