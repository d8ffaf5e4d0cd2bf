//! The manifests of the target, which are kept only from a render to the sync that follows it.

use crate::controller::{Context, state::State};
use crate::crd::Application;
use crate::sync::{Manifests, Source, desire, manifests_of, recall};

/// Finds the manifests of the desired state: on disk, or by rendering again.
pub(in crate::controller) async fn find(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<Manifests, String> {
    if let Some(manifests) = state.manifests.take() {
        return Ok(manifests);
    }
    let Some(desired) = &state.desired else {
        return Err("there is no desired state yet".to_owned());
    };
    let kept = manifests_of(&context.engine, application, desired).await;
    match kept {
        Ok(Some(manifests)) => return Ok(manifests),
        Ok(None) => {}
        Err(error) => return Err(error.to_string()),
    }
    let (digest, commit_id) = (desired.digest.clone(), desired.commit_id.clone());
    let deployed = state.written.history.iter().any(|it| it.bundle == digest);
    let pinned = state.pin.as_ref().is_some_and(|pin| pin.bundle == digest);
    if deployed || pinned {
        let recalled = recall(&context.engine, application, &digest, &commit_id).await;
        if let Ok(Some((_, manifests))) = recalled {
            return Ok(manifests);
        }
    }
    let Some(mirror) = (context.mirror_of)(&application.key) else {
        return Err("the manifests are not at hand: the repository was not read yet".to_owned());
    };
    let source = Source {
        mirror: &mirror,
        commit_id: &desired.commit_id,
    };
    let rendered = desire(&context.engine, application, &source).await;
    rendered
        .map(|(_, manifests)| manifests)
        .map_err(|error| error.to_string())
}
