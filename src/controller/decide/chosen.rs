//! The objects that a sync is about, where the request names some: what is named and does not belong
//! to the application.

use crate::controller::state::{State, sync_run::Running};
use crate::crd::{ResourceSelector, SyncOperation};
use crate::object::ResourceKey;
use crate::plan::some_of;
use crate::sync::Comparison;

/// Why a sync is not begun: nothing that it names belongs to the application.
pub(in crate::controller) fn refusal(
    state: &State,
    sync: &SyncOperation,
    comparison: &Comparison,
) -> Option<String> {
    let namespace = comparison.namespace.as_slice();
    let unknown = unknown(state, sync, namespace);
    let none = !unknown.is_empty() && unknown.len() == sync.resources.len();
    none.then(|| {
        let named = in_words(state, &unknown);
        format!("none of the given resources belongs to the application: {named}")
    })
}

/// What of the names that a sync was given belongs to nothing, in words; none where all do.
pub(in crate::controller) fn left_over(state: &State, running: &Running) -> Option<String> {
    // What it pruned is in its rows only.
    let rows = running.rows.iter().chain(&running.namespace);
    let done: Vec<_> = rows.map(|row| row.key()).collect();
    let unknown = unknown(state, &running.sync, &done);
    (!unknown.is_empty()).then(|| {
        let named = in_words(state, &unknown);
        format!("not all of the given resources belong to the application: {named}")
    })
}

/// The names that are of no object which is desired, in the inventory, or among `others`.
fn unknown<'a>(
    state: &State,
    sync: &'a SyncOperation,
    others: &[ResourceKey],
) -> Vec<&'a ResourceSelector> {
    let held = state.inventory.iter().filter(|(_, held)| !held.hook);
    let desired = state.desired.iter().flat_map(|it| it.objects.keys());
    let known = desired.chain(held.map(|(key, _)| key)).chain(others);
    let mut wanted: Vec<_> = sync.resources.iter().collect();
    for key in known {
        if wanted.is_empty() {
            break;
        }
        wanted.retain(|selector| !selector.selects(key));
    }
    wanted
}

/// `apps:Deployment:shop/web`, as it is named on the command line.
fn in_words(state: &State, selectors: &[&ResourceSelector]) -> String {
    let hooks: Vec<_> = state.desired.iter().flat_map(|it| &it.hooks).collect();
    let texts = selectors.iter().map(|selector| {
        let is_hook = hooks.iter().any(|hook| selector.selects(&hook.key));
        match is_hook {
            true => format!("{selector} is a hook, which only a whole sync runs"),
            false => selector.to_string(),
        }
    });
    some_of(&texts.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::{Kind, Object};
    use crate::plan::{Reason, Role, role};
    use crate::sync::{Desired, DesiredHook};

    fn hook() -> DesiredHook {
        let object = Object::new(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "migrate", "annotations": {"trimtab.dev/hook": "PreSync"}},
        }));
        let Role::Hook(hook) = role(&object.unwrap()) else {
            panic!("it is a hook");
        };
        DesiredHook {
            key: ResourceKey::parse("batch/Job:shop/migrate").unwrap(),
            generate_name: String::new(),
            kind: Kind {
                group: "batch".into(),
                version: "v1".into(),
                kind: "Job".into(),
            },
            wave: 0,
            hook,
        }
    }

    #[test]
    fn names_that_are_of_nothing_are_told() {
        let mut state = State::default();
        let held = crate::controller::state::Held {
            kind: Kind {
                group: String::new(),
                version: "v1".into(),
                kind: "ConfigMap".into(),
            },
            wave: 0,
            last: false,
            hook: false,
            ended: None,
            counted: false,
        };
        let stale = ResourceKey::parse("/ConfigMap:shop/stale").unwrap();
        state.inventory.insert(stale, held);
        state.desired = Some(Desired {
            hooks: vec![hook()],
            ..Desired::default()
        });
        let sync = |names: &[(&str, &str, &str)]| SyncOperation {
            resources: names
                .iter()
                .map(|(group, kind, name)| ResourceSelector {
                    group: (*group).to_owned(),
                    kind: (*kind).to_owned(),
                    name: (*name).to_owned(),
                    ..ResourceSelector::default()
                })
                .collect(),
            ..SyncOperation::default()
        };
        let (known, unknown) = (("", "ConfigMap", "stale"), ("apps", "Deployment", "web"));
        let none = "none of the given resources belongs to the application: ";
        let some = "not all of the given resources belong to the application: ";
        let job = "batch:Job:migrate is a hook, which only a whole sync runs";
        for (names, refused, left) in [
            (vec![], None, None),
            (vec![known], None, None),
            (vec![("*", "*", "*")], None, None),
            (vec![known, unknown], None, Some("apps:Deployment:web")),
            (
                vec![unknown],
                Some("apps:Deployment:web"),
                Some("apps:Deployment:web"),
            ),
            (vec![("batch", "Job", "migrate")], Some(job), Some(job)),
        ] {
            let sync = sync(&names);
            let why = refusal(&state, &sync, &Comparison::default());
            assert_eq!(
                why,
                refused.map(|text| format!("{none}{text}")),
                "{names:?}"
            );
            let running = Running::new(Reason::Operation, sync, String::new());
            let rest = left_over(&state, &running);
            assert_eq!(rest, left.map(|text| format!("{some}{text}")), "{names:?}");
        }
    }
}
