//! Somebody who may do everything, for the pages of the demo and of the pictures.

use anyhow::{Context, Result};
use serde_json::json;

use super::Cluster;

const ACCOUNTS: &str = "/api/v1/namespaces/trimtab/serviceaccounts";

/// Makes a ServiceAccount with every right.
pub(crate) async fn create(cluster: &Cluster, name: &str) -> Result<()> {
    let account = json!({"metadata": {"name": name}});
    cluster.create(ACCOUNTS, &account).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "trimtab"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.create(bindings, &binding).await.map(drop)
}

/// A token of an account for this audience.
pub(crate) async fn token(cluster: &Cluster, name: &str, audience: &str) -> Result<String> {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 3600},
    });
    let answer = cluster
        .create(&format!("{ACCOUNTS}/{name}/token"), &request)
        .await?;
    let token = answer["status"]["token"].as_str();
    Ok(token.context("a token")?.to_owned())
}
