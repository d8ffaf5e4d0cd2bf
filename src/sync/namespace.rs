//! The destination namespace, where `CreateNamespace=true` asks for it.

use serde_json::json;

use super::Desired;
use super::preview::Preview;
use crate::cluster::{Cluster, Error, Mode, Served};
use crate::crd::{Application, NamespaceMetadata, SyncOptions};
use crate::object::{Kind, Object, ResourceKey};

/// A namespace that a sync sees to. As in Argo CD it is not tracked: it is never pruned and stays
/// when the Application goes, and several applications may share it.
#[derive(Clone, Debug)]
pub(crate) struct WantedNamespace<'a> {
    pub(crate) name: &'a str,
    pub(crate) metadata: Option<&'a NamespaceMetadata>,
}

/// The namespace that an application asks for; none when its manifests describe it themselves.
pub(crate) fn wanted_namespace<'a>(
    application: &'a Application,
    options: SyncOptions,
    desired: &Desired,
) -> Option<WantedNamespace<'a>> {
    let name = application.spec.destination.namespace.as_str();
    let described = desired
        .objects
        .contains_key(&ResourceKey::of_namespace(name));
    let policy = application.spec.sync_policy.as_ref();
    (options.create_namespace && !described).then(|| WantedNamespace {
        name,
        metadata: policy.and_then(|policy| policy.managed_namespace_metadata.as_ref()),
    })
}

impl WantedNamespace<'_> {
    pub(crate) fn kind() -> Kind {
        Kind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
        }
    }

    fn manifest(&self) -> Result<Object, Error> {
        let metadata = self.metadata.cloned().unwrap_or_default();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": self.name,
                "labels": metadata.labels, "annotations": metadata.annotations,
            },
        });
        Object::new(namespace).map_err(|error| Error::Unreadable {
            doing: format!(
                "make the manifest of {}",
                ResourceKey::of_namespace(self.name)
            ),
            reason: error.to_string(),
        })
    }

    async fn read(&self, cluster: &Cluster) -> Result<(Served, Option<Object>), Error> {
        let served = cluster.served(&Self::kind()).await?;
        let live = cluster
            .get(&served, &ResourceKey::of_namespace(self.name))
            .await?;
        Ok((served, live))
    }

    /// By merging, not by an apply: others give it labels as well, the manifests of another
    /// application among them, and an apply by the same manager would take those away.
    async fn write(
        &self,
        cluster: &Cluster,
        served: &Served,
        exists: bool,
        mode: Mode,
    ) -> Result<Object, Error> {
        let manifest = self.manifest()?;
        match cluster.merge(served, &manifest, exists, mode).await {
            // Another application was quicker.
            Err(error) if !exists && error.is_conflict() => {
                cluster.merge(served, &manifest, true, mode).await
            }
            written => written,
        }
    }

    /// Whether a live namespace has the labels and annotations that are asked for.
    fn holds(&self, live: &Object) -> bool {
        let wanted = self.metadata.cloned().unwrap_or_default();
        let labels = wanted.labels.iter();
        let annotations = wanted.annotations.iter();
        labels
            .map(|(name, value)| live.label(name) == Some(value))
            .chain(annotations.map(|(name, value)| live.annotation(name) == Some(value)))
            .all(|holds| holds)
    }

    /// Whether the namespace is there with all that is asked for.
    pub(crate) async fn is_held(&self, cluster: &Cluster) -> Result<bool, Error> {
        let (_, live) = self.read(cluster).await?;
        Ok(live.is_some_and(|live| self.holds(&live)))
    }

    /// Creates it when it is not there, and gives it the labels and annotations that it lacks.
    /// Says whether there was something to do.
    pub(crate) async fn ensure(&self, cluster: &Cluster, mode: Mode) -> Result<bool, Error> {
        let (served, live) = self.read(cluster).await?;
        if live.as_ref().is_some_and(|live| self.holds(live)) {
            return Ok(false);
        }
        self.write(cluster, &served, live.is_some(), mode).await?;
        Ok(true)
    }

    /// What a sync would make of it.
    pub(crate) async fn preview(&self, cluster: &Cluster) -> Preview {
        let asked = async {
            let (served, live) = self.read(cluster).await?;
            if live.as_ref().is_some_and(|live| self.holds(live)) {
                return Ok((live.clone(), live));
            }
            let exists = live.is_some();
            let desired = self.write(cluster, &served, exists, Mode::DryRun).await?;
            Ok::<_, Error>((live, Some(desired)))
        };
        let key = ResourceKey::of_namespace(self.name);
        match asked.await {
            Ok((live, desired)) => Preview {
                key,
                live,
                desired,
                error: None,
            },
            Err(error) => Preview {
                key,
                live: None,
                desired: None,
                error: Some(error.to_string()),
            },
        }
    }
}
