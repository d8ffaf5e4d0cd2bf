//! The health of an application from that of its resources.

use super::application;
use crate::crd::{Health, HealthCode};
use crate::object::ResourceKey;

/// Resources that a message names; the others are counted.
const NAMED: usize = 3;

/// What counts of one managed resource. Hooks are not given at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Managed<'a> {
    pub(crate) key: &'a ResourceKey,
    /// Whether it exists in the cluster.
    pub(crate) live: bool,
    /// As [`super::assess`] judged it; none where no rule knows its kind.
    pub(crate) health: Option<&'a Health>,
    /// Whether its annotation `ignore-healthcheck` says "true".
    pub(crate) ignored: bool,
}

/// The worst of the resources, and which they are.
///
/// Guarantees: the same resources in any order give the same words. Caveats: a resource that is
/// missing makes an application OutOfSync, not unhealthy, unless all of them are missing. A child
/// Application that does not know its own health does not count, and the application's own
/// custom resource must not be given.
pub(crate) fn worst<'a>(resources: impl IntoIterator<Item = Managed<'a>>) -> Health {
    let mut code = HealthCode::Healthy;
    let mut causes: Vec<&ResourceKey> = Vec::new();
    let mut all = Vec::new();
    let mut any_live = false;
    for resource in resources {
        if resource.live && resource.ignored {
            continue;
        }
        all.push(resource.key);
        any_live |= resource.live;
        let Some(status) = counted(&resource) else {
            continue;
        };
        if status > code {
            code = status;
            causes.clear();
        }
        if status == code {
            causes.push(resource.key);
        }
    }
    if !all.is_empty() && !any_live {
        code = HealthCode::Missing;
        causes = all;
    }
    let message = match code {
        HealthCode::Healthy => String::new(),
        _ => name_some(causes),
    };
    Health::new(code, message)
}

fn counted(resource: &Managed<'_>) -> Option<HealthCode> {
    let status = resource.health.filter(|_| resource.live)?.status;
    let blind = matches!(status, HealthCode::Missing | HealthCode::Unknown)
        && application::is_application(&resource.key.group, &resource.key.kind);
    (!blind).then_some(status)
}

fn name_some(mut keys: Vec<&ResourceKey>) -> String {
    keys.sort_unstable();
    let named: Vec<_> = keys.iter().take(NAMED).map(ToString::to_string).collect();
    match keys.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        rest => format!("{} and {rest} more", named.join(", ")),
    }
}
