//! A sync that a person or a pipeline asks for begins with the newest commit: the source is asked
//! once for each, whatever the last poll or push said. Repairing drift asks nobody.

use std::time::Instant;

use crate::cluster::Error as ClusterError;
use crate::controller::{
    Context,
    act::{requests, rollback},
    state::{State, asked::Asked},
};
use crate::crd::{Application, Operation};
use crate::plan::Reason;
use crate::trigger::{Cause, Revision};

/// Asks the source for the newest commit when a sync is to begin that somebody asked for. Where it
/// cannot be read, the sync is refused: what it would apply is not known to be the newest.
pub(in crate::controller) async fn take_up(
    context: &Context,
    state: &mut State,
    application: &mut Application,
) -> Result<(), ClusterError> {
    let Some(request) = application.operation.clone() else {
        state.asked = None;
        return Ok(());
    };
    let running = state.running.as_ref().map(|running| running.reason);
    if !reads_source(&request)
        || rollback::is_begun(state, &request)
        // It waits for the end of another one, and is asked about then.
        || running == Some(Reason::Operation)
    {
        return Ok(());
    }
    let known = state
        .asked
        .as_ref()
        .filter(|asked| asked.request.is_same(&request));
    let outcome = match known {
        Some(known) => known.outcome.clone(),
        None => {
            let asked = ask(context, state, application).await;
            // Another revision is fetched by its own name, whatever became of the one followed.
            asked.or_else(|why| {
                if names_revision(&request) {
                    Ok(())
                } else {
                    Err(why)
                }
            })
        }
    };
    state.asked = Some(Box::new(Asked {
        request,
        outcome: outcome.clone(),
    }));
    if let Err(why) = outcome {
        requests::refuse_next(context, state, application, &why).await?;
        application.operation = None;
    }
    Ok(())
}

/// Whether a sync that is asked for may begin as far as the source is concerned.
pub(in crate::controller) fn is_known(state: &State, request: &Operation) -> bool {
    let asked = state.asked.as_ref();
    !reads_source(request) || asked.is_some_and(|asked| asked.request.is_same(request))
}

/// A way back needs no source, and neither does the end of a sync.
fn reads_source(request: &Operation) -> bool {
    request.sync.is_some() && request.rollback.is_none() && !request.terminate
}

fn names_revision(request: &Operation) -> bool {
    let sync = request.sync.as_ref();
    sync.is_some_and(|sync| !sync.revision.is_empty())
}

async fn ask(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), String> {
    let source = application.spec.source.as_ref();
    let wanted = source.map(|source| source.target_revision.clone());
    let received = Instant::now();
    let key = &application.key;
    let fetched = (context.fetch)(key.clone(), wanted.unwrap_or_default()).await;
    if fetched.is_err() || state.source_error.is_some() {
        // The condition says so as well, or does no more.
        context.sources.refresh(key, Cause::Poll);
    }
    let commit_id = fetched.map_err(|why| {
        format!(
            "the source cannot be read: {why}. Nothing was changed; `trimtab rollback` to a \
             deployment of the history needs no source"
        )
    })?;
    let known = state.revision.as_ref();
    if known.is_none_or(|known| known.commit_id != commit_id) {
        tracing::info!(app = %key, revision = commit_id, "a sync was asked for and found a newer commit");
        state.retry_now();
        state.render_now();
        state.revision = Some(Revision {
            commit_id,
            cause: Cause::Manual,
            received,
            fetched: Instant::now(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{RollbackOperation, SyncOperation};

    #[test]
    fn only_a_sync_asks_the_source_and_each_does() {
        let sync = |user: &str| Operation {
            sync: Some(SyncOperation::default()),
            initiated_by: Some(crate::crd::InitiatedBy {
                username: user.to_owned(),
                automated: false,
            }),
            ..Operation::default()
        };
        let back = Operation {
            rollback: Some(RollbackOperation::default()),
            ..sync("ann")
        };
        let ends = Operation {
            terminate: true,
            ..sync("ann")
        };
        for (request, reads) in [
            (sync("ann"), true),
            (back, false),
            (ends, false),
            (Operation::default(), false),
        ] {
            assert_eq!(reads_source(&request), reads, "{request:?}");
            assert_eq!(is_known(&State::default(), &request), !reads, "{request:?}");
        }
        let asked = Asked {
            request: sync("ann"),
            outcome: Ok(()),
        };
        let state = State {
            asked: Some(Box::new(asked)),
            ..State::default()
        };
        assert!(is_known(&state, &sync("ann")));
        assert!(!is_known(&state, &sync("ben")));
    }
}
