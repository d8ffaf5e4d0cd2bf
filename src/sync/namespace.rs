//! The destination namespace, where `CreateNamespace=true` asks for it.

use serde_json::json;

use crate::cluster::{Cluster, Error, Mode};
use crate::crd::NamespaceMetadata;
use crate::object::{Kind, Object, ResourceKey};

/// The key of a namespace.
pub(crate) fn namespace_key(name: &str) -> ResourceKey {
    ResourceKey {
        group: String::new(),
        kind: "Namespace".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Creates a namespace when it is not there, and keeps the labels and annotations that are asked
/// for. As in Argo CD it is not tracked: it is never pruned and stays when the Application goes.
pub(crate) async fn ensure_namespace(
    cluster: &Cluster,
    name: &str,
    metadata: Option<&NamespaceMetadata>,
) -> Result<(), Error> {
    let key = namespace_key(name);
    let kind = Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: key.kind.clone(),
    };
    let served = cluster.served(&kind).await?;
    let live = cluster.get(&served, &key).await?;
    let wanted = metadata.cloned().unwrap_or_default();
    let holds = |live: &Object| {
        let labels = wanted.labels.iter();
        let annotations = wanted.annotations.iter();
        labels
            .map(|(name, value)| live.label(name) == Some(value))
            .chain(annotations.map(|(name, value)| live.annotation(name) == Some(value)))
            .all(|holds| holds)
    };
    if live.as_ref().is_some_and(holds) {
        return Ok(());
    }
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": wanted.labels, "annotations": wanted.annotations},
    });
    let namespace = Object::new(namespace).map_err(|error| Error::Unreadable {
        doing: format!("make the manifest of {key}"),
        reason: error.to_string(),
    })?;
    cluster
        .apply(&served, &namespace, Mode::Write)
        .await
        .map(drop)
}
