//! Reading and patching Applications: the agent's and the command line's door to them.

use http::Method;
use serde_json::{Value, json};

use super::objects::request;
use super::{Cluster, Error, Served};
use crate::crd::names::{KIND, PLURAL, REFRESH, VERSION, annotation_names};
use crate::crd::{Application, ApplicationKey, Operation, read};
use crate::object::{Kind, Object, ResourceKey};
use crate::telemetry::KubeVerb;

/// The Applications of one API group.
#[derive(Clone)]
pub(crate) struct Applications {
    cluster: Cluster,
    served: Served,
    /// Whether the status has an endpoint of its own. Argo CD's definition has none.
    status_subresource: bool,
}

impl Applications {
    pub(crate) fn new(cluster: Cluster, group: &str, status_subresource: bool) -> Self {
        let kind = Kind {
            group: group.to_owned(),
            version: VERSION.to_owned(),
            kind: KIND.to_owned(),
        };
        let served = Served {
            kind,
            plural: PLURAL.to_owned(),
            namespaced: true,
            watchable: true,
        };
        Self {
            cluster,
            served,
            status_subresource,
        }
    }

    /// How Applications are served, for a watch.
    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    /// All Applications of a namespace, or of all namespaces.
    pub(crate) async fn list(
        &self,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Application>, Error> {
        let mut url = self.served.path(namespace.unwrap_or_default());
        if let Some(selector) = selector {
            let encoded: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
            url = format!("{url}?labelSelector={encoded}");
        }
        let request = request(Method::GET, &url, "", &Value::Null)?;
        let client = self.cluster.client();
        let sent = async move { client.request::<Value>(request).await };
        let doing = "list Applications".to_owned();
        let mut list = self
            .cluster
            .counted(KubeVerb::List, doing, false, sent)
            .await?;
        let items = list.get_mut("items").map(Value::take).unwrap_or_default();
        let Value::Array(items) = items else {
            return Ok(Vec::new());
        };
        Ok(items
            .into_iter()
            .filter_map(|item| self.read(item))
            .collect())
    }

    pub(crate) async fn get(&self, key: &ApplicationKey) -> Result<Application, Error> {
        let url = self.served.object_path(&self.resource_key(key));
        let request = request(Method::GET, &url, "", &Value::Null)?;
        let client = self.cluster.client();
        let sent = async move { client.request::<Value>(request).await };
        let doing = format!("read Application {key}");
        let value = self
            .cluster
            .counted(KubeVerb::Get, doing.clone(), false, sent)
            .await?;
        self.read(value).ok_or_else(|| Error::Unreachable {
            doing,
            message: "no object came".to_owned(),
        })
    }

    /// Writes a JSON merge patch (RFC 7386) of status fields.
    pub(crate) async fn patch_status(
        &self,
        key: &ApplicationKey,
        status: &Value,
    ) -> Result<Application, Error> {
        let subresource = if self.status_subresource {
            "/status"
        } else {
            ""
        };
        let doing = format!("write the status of Application {key}");
        self.patch(key, subresource, doing, &json!({"status": status}))
            .await
    }

    /// Takes the request to act off the Application, once it was taken up.
    pub(crate) async fn clear_operation(&self, key: &ApplicationKey) -> Result<Application, Error> {
        let doing = format!("take up the operation of Application {key}");
        self.patch(key, "", doing, &json!({"operation": null}))
            .await
    }

    /// Asks for a sync. The API server keeps one request at a time; a newer one replaces it.
    pub(crate) async fn request_operation(
        &self,
        key: &ApplicationKey,
        operation: &Operation,
    ) -> Result<Application, Error> {
        let doing = format!("ask for a sync of Application {key}");
        self.patch(key, "", doing, &json!({"operation": operation}))
            .await
    }

    /// Asks for a look at the source.
    pub(crate) async fn request_refresh(
        &self,
        key: &ApplicationKey,
        kind: &str,
    ) -> Result<Application, Error> {
        let [ours, _] = annotation_names(REFRESH);
        let doing = format!("ask for a refresh of Application {key}");
        self.patch(
            key,
            "",
            doing,
            &json!({"metadata": {"annotations": {ours: kind}}}),
        )
        .await
    }

    /// Takes the request to look at the source off the Application.
    pub(crate) async fn clear_refresh(&self, key: &ApplicationKey) -> Result<Application, Error> {
        let [ours, argo] = annotation_names(REFRESH);
        let doing = format!("take up the refresh of Application {key}");
        let patch = json!({"metadata": {"annotations": {ours: null, argo: null}}});
        self.patch(key, "", doing, &patch).await
    }

    /// Replaces the finalizers; refused by the API server when somebody wrote in between.
    pub(crate) async fn set_finalizers(
        &self,
        application: &Application,
        finalizers: &[String],
    ) -> Result<Application, Error> {
        let key = &application.key;
        let doing = format!("remove the finalizer of Application {key}");
        let metadata = json!({
            "finalizers": finalizers, "resourceVersion": application.resource_version,
        });
        self.patch(key, "", doing, &json!({"metadata": metadata}))
            .await
    }

    async fn patch(
        &self,
        key: &ApplicationKey,
        subresource: &str,
        doing: String,
        patch: &Value,
    ) -> Result<Application, Error> {
        let url = format!(
            "{}{subresource}",
            self.served.object_path(&self.resource_key(key))
        );
        let request = request(Method::PATCH, &url, "application/merge-patch+json", patch)?;
        let client = self.cluster.client();
        let sent = async move { client.request::<Value>(request).await };
        let value = self
            .cluster
            .counted(KubeVerb::Status, doing.clone(), false, sent)
            .await?;
        self.read(value).ok_or_else(|| Error::Unreachable {
            doing,
            message: "no object came".to_owned(),
        })
    }

    fn resource_key(&self, key: &ApplicationKey) -> ResourceKey {
        ResourceKey {
            group: self.served.kind.group.clone(),
            kind: KIND.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }

    /// Items of a list carry no kind of their own.
    fn read(&self, mut value: Value) -> Option<Application> {
        let map = value.as_object_mut()?;
        map.entry("apiVersion")
            .or_insert_with(|| self.served.kind.api_version().into());
        map.entry("kind").or_insert_with(|| KIND.into());
        Object::new(value).ok().map(read)
    }
}
