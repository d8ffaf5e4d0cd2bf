//! Takes over the fields of the tool that kept an object before, right after our first apply.

use super::Execution;
use super::handing::handed_over;
use crate::cluster::{Error, Mode, Served};
use crate::crd::SyncOptions;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{OfKubectl, adopt as find};
use crate::object::Object;

/// How often it is tried when somebody writes to the object at the same time.
const ATTEMPTS: usize = 3;

/// How much of what kubectl set is taken over, by the options of the object.
pub(super) fn of_kubectl(options: SyncOptions) -> OfKubectl {
    if options.revert_kubectl {
        OfKubectl::All
    } else if options.keeps_kubectl {
        OfKubectl::Nothing
    } else {
        OfKubectl::Applied
    }
}

/// Given the answer to an apply, takes over what an earlier tool owned and applies again, so that
/// what nobody declares any more goes. Sends nothing where there is nothing to take over, and never
/// creates an object again.
pub(super) async fn adopt(
    execution: &Execution<'_>,
    served: &Served,
    manifest: &Object,
    answer: Object,
    of_kubectl: OfKubectl,
) -> Result<Object, Error> {
    let (cluster, owner) = (execution.cluster, execution.owner);
    let mut live = answer;
    for attempt in 1..=ATTEMPTS {
        let Some(mut adoption) = find(&live, FIELD_MANAGER, of_kubectl) else {
            return Ok(live);
        };
        // What the other tool set and nobody declares goes, but for what others go on with.
        let mut adopted = live.clone();
        let entries = adoption.entries().clone();
        adopted
            .metadata_mut()
            .insert("managedFields".into(), entries);
        if let Some(entries) = handed_over(execution, served, manifest, &adopted).await? {
            adoption.set_entries(entries);
        }
        let key = manifest.key();
        match cluster.patch_fields(served, &key, &adoption.patch).await {
            Ok(()) => {
                let managers = adoption.managers.join(", ");
                tracing::info!(app = %owner, %key, managers, "fields were taken over");
                live = cluster.apply(served, manifest, Mode::Write).await?;
            }
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                live = cluster.apply(served, manifest, Mode::Write).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(live)
}
