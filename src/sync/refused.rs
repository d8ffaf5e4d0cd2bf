//! What is done when the API server refuses an object that is there: what stands in the way is
//! taken over, or the object is deleted and created again where it asks for that; else the error
//! says what a person may do.

use super::Execution;
use super::accepted::apply;
use super::adopt::{adopt, of_kubectl};
use super::delete::delete_until_gone;
use crate::cluster::{Cluster, Error, Mode, Served};
use crate::crd::SyncOptions;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{By, Refusal, overlaid, repair, retyped};
use crate::object::Object;

/// How often a repair is planned: another fault may show when one is gone, and others may write
/// to the object meanwhile.
const ROUNDS: usize = 4;

/// Kinds that hold data or other objects: they are created again only when they ask for it
/// themselves.
pub(super) const PRECIOUS: [&str; 5] = [
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Namespace",
    "CustomResourceDefinition",
    "StatefulSet",
];

const REPLACE: &str = "Fields of others stand in the way: the sync option Replace=true on the \
                       object, or `trimtab sync --replace`, writes it whole";
const FORCE: &str = "This can never change in place: the sync option Force=true on the object, or \
                     `trimtab sync --force`, deletes it and creates it again";
const BY_NAME: &str = "This can never change in place: only the sync option Force=true on the \
                       object itself deletes it with what it holds and creates it again";

/// Deleting the definition would delete all its objects, and is not needed.
const MIGRATE: &str = "Objects may still be stored in the version that left the definition. Keep \
                       it there, not served, until each object was written once more (`kubectl get \
                       -A -o yaml` into `kubectl replace -f -`) and it is taken out of \
                       status.storedVersions (`kubectl patch --subresource=status`); then remove \
                       it. Do not delete the definition: its objects would go with it";

/// What is written, and how.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) execution: &'a Execution<'a>,
    pub(super) served: &'a Served,
    pub(super) manifest: &'a Object,
    pub(super) options: SyncOptions,
    pub(super) mode: Mode,
}

/// Goes on after a refusal. A question and a write come to the same end, so that the question
/// before the first write forbids nothing that would work.
pub(super) async fn go_on(attempt: Attempt<'_>, error: Error) -> Result<Object, Error> {
    let Some(refusal) = error.refusal() else {
        return Err(error);
    };
    if attempt.manifest.kind() == "CustomResourceDefinition" && refusal.keeps_stored_version() {
        return Err(Error::Stuck {
            error: Box::new(error),
            remedy: MIGRATE,
        });
    }
    let (cluster, options) = (attempt.execution.cluster, attempt.options);
    let repairable = matches!(refusal.by(), By::Validation | By::Ownership);
    let forced = options.force && may_lie_in_the_change(refusal);
    if !repairable && !forced {
        return Err(error);
    }
    let live = match cluster.get(attempt.served, &attempt.manifest.key()).await {
        Ok(Some(live)) if !live.is_terminating() => live,
        _ => return Err(error),
    };
    if let Some(patch) = retyped(&live, attempt.manifest, refusal) {
        return retype(attempt, &patch).await;
    }
    if repairable
        && !options.replace
        && let Some(answer) = mend(attempt, &live, refusal).await?
    {
        return Ok(answer);
    }
    let lives_on = refusal.is_about_live_types();
    let known = refusal.code == 422 && refusal.by() == By::Validation || lives_on;
    if !forced && !known || !fits_as_new(attempt, &live).await {
        return Err(error);
    }
    let precious = PRECIOUS.contains(&attempt.manifest.kind()) && !options.force_by_name;
    if forced && !precious {
        return create_again(attempt, &live).await;
    }
    let version = live.resource_version();
    let replaced = cluster.replace(attempt.served, attempt.manifest, version, Mode::DryRun);
    let remedy = match options.replace || replaced.await.is_err() {
        false => REPLACE,
        true if lives_on => return Err(error),
        true if precious => BY_NAME,
        true => FORCE,
    };
    Err(Error::Stuck {
        error: Box::new(error),
        remedy,
    })
}

/// Gives fields that are live as another type the values of the manifest, and applies again.
async fn retype(attempt: Attempt<'_>, patch: &serde_json::Value) -> Result<Object, Error> {
    let Attempt {
        execution,
        served,
        manifest,
        mode,
        ..
    } = attempt;
    let (cluster, key) = (execution.cluster, manifest.key());
    let answer = cluster.set_fields(served, &key, patch, mode).await?;
    if mode == Mode::DryRun {
        return Ok(overlaid(&answer, manifest));
    }
    tracing::info!(app = %execution.owner, %key, "fields got the type that their kind has now");
    cluster.apply(served, manifest, Mode::Write).await
}

/// Whether a new object may be taken where the change is not. Policies that say no with another
/// code than for an invalid object, and a quota that is used up, say nothing about the change.
fn may_lie_in_the_change(refusal: &Refusal) -> bool {
    match refusal.by() {
        By::Validation => matches!(refusal.code, 400 | 422),
        By::Policy => refusal.code == 422,
        By::Admission => !refusal.says("quota") && !refusal.says("being terminated"),
        _ => false,
    }
}

/// Takes over what stands in the way and applies again; none when nothing explains the refusal, or
/// what would come of it is refused too.
async fn mend(
    attempt: Attempt<'_>,
    live: &Object,
    refusal: &Refusal,
) -> Result<Option<Object>, Error> {
    let Attempt {
        execution,
        served,
        manifest,
        ..
    } = attempt;
    let (cluster, key) = (execution.cluster, manifest.key());
    let mut refusals = vec![refusal.clone()];
    let mut live = live.clone();
    for _ in 0..ROUNDS {
        let Some(plan) = repair(&live, manifest, &refusals, FIELD_MANAGER) else {
            return Ok(None);
        };
        let predicted = match cluster.ask_patch(served, &key, &plan.content).await {
            Ok(predicted) => predicted,
            Err(error) => match error.refusal() {
                Some(more) if !refusals.contains(more) => {
                    refusals.push(more.clone());
                    continue;
                }
                _ => return Ok(None),
            },
        };
        if attempt.mode == Mode::DryRun {
            return Ok(Some(predicted));
        }
        match cluster.patch_fields(served, &key, &plan.ownership).await {
            Ok(()) => {
                let (app, dropped) = (execution.owner, plan.dropped.join(", "));
                tracing::info!(%app, %key, dropped, "what stood in the way was taken over");
                let answer = cluster.apply(served, manifest, Mode::Write).await?;
                let kubectl = of_kubectl(attempt.options);
                let adopted = adopt(execution, served, manifest, answer, kubectl).await?;
                return Ok(Some(adopted));
            }
            // Somebody wrote meanwhile.
            Err(error) if error.is_conflict() => match cluster.get(served, &key).await? {
                Some(now) => live = now,
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Deletes an object and creates it again, if it would be taken as a new one: an object is not
/// deleted for a manifest that is wrong anyway.
pub(super) async fn create_again_if_it_fits(
    attempt: Attempt<'_>,
    live: Object,
) -> Result<Object, Error> {
    let precious = PRECIOUS.contains(&attempt.manifest.kind()) && !attempt.options.force_by_name;
    match !precious && fits_as_new(attempt, &live).await {
        true => create_again(attempt, &live).await,
        false => Ok(live),
    }
}

async fn create_again(attempt: Attempt<'_>, live: &Object) -> Result<Object, Error> {
    let Attempt {
        execution,
        served,
        manifest,
        ..
    } = attempt;
    if attempt.mode == Mode::DryRun {
        return Ok(manifest.clone());
    }
    let (cluster, key) = (execution.cluster, manifest.key());
    tracing::info!(app = %execution.owner, %key, "deleted and created again, as Force=true asks");
    delete_until_gone(cluster, served, &key, execution.owner).await?;
    let created = cluster.apply(served, manifest, Mode::Write).await;
    if created.is_err() {
        // Better the old one than none.
        let restored = apply(cluster, served, &as_it_was(live), Mode::Write).await;
        if let Err(error) = restored {
            tracing::warn!(app = %execution.owner, %key, %error, "the old one did not come back");
        }
    }
    created
}

/// A live object as a manifest of its own.
fn as_it_was(live: &Object) -> Object {
    let mut object = live.clone();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
    ] {
        object.metadata_mut().remove(field);
    }
    object.fields_mut().remove("status");
    object
}

/// Asks what would come of the manifest if it were new.
pub(super) async fn as_new(
    cluster: &Cluster,
    served: &Served,
    manifest: &Object,
    live: &Object,
) -> Result<Object, Error> {
    let new = under_another_name(manifest, live);
    apply(cluster, served, &new, Mode::DryRun).await
}

/// Asks whether the manifest would be taken if it were new.
async fn fits_as_new(attempt: Attempt<'_>, live: &Object) -> bool {
    let cluster = attempt.execution.cluster;
    let asked = as_new(cluster, attempt.served, attempt.manifest, live);
    match asked.await {
        Ok(_) => true,
        // The old one is counted as long as it is there.
        Err(error) => error
            .refusal()
            .is_some_and(|refusal| refusal.says("exceeded quota")),
    }
}

/// The manifest as that of another object, without what only one object at a time may have and the
/// live one has.
fn under_another_name(manifest: &Object, live: &Object) -> Object {
    const MARK: &str = "trimtab-check";
    let mut new = manifest.clone();
    let short: String = manifest.name().chars().take(36).collect();
    let name = match manifest.kind() {
        "CustomResourceDefinition" => {
            let spec = new.fields_mut().get_mut("spec");
            if let Some(plural) = spec.and_then(|spec| spec.pointer_mut("/names/plural")) {
                let named = plural.as_str().unwrap_or_default();
                *plural = format!("{MARK}-{named}").into();
            }
            format!("{MARK}-{}", manifest.name())
        }
        _ => format!("{}-{MARK}", short.trim_end_matches(['-', '.'])),
    };
    new.metadata_mut().insert("name".to_owned(), name.into());
    match manifest.kind() {
        "Service" => free_addresses(&mut new, live),
        "PriorityClass" => drop(new.fields_mut().remove("globalDefault")),
        _ => {}
    }
    new
}

/// Addresses and ports of a Service that its deletion frees.
fn free_addresses(new: &mut Object, live: &Object) {
    let had = live.get("/spec").cloned().unwrap_or_default();
    let Some(spec) = new.fields_mut().get_mut("spec") else {
        return;
    };
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    if spec.get("clusterIP") == had.get("clusterIP") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if spec.get("healthCheckNodePort") == had.get("healthCheckNodePort") {
        spec.remove("healthCheckNodePort");
    }
    let taken: Vec<_> = had["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| port["nodePort"].clone())
        .collect();
    let ports = spec
        .get_mut("ports")
        .and_then(serde_json::Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if let Some(port) = port.as_object_mut()
            && port.get("nodePort").is_some_and(|it| taken.contains(it))
        {
            port.remove("nodePort");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, name: &str, spec: Value) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn what_only_one_may_have_is_no_fault_of_the_new_one() {
        let check = |manifest: &Object, live: &Object, name: &str, spec: &Value| {
            let new = under_another_name(manifest, live);
            assert_eq!(new.name(), name);
            assert_eq!(new.get("/spec"), Some(spec));
        };
        let ports = json!({"clusterIP": "10.0.0.7", "ports": [{"port": 80, "nodePort": 30080}]});
        let live = object("Service", "web", ports.clone());
        let freed = json!({"ports": [{"port": 80}]});
        check(
            &object("Service", "web", ports),
            &live,
            "web-trimtab-check",
            &freed,
        );
        let other = json!({"clusterIP": "None", "ports": [{"port": 80, "nodePort": 30081}]});
        let wanted = object("Service", "web", other.clone());
        check(&wanted, &live, "web-trimtab-check", &other);
        let long = object("CronJob", &"a-".repeat(26), json!({}));
        assert!(under_another_name(&long, &live).name().len() <= 52);
        let definition = json!({"names": {"plural": "gates"}});
        let definition = object("CustomResourceDefinition", "gates.a.io", definition);
        let renamed = json!({"names": {"plural": "trimtab-check-gates"}});
        check(&definition, &live, "trimtab-check-gates.a.io", &renamed);
    }

    #[test]
    fn only_what_may_lie_in_the_change_is_forced() {
        for (code, text, expected) in [
            (422, "field is immutable", true),
            (
                422,
                "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                true,
            ),
            (403, "admission webhook \"w\" denied the request: no", false),
            (403, "only dynamically provisioned pvc can be resized", true),
            (403, "exceeded quota: few", false),
            (403, "because it is being terminated", false),
            (403, "a is forbidden: User \"u\" cannot patch", false),
            (409, "conflict", false),
            (404, "not found", false),
            (500, "etcd leader changed", false),
        ] {
            let refusal = Refusal::new(code, text, []);
            assert_eq!(may_lie_in_the_change(&refusal), expected, "{text}");
        }
    }
}
