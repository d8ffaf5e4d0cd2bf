//! Applies a manifest that whoever writes whole objects gets through with, and an apply does not:
//! without what the API server itself would overlook. Costs nothing where nothing is refused.

use crate::cluster::{Cluster, Error, Mode, Served};
use crate::diff::{without_nulls, without_repeated};
use crate::object::Object;

/// How often something is left out: one refusal may hide the next.
const ROUNDS: usize = 8;

/// What came of an apply after a refusal.
pub(super) struct Again {
    pub(super) answer: Result<Object, Error>,
    /// What was sent instead, where something was left out.
    pub(super) manifest: Option<Object>,
}

/// Applies an object, without what stands in the way where it is refused.
pub(crate) async fn apply(
    cluster: &Cluster,
    served: &Served,
    manifest: &Object,
    mode: Mode,
) -> Result<Object, Error> {
    match cluster.apply(served, manifest, mode).await {
        Err(error) => again(cluster, served, manifest, mode, error).await.answer,
        answer => answer,
    }
}

/// Goes on after a refused apply: leaves out what it was refused for, if that is among what may be
/// left out, and applies again.
pub(super) async fn again(
    cluster: &Cluster,
    served: &Served,
    manifest: &Object,
    mode: Mode,
    error: Error,
) -> Again {
    let mut error = error;
    let mut sent: Option<Object> = None;
    let mut asked = false;
    for _ in 0..ROUNDS {
        let Some(refusal) = error.refusal() else {
            break;
        };
        let now = sent.as_ref().unwrap_or(manifest);
        let corrected = match without_repeated(now, refusal) {
            Some(corrected) => {
                if !asked && let Some(fault) = fault_of_repeated(cluster, served, now).await {
                    error = fault;
                    break;
                }
                asked = true;
                corrected
            }
            None => match without_nulls(now, refusal) {
                Some(corrected) => corrected,
                None => break,
            },
        };
        let answer = cluster.apply(served, &corrected, mode).await;
        sent = Some(corrected);
        match answer {
            Err(more) => error = more,
            Ok(answer) => {
                return Again {
                    answer: Ok(answer),
                    manifest: sent,
                };
            }
        }
    }
    Again {
        answer: Err(error),
        manifest: sent,
    }
}

/// Why items that are there twice are a fault of the manifest: two containers of one name are, two
/// variables of one name are not. Only the API server knows, as what it says to a new object. One of
/// that name may be there already: it says so last.
async fn fault_of_repeated(cluster: &Cluster, served: &Served, manifest: &Object) -> Option<Error> {
    let asked = cluster.merge(served, manifest, false, Mode::DryRun).await;
    let error = asked.err()?;
    let causes = &error.refusal()?.causes;
    let repeated = causes
        .iter()
        .any(|cause| cause.reason == "FieldValueDuplicate");
    repeated.then_some(error)
}
