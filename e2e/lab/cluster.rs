//! The cluster as a test sees it: JSON in, JSON out.

use std::path::Path;

use anyhow::{Context, Result};
use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

/// A connection as cluster administrator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster(Client);

impl Cluster {
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    pub(crate) fn client(&self) -> Client {
        self.0.clone()
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(self
            .0
            .request_text(Request::get(path).body(Vec::new())?)
            .await?)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, "", &Value::Null).await
    }

    /// None when it is not there.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self
            .0
            .request::<Value>(Request::get(path).body(Vec::new())?)
            .await
        {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, "application/json", object)
            .await
    }

    pub(crate) async fn replace(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::PUT, path, "application/json", object)
            .await
    }

    /// A JSON merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch)
            .await
    }

    /// Server-side apply under a name.
    pub(crate) async fn apply(&self, path: &str, manager: &str, object: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object)
            .await
    }

    /// What an apply would come to.
    pub(crate) async fn apply_dry(
        &self,
        path: &str,
        manager: &str,
        object: &Value,
    ) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}&force=true&dryRun=All");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object)
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, "", &Value::Null).await
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        let mut bytes = Vec::new();
        if !kind.is_empty() {
            request = request.header("content-type", kind);
            bytes = serde_json::to_vec(body)?;
        }
        self.0
            .request(request.body(bytes)?)
            .await
            .with_context(|| format!("{method} {path}"))
    }
}
