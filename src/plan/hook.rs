//! What a manifest is in a sync: an ordinary object, a hook, or nothing at all.

use serde::{Deserialize, Serialize};

use crate::crd::HookPhase;
use crate::crd::names::{HOOK, HOOK_DELETE_POLICY, SYNC_WAVE, annotation};
use crate::object::Object;

/// What a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Compared and applied.
    Resource,
    /// Runs at certain points of a sync and is not compared.
    Hook(Hook),
    /// Neither applied nor compared: `hook: Skip`, Helm's tests, or hooks that nobody knows.
    Left,
}

/// When a hook runs and when its object goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    /// In order, without repetition; never empty.
    pub(crate) phases: Vec<HookPhase>,
    pub(crate) before_creation: bool,
    pub(crate) when_succeeded: bool,
    pub(crate) when_failed: bool,
}

/// Tells what a manifest is by its annotations, with Argo CD's rules: any value of `hook` makes
/// it a hook; Helm's annotation counts when no value is one that Argo CD knows.
pub(crate) fn role(object: &Object) -> Role {
    let argo = annotation(object, HOOK);
    let helm = object.annotation("helm.sh/hook");
    let mut phases = Vec::new();
    let mut skips = false;
    for word in words(argo) {
        match word {
            "PreSync" => phases.push(HookPhase::PreSync),
            "Sync" => phases.push(HookPhase::Sync),
            "PostSync" => phases.push(HookPhase::PostSync),
            "SyncFail" => phases.push(HookPhase::SyncFail),
            "PreDelete" => phases.push(HookPhase::PreDelete),
            "PostDelete" => phases.push(HookPhase::PostDelete),
            "Skip" => skips = true,
            _ => {}
        }
    }
    let mut is_definition = false;
    if phases.is_empty() && !skips {
        for word in words(helm) {
            match word {
                "pre-install" | "pre-upgrade" => phases.push(HookPhase::PreSync),
                "post-install" | "post-upgrade" => phases.push(HookPhase::PostSync),
                "pre-delete" => phases.push(HookPhase::PreDelete),
                "post-delete" => phases.push(HookPhase::PostDelete),
                // Helm 2's way to install a definition first: an ordinary object here.
                "crd-install" => is_definition = true,
                _ => {}
            }
        }
    }
    phases.sort_unstable();
    phases.dedup();
    if !phases.is_empty() {
        return Role::Hook(deletion(object, phases));
    }
    if is_definition || (argo.is_none() && helm.is_none()) {
        return Role::Resource;
    }
    Role::Left
}

/// Argo CD's and Helm's delete policies add up; `BeforeHookCreation` when none is given.
fn deletion(object: &Object, phases: Vec<HookPhase>) -> Hook {
    let mut hook = Hook {
        phases,
        ..Hook::default()
    };
    let argo = words(annotation(object, HOOK_DELETE_POLICY));
    for word in argo.chain(words(object.annotation("helm.sh/hook-delete-policy"))) {
        match word {
            "BeforeHookCreation" | "before-hook-creation" => hook.before_creation = true,
            "HookSucceeded" | "hook-succeeded" => hook.when_succeeded = true,
            "HookFailed" | "hook-failed" => hook.when_failed = true,
            _ => {}
        }
    }
    if !hook.when_succeeded && !hook.when_failed {
        hook.before_creation = true;
    }
    hook
}

/// The wave of an object: `sync-wave`, else Helm's hook weight, else 0. What is no number is 0, as
/// in Argo CD.
pub(crate) fn wave(object: &Object) -> i32 {
    let number = |text: Option<&str>| text?.trim().parse().ok();
    number(annotation(object, SYNC_WAVE))
        .or_else(|| number(object.annotation("helm.sh/hook-weight")))
        .unwrap_or(0)
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use HookPhase::{PostDelete, PostSync, PreDelete, PreSync, Sync, SyncFail};
    use serde_json::json;

    use super::*;

    fn object(annotations: &serde_json::Value) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn roles() {
        let argo = |value: &str| json!({"argocd.argoproj.io/hook": value});
        let helm = |value: &str| json!({"helm.sh/hook": value});
        let both = |argo: &str, helm: &str| json!({"trimtab.dev/hook": argo, "helm.sh/hook": helm});
        for (annotations, expected) in [
            (json!({}), None),
            (argo("PreSync"), Some(vec![PreSync])),
            (
                argo(" PostSync, PreSync,PreSync"),
                Some(vec![PreSync, PostSync]),
            ),
            (argo("SyncFail,Sync"), Some(vec![Sync, SyncFail])),
            (
                argo("PreDelete,PostDelete"),
                Some(vec![PreDelete, PostDelete]),
            ),
            (argo("Skip"), Some(vec![])),
            (argo("Skip,Sync"), Some(vec![Sync])),
            (argo("nonsense"), Some(vec![])),
            (helm("pre-install,pre-upgrade"), Some(vec![PreSync])),
            (helm("post-upgrade"), Some(vec![PostSync])),
            (
                helm("pre-delete,post-delete"),
                Some(vec![PreDelete, PostDelete]),
            ),
            (helm("test"), Some(vec![])),
            (helm("pre-rollback"), Some(vec![])),
            (helm("crd-install"), None),
            (both("PostSync", "pre-install"), Some(vec![PostSync])),
            (both("nonsense", "pre-install"), Some(vec![PreSync])),
            (both("Skip", "pre-install"), Some(vec![])),
        ] {
            let found = role(&object(&annotations));
            match expected {
                None => assert_eq!(found, Role::Resource, "{annotations}"),
                Some(phases) if phases.is_empty() => assert_eq!(found, Role::Left, "{annotations}"),
                Some(phases) => match found {
                    Role::Hook(hook) => assert_eq!(hook.phases, phases, "{annotations}"),
                    other => panic!("{annotations}: {other:?}"),
                },
            }
        }
    }

    #[test]
    fn delete_policies_add_up() {
        let check = |argo: &str, helm: &str, expected: [bool; 3]| {
            let found = deletion(
                &object(&json!({
                    "argocd.argoproj.io/hook-delete-policy": argo,
                    "helm.sh/hook-delete-policy": helm,
                })),
                vec![Sync],
            );
            let found = [
                found.before_creation,
                found.when_succeeded,
                found.when_failed,
            ];
            assert_eq!(found, expected, "{argo} {helm}");
        };
        check("", "", [true, false, false]);
        check("nonsense", "", [true, false, false]);
        check("HookSucceeded", "", [false, true, false]);
        check("HookSucceeded", "hook-failed", [false, true, true]);
        check("BeforeHookCreation,HookSucceeded", "", [true, true, false]);
        check("", "before-hook-creation", [true, false, false]);
    }

    #[test]
    fn waves() {
        for (annotations, expected) in [
            (json!({}), 0),
            (json!({"argocd.argoproj.io/sync-wave": "-5"}), -5),
            (
                json!({"argocd.argoproj.io/sync-wave": "5", "trimtab.dev/sync-wave": "6"}),
                6,
            ),
            (json!({"helm.sh/hook-weight": "3"}), 3),
            (
                json!({"argocd.argoproj.io/sync-wave": "1", "helm.sh/hook-weight": "3"}),
                1,
            ),
            (
                json!({"argocd.argoproj.io/sync-wave": "soon", "helm.sh/hook-weight": "3"}),
                3,
            ),
            (json!({"argocd.argoproj.io/sync-wave": "99999999999"}), 0),
        ] {
            assert_eq!(wave(&object(&annotations)), expected, "{annotations}");
        }
    }
}
