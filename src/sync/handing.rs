//! Sees to it that a field which leaves a manifest keeps its live value where an autoscaler or a
//! rule of `ignoreDifferences` goes on with it: another owner is written down before the apply that
//! gives it up.

use super::Execution;
use crate::cluster::{Error, Mode, Served};
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{Path, hand_over, observe};
use crate::object::{Kind, Object, ResourceKey};

/// How often it is tried when somebody writes to the object at the same time.
const ATTEMPTS: usize = 3;

/// Those that set how many replicas there are, with the versions that are asked for live ones.
const AUTOSCALERS: [(&str, &str, &str); 2] = [
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("keda.sh", "v1alpha1", "ScaledObject"),
];

/// What is sent instead of the manifest as it is rendered.
#[derive(Default)]
pub(super) struct Ready {
    /// What is applied, where it differs.
    pub(super) manifest: Option<Object>,
    /// What is written in place of the whole object, where that differs from what is applied.
    pub(super) whole: Option<Object>,
}

/// Makes a manifest ready for a live object: what is ignored takes the live value, and what leaves
/// the manifest and is claimed gets another owner. A dry run carries the live value instead.
///
/// Reads nothing unless something is ignored of the object, or a field that an autoscaler may want
/// is given up.
pub(super) async fn ready(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
    mode: Mode,
) -> Result<Ready, Error> {
    let key = manifest.key();
    let ignored = execution.ignore.of(&key);
    let gives_up = may_give_up_scale(execution, &key, manifest);
    if ignored.is_none() && !gives_up {
        return Ok(Ready::default());
    }
    let mut ready = Ready::default();
    let mut attempt = 1;
    let scaled = match gives_up {
        true => scaled_path(execution, served, &key).await?,
        false => None,
    };
    loop {
        let Some(live) = execution.cluster.get(served, &key).await? else {
            return Ok(Ready::default());
        };
        let mut claims: Vec<Path> = scaled.iter().cloned().collect();
        if let Some(ignored) = &ignored {
            // Also for what is taken over only now: a watch shows what carries our label.
            let mut changed = manifest.clone();
            ignored.respect(&mut changed, &live);
            claims.extend(ignored.claims_to_leave(&changed, &live));
            ready.manifest = Some(changed);
        }
        let sent = ready.manifest.as_ref().unwrap_or(manifest);
        let Some(handover) = hand_over(&live, FIELD_MANAGER, sent, &claims) else {
            return Ok(ready);
        };
        let carried = handover.carried(sent, &live);
        if mode == Mode::DryRun {
            ready.manifest = Some(carried);
            return Ok(ready);
        }
        let patch = handover.patch(&live);
        match execution.cluster.patch_fields(served, &key, &patch).await {
            Ok(()) => {
                let fields = handover.fields.join(", ");
                tracing::info!(app = %execution.owner, %key, fields, "left to others as they are");
                ready.whole = Some(carried);
                return Ok(ready);
            }
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The managed fields with another owner for what would be given up by the next apply of a
/// manifest, given how they are to be before it; none where nothing is.
pub(super) async fn handed_over(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
    live: &Object,
) -> Result<Option<Vec<serde_json::Value>>, Error> {
    let key = manifest.key();
    let usual = observe(live, FIELD_MANAGER).replicas && manifest.get("/spec/replicas").is_none();
    let elsewhere = builtin_path(&key).is_none() && is_target(execution, &key);
    let mut claims: Vec<Path> = Vec::new();
    if usual || elsewhere {
        claims.extend(scaled_path(execution, served, &key).await?);
    }
    if let Some(ignored) = execution.ignore.of(&key) {
        claims.extend(ignored.claims_to_leave(manifest, live));
    }
    Ok(hand_over(live, FIELD_MANAGER, manifest, &claims).map(|it| it.entries))
}

/// Whether an apply may take the number of replicas away, as far as it is known without asking.
fn may_give_up_scale(execution: &Execution<'_>, key: &ResourceKey, manifest: &Object) -> bool {
    let leaves = execution.scaled.contains(key) && manifest.get("/spec/replicas").is_none();
    // A kind of one's own may keep the number elsewhere: there only reading it tells.
    let elsewhere = || {
        builtin_path(key).is_none() && execution.seen.contains_key(key) && is_target(execution, key)
    };
    leaves || elsewhere()
}

/// The field that says how many replicas there are, where an autoscaler sets it: one of the same
/// source, else one that is live in the namespace.
async fn scaled_path(
    execution: &Execution<'_>,
    served: &Served,
    key: &ResourceKey,
) -> Result<Option<Path>, Error> {
    if !is_target(execution, key) && !is_live_target(execution, key).await? {
        return Ok(None);
    }
    if let Some(path) = builtin_path(key) {
        return Ok(Some(path));
    }
    let kind = Kind {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
    };
    let name = ResourceKey {
        group: kind.group.clone(),
        kind: kind.kind.clone(),
        namespace: String::new(),
        name: format!("{}.{}", served.plural, key.group),
    };
    let definition = match execution.manifests.objects.get(&name) {
        Some(definition) => Some(definition.clone()),
        // An account that may not read definitions is taken to mean the usual field.
        None => allowed(execution.cluster.find(&kind, &name).await)?.flatten(),
    };
    let path = definition.and_then(|it| path_of_definition(&it, &served.kind.version));
    Ok(Some(path.unwrap_or_else(usual_path)))
}

fn usual_path() -> Path {
    vec!["spec".to_owned(), "replicas".to_owned()]
}

/// Whether a kind that Kubernetes brings along has a number of replicas.
pub(crate) fn is_scalable(key: &ResourceKey) -> bool {
    builtin_path(key).is_some()
}

/// Where the kinds that Kubernetes brings along keep the number of replicas.
fn builtin_path(key: &ResourceKey) -> Option<Path> {
    let kinds = ["Deployment", "StatefulSet", "ReplicaSet"];
    let scales = (key.group == "apps" && kinds.contains(&key.kind.as_str()))
        || (key.group.is_empty() && key.kind == "ReplicationController");
    scales.then(usual_path)
}

/// Where a definition says that its kind keeps the number of replicas.
fn path_of_definition(definition: &Object, version: &str) -> Option<Path> {
    let versions = definition.get("/spec/versions")?.as_array()?;
    let version = versions.iter().find(|it| it["name"] == version)?;
    let path = version["subresources"]["scale"]["specReplicasPath"].as_str()?;
    Some(
        path.strip_prefix('.')?
            .split('.')
            .map(str::to_owned)
            .collect(),
    )
}

/// Whether an autoscaler of the same source scales an object.
fn is_target(execution: &Execution<'_>, key: &ResourceKey) -> bool {
    AUTOSCALERS.iter().any(|(group, _, kind)| {
        let first = ResourceKey {
            group: (*group).to_owned(),
            kind: (*kind).to_owned(),
            namespace: key.namespace.clone(),
            name: String::new(),
        };
        let all = execution.desired.objects.range(&first..);
        let same = all.map(|(key, _)| key).take_while(|it| {
            it.group == first.group && it.kind == first.kind && it.namespace == first.namespace
        });
        let mut manifests = same.filter_map(|it| execution.manifests.objects.get(it));
        manifests.any(|it| scales(it, key))
    })
}

async fn is_live_target(execution: &Execution<'_>, key: &ResourceKey) -> Result<bool, Error> {
    for (group, version, kind) in AUTOSCALERS {
        let kind = Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        };
        let served = match execution.cluster.served(&kind).await {
            Ok(served) => served,
            Err(Error::UnknownKind(_)) => continue,
            Err(error) => return Err(error),
        };
        let listed = execution.cluster.list(&served, &key.namespace, "").await;
        let Some(listed) = allowed(listed)? else {
            tracing::warn!(
                app = %execution.owner, %key,
                "the account may not list {}: whether one scales it is not known", kind.kind
            );
            continue;
        };
        if listed.iter().any(|it| scales(it, key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// None where the account of the application may not ask.
fn allowed<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::Api { code: 403, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an autoscaler scales this object.
fn scales(autoscaler: &Object, key: &ResourceKey) -> bool {
    let Some(target) = autoscaler.get("/spec/scaleTargetRef") else {
        return false;
    };
    // KEDA takes a Deployment where nothing else is said.
    let text = |field: &str, default: &'static str| {
        let text = target[field].as_str().filter(|text| !text.is_empty());
        text.unwrap_or(default).to_owned()
    };
    let version = text("apiVersion", "apps/v1");
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    autoscaler.namespace().unwrap_or_default() == key.namespace
        && group == key.group
        && text("kind", "Deployment") == key.kind
        && target["name"] == key.name.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn autoscaler(kind: &str, target: Value) -> Object {
        Object::new(json!({
            "apiVersion": "a/v1", "kind": kind, "metadata": {"namespace": "shop", "name": "a"},
            "spec": {"scaleTargetRef": target},
        }))
        .unwrap()
    }

    #[test]
    fn what_an_autoscaler_scales() {
        let web = "apps/Deployment:shop/web";
        for (target, key, expected) in [
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}),
                web,
                true,
            ),
            (json!({"name": "web"}), web, true),
            (json!({"name": "other"}), web, false),
            (json!({"name": "web"}), "apps/Deployment:other/web", false),
            (json!({"kind": "StatefulSet", "name": "web"}), web, false),
            (
                json!({"kind": "StatefulSet", "name": "web"}),
                "apps/StatefulSet:shop/web",
                true,
            ),
            (
                json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "web"}),
                "/ReplicationController:shop/web",
                true,
            ),
            (
                json!({"apiVersion": "db.example/v1", "kind": "Base", "name": "web"}),
                "db.example/Base:shop/web",
                true,
            ),
            (Value::Null, web, false),
        ] {
            let key = ResourceKey::parse(key).unwrap();
            let found = scales(&autoscaler("ScaledObject", target.clone()), &key);
            assert_eq!(found, expected, "{target} {key}");
        }
    }

    #[test]
    fn a_definition_says_where_the_number_is() {
        let definition = |scale: Value| {
            Object::new(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "spec": {"versions": [{"name": "v1", "subresources": {"scale": scale}}]},
            }))
            .unwrap()
        };
        let own = definition(json!({"specReplicasPath": ".spec.pool.size"}));
        let path = path_of_definition(&own, "v1").unwrap();
        assert_eq!(path, ["spec", "pool", "size"]);
        assert_eq!(path_of_definition(&own, "v2"), None);
        assert_eq!(path_of_definition(&definition(Value::Null), "v1"), None);
    }
}
