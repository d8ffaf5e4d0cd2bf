//! Events of a namespace, as far as they may be read.

use crate::cluster::Cluster;
use crate::object::{Kind, Object};

/// Events of a namespace: as the application's account, or as the agent where that may not list
/// them. What neither may read stays unsaid.
pub(in crate::controller) async fn of_namespace(
    clusters: [&Cluster; 2],
    namespace: &str,
    fields: &str,
) -> Vec<Object> {
    let kind = Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Event".to_owned(),
    };
    for cluster in clusters {
        let Ok(served) = cluster.served(&kind).await else {
            continue;
        };
        match cluster.list(&served, namespace, fields).await {
            Ok(events) => return events,
            Err(error) => tracing::debug!(%namespace, %error, "no Events"),
        }
    }
    Vec::new()
}
