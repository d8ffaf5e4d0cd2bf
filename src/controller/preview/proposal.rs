//! What an Application that is not stored yet would make: its source is read, rendered and
//! compared, and all of it is forgotten again.

use std::sync::Arc;

use crate::controller::{
    Context, Registry,
    preview::{Inspection, Unavailable, inspect, turn},
};
use crate::crd::{Application, ApplicationKey};
use crate::sync::{Source, desire};
use crate::trigger::Following;

/// Follows a source for one look. No Application can have its name.
struct Visit {
    context: Arc<Context>,
    application: Application,
}

impl Visit {
    fn begin(context: Arc<Context>, mut application: Application) -> Self {
        let key = &application.key;
        application.key = ApplicationKey {
            namespace: key.namespace.clone(),
            name: format!("{}/preview/{}", key.name, application.uid),
        };
        let source = application.spec.source.clone().unwrap_or_default();
        let following = Following {
            repo_url: source.repo_url,
            target_revision: source.target_revision,
        };
        context.sources.follow(&application.key, following);
        Self {
            context,
            application,
        }
    }

    /// The commit that its revision is at now.
    async fn commit(&self) -> Result<String, Unavailable> {
        let source = self.application.spec.source.as_ref();
        let revision = source.map(|source| source.target_revision.clone());
        let revision = revision.unwrap_or_default();
        (self.context.fetch)(self.application.key.clone(), revision)
            .await
            .map_err(Unavailable::Other)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.context.sources.forget(&self.application.key);
        self.context.engine.bundles.remove(&self.application.uid);
    }
}

impl Registry {
    /// Compares what an Application would desire with what is live. `application` is as the API
    /// server would store it, with a uid.
    pub(crate) async fn propose(
        &self,
        application: &Application,
    ) -> Result<Inspection, Unavailable> {
        let key = &application.key;
        let unknown = || Unavailable::Application(key.clone());
        let context = self.context().ok_or_else(unknown)?;
        let refusals = context.projects.refusals(application, []);
        if !refusals.is_empty() {
            return Err(Unavailable::Other(refusals.join("; ")));
        }
        let _turn = turn().await;
        let visit = Visit::begin(Arc::clone(&context), application.clone());
        let commit_id = visit.commit().await?;
        let mirror = (context.mirror_of)(&visit.application.key).ok_or_else(unknown)?;
        let source = Source {
            mirror: &mirror,
            commit_id: &commit_id,
        };
        let rendered = desire(&context.engine, application, &source).await;
        let other = |error: crate::sync::Error| Unavailable::Other(error.to_string());
        let (desired, manifests) = rendered.map_err(other)?;
        let keys = desired.objects.keys();
        let hooks = desired.hooks.iter().map(|hook| &hook.key);
        let refusals = context.projects.refusals(application, keys.chain(hooks));
        if !refusals.is_empty() {
            return Err(Unavailable::Other(refusals.join("; ")));
        }
        inspect(&context, application, &(desired, manifests), true, |_| true).await
    }
}
