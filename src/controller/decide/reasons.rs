//! Why an application is OutOfSync where no row of an object says it: hooks that did not run to
//! their end for this desired state.

use crate::controller::state::State;
use crate::crd::{Application, HookPhase, HookResult, HookStatus, OperationPhase};
use crate::object::{duration_text, rfc3339};
use crate::plan::some_of;

/// The hooks that keep an application from being Synced, in words. A sync that runs says itself
/// what it is at.
pub(in crate::controller) fn pending_hooks(state: &State) -> Option<String> {
    let runs = |phase: OperationPhase| phase == OperationPhase::Running;
    let operation = state.operation.as_ref();
    let desired = state.desired.as_ref()?;
    if operation.is_some_and(|operation| runs(operation.phase)) {
        return None;
    }
    let mut texts = Vec::new();
    for hook in state.open_hooks_of(desired) {
        let mut name = hook.key.to_string();
        if hook.key.name.is_empty() {
            name.push_str(&hook.generate_name);
            name.push('*');
        }
        for phase in &hook.hook.phases {
            if *phase >= HookPhase::SyncFail {
                continue;
            }
            let result = state.hook_result(hook, *phase);
            texts.extend(match result.map(|result| (result.status, result)) {
                Some((HookStatus::Succeeded, _)) => None,
                Some((HookStatus::Failed, result)) => {
                    Some(format!("{phase} hook {name} failed: {}", result.message))
                }
                Some((HookStatus::Running, result)) => {
                    Some(left_running(result, &name, state.application.as_deref()))
                }
                None => Some(format!("{phase} hook {name} did not run yet")),
            });
        }
    }
    (!texts.is_empty()).then(|| some_of(&texts))
}

/// What is said of a hook that runs while no sync waits for it, as the one that started it gave up.
fn left_running(result: &HookResult, name: &str, application: Option<&Application>) -> String {
    let phase = result.phase;
    let since = result.began().map_or_else(String::new, |began| {
        format!(" was started at {}", rfc3339(began))
    });
    if result.uid.is_empty() {
        return format!(
            "{phase} hook {name}{since} as far as was noted, and its object was not seen yet; the \
             next sync makes sure of it"
        );
    }
    let why = match result.message.as_str() {
        "" => "no Event says why".to_owned(),
        why => format!("the last that Events said of it: {why}"),
    };
    let timeout = application.map(|application| application.spec.wave_timeout());
    let timeout = duration_text(timeout.unwrap_or_default());
    format!(
        "{phase} hook {name}{since}, did not end while its sync waited for it, and is not known to \
         have ended since ({why}); the next sync waits for it again, for {timeout} \
         (syncPolicy.waveTimeout), and runs it anew where its object was deleted"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::decide::{status::fold, view::View};
    use crate::crd::{
        ApplicationKey, ApplicationStatus, Operation, OperationState, SyncCode, SyncOptions, read,
    };
    use crate::diff::{Digest, Verdict};
    use crate::object::{Kind, Object, ResourceKey};
    use crate::plan::{Place, Role, role};
    use crate::sync::{Comparison, Desired, DesiredHook, DesiredObject};

    fn kind() -> Kind {
        Kind {
            group: "batch".into(),
            version: "v1".into(),
            kind: "Job".into(),
        }
    }

    fn hook(name: &str, phases: &str) -> DesiredHook {
        let object = Object::new(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "annotations": {"trimtab.dev/hook": phases}},
        }));
        let Role::Hook(hook) = role(&object.unwrap()) else {
            panic!("{phases} is a hook");
        };
        DesiredHook {
            key: ResourceKey {
                group: "batch".into(),
                kind: "Job".into(),
                namespace: "shop".into(),
                name: name.into(),
            },
            generate_name: String::new(),
            kind: kind(),
            wave: 0,
            hook,
        }
    }

    fn state(hooks: &[(&str, HookPhase, HookStatus)]) -> State {
        let desired = Desired {
            digest: "d".into(),
            hooks: vec![
                hook("migrate", "PreSync,PostSync"),
                hook("help", "SyncFail"),
            ],
            ..Desired::default()
        };
        let result = |(name, phase, status): &(&str, HookPhase, HookStatus)| HookResult {
            id: format!("batch/Job:shop/{name}"),
            phase: *phase,
            desired: "d".into(),
            status: *status,
            message: "exit code 1".into(),
            run: String::new(),
            uid: String::new(),
        };
        State {
            desired: Some(desired),
            hooks: hooks.iter().map(result).collect(),
            ..State::default()
        }
    }

    #[test]
    fn hooks_that_did_not_run_to_their_end_are_named() {
        use HookPhase::{PostSync, PreSync};
        use HookStatus::{Failed, Succeeded};
        let both = "PreSync hook Job/shop/migrate did not run yet; PostSync hook \
                    Job/shop/migrate did not run yet";
        for (hooks, expected) in [
            (vec![], Some(both)),
            (
                vec![
                    ("migrate", PreSync, Succeeded),
                    ("migrate", PostSync, Failed),
                ],
                Some("PostSync hook Job/shop/migrate failed: exit code 1"),
            ),
            (
                vec![
                    ("migrate", PreSync, Succeeded),
                    ("migrate", PostSync, Succeeded),
                ],
                None,
            ),
        ] {
            let seen = pending_hooks(&state(&hooks));
            assert_eq!(seen.as_deref(), expected, "{hooks:?}");
        }
        let mut late = state(&[("migrate", PreSync, HookStatus::Running)]);
        late.desired.as_mut().unwrap().hooks[0].hook.phases = vec![PreSync];
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "trimtab", "name": "shop"},
            "spec": {"syncPolicy": {"waveTimeout": "90s"}},
        });
        late.application = Some(Box::new(read(Object::new(object).unwrap())));
        let result = &mut late.hooks[0];
        result.message.clear();
        result.run = "d.1773144000000".to_owned();
        let unsure = pending_hooks(&late).unwrap();
        assert!(unsure.contains("its object was not seen yet"), "{unsure}");
        let result = &mut late.hooks[0];
        result.uid = "u".to_owned();
        result.message = "FailedCreate: no account".to_owned();
        let said = pending_hooks(&late).unwrap();
        for part in [
            "PreSync hook Job/shop/migrate was started at 2026-03-10T12:00:00Z",
            "FailedCreate: no account",
            "waits for it again, for 1m30s (syncPolicy.waveTimeout)",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let mut running = state(&[]);
        running.operation = Some(OperationState {
            phase: OperationPhase::Running,
            message: String::new(),
            started_at: String::new(),
            finished_at: None,
            operation: Operation::default(),
            sync_result: None,
            terminated_by: String::new(),
            retry_count: 0,
        });
        assert_eq!(pending_hooks(&running), None);
    }

    /// Each way to be OutOfSync has a row that says so, or a condition.
    #[test]
    fn out_of_sync_is_never_without_a_reason() {
        let key = |name: &str| ResourceKey::parse(&format!("/ConfigMap:shop/{name}")).unwrap();
        let other = ApplicationKey {
            namespace: "trimtab".into(),
            name: "other".into(),
        };
        let with = |change: &dyn Fn(&mut Comparison)| {
            let mut comparison = Comparison::default();
            comparison.verdicts.insert(key("a"), Verdict::Synced);
            change(&mut comparison);
            comparison
        };
        let differs = |verdict: Verdict| {
            move |comparison: &mut Comparison| {
                comparison.verdicts.insert(key("a"), verdict);
                comparison.drifted.push(key("a"));
            }
        };
        for (name, comparison) in [
            ("changed", with(&differs(Verdict::Changed))),
            ("drifted", with(&differs(Verdict::Suspect))),
            ("gone", with(&differs(Verdict::Missing))),
            ("stale", with(&|it| it.stale.push(key("b")))),
            (
                "shared",
                with(&|it| it.shared.push((key("a"), other.clone()))),
            ),
            ("namespace", with(&|it| it.namespace = Some(key("shop")))),
            ("hooks", with(&|it| it.hooks = 1)),
        ] {
            let mut state = state(&[]);
            let desired = state.desired.as_mut().unwrap();
            if name != "hooks" {
                desired.hooks.clear();
            }
            let object = DesiredObject {
                kind: kind(),
                digest: Digest::of(&json!(1)),
                ignores_health: false,
                place: Place::of_wave(HookPhase::Sync, 0),
                options: SyncOptions::default(),
            };
            desired.objects.insert(key("a"), object);
            let view = View {
                pending_hooks: pending_hooks(&state),
                desired: state.desired.as_ref(),
                comparison: Some(&comparison),
                ..View::default()
            };
            let status = fold(&ApplicationStatus::default(), view, |_| None, "1");
            assert_eq!(status.sync.status, SyncCode::OutOfSync, "{name}");
            let mut rows = status.resources.iter();
            let row = rows.any(|row| row.status == SyncCode::OutOfSync);
            let mut conditions = status.conditions.iter();
            let condition = conditions.any(|condition| condition.type_ == "HookPending");
            assert!(row || condition, "{name}");
            assert_eq!(condition, name == "hooks");
        }
    }
}
