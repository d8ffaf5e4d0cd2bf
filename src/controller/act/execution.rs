//! What one step of a sync hands to the engine.

use std::collections::{HashMap, HashSet};

use crate::controller::{
    context::Hands,
    observe::live::look_up,
    state::{State, sync_run::Running},
};
use crate::object::ResourceKey;
use crate::sync::{Applied, Execution, Lookup, is_scalable, wanted_namespace};

/// What is to be applied, when there are manifests for it.
pub(in crate::controller) fn execution<'a>(
    hands: &'a Hands<'_>,
    state: &'a State,
    keys: &[ResourceKey],
) -> Option<Execution<'a>> {
    let (mut seen, mut scaled) = (HashMap::new(), HashSet::new());
    for key in keys {
        let live = match look_up(hands.context, state, hands.application, key) {
            Lookup::Found(live) => live,
            // It was applied before, and is not known again yet.
            Lookup::Unknown if is_scalable(key) && state.baselines.contains_key(key) => {
                scaled.insert(key.clone());
                continue;
            }
            Lookup::Unknown | Lookup::Absent => continue,
        };
        if live.observation.replicas {
            scaled.insert(key.clone());
        }
        seen.insert(key.clone(), live.observation.resource_version);
    }
    let desired = state.desired.as_ref()?;
    let running = state.running.as_ref();
    let namespace = running
        .and_then(|running| {
            wanted_namespace(
                hands.application,
                running.options(hands.application),
                desired,
            )
        })
        .map(|wanted| wanted.name);
    Some(Execution {
        owner: &hands.application.key,
        cluster: &hands.cluster,
        desired,
        manifests: hands.manifests.as_ref()?,
        ignore: &hands.ignore,
        options: running.map_or(&[], |running| running.sync.sync_options.as_slice()),
        seen,
        scaled,
        namespace,
        applied: Some(Applied {
            application: hands.application,
            baselines: &state.baselines,
            stored: &state.stored,
            bundle: state
                .written
                .history
                .last()
                .map_or("", |last| last.bundle.as_str()),
        }),
        gone: running.map_or_else(Vec::new, Running::gone),
    })
}
