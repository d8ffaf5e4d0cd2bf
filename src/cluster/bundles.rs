//! Secrets that hold rendered bundles. Only Secrets of one type are ever touched here.

use http::{HeaderValue, Method, header::ACCEPT};
use serde_json::{Value, json};

use super::objects::request;
use super::{Cluster, Error, Served};
use crate::crd::names::FIELD_MANAGER;
use crate::object::{Kind, Object};
use crate::telemetry::KubeVerb;

/// What is read of each Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Whole,
    /// Only the metadata.
    Names,
}

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

impl Cluster {
    /// The Secrets of a type in a namespace that a label selector chooses.
    pub(crate) async fn secrets(
        &self,
        namespace: &str,
        type_: &str,
        selector: &str,
        content: Content,
    ) -> Result<Vec<Object>, Error> {
        let served = self.served(&secret_kind()).await?;
        let doing = format!("list the rendered bundles in {namespace}");
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", selector)
            .append_pair("fieldSelector", &format!("type={type_}"))
            .finish();
        let url = format!("{}?{query}", served.path(namespace));
        let mut request = request(Method::GET, &url, "", &Value::Null)?;
        if content == Content::Names {
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
        }
        let client = self.client.clone();
        let sent = async move { client.request::<Value>(request).await };
        let mut list = self
            .counted(KubeVerb::Bundle, doing.clone(), true, sent)
            .await?;
        let Value::Array(items) = list["items"].take() else {
            return Ok(Vec::new());
        };
        let objects = items.into_iter().map(|mut item| {
            // Items of a list carry no kind of their own.
            item["apiVersion"] = "v1".into();
            item["kind"] = "Secret".into();
            Object::new(item).map_err(|error| Error::Unreadable {
                doing: doing.clone(),
                reason: error.to_string(),
            })
        });
        objects.collect()
    }

    /// Writes a Secret that holds a part of a bundle.
    pub(crate) async fn write_secret(&self, secret: &Object) -> Result<(), Error> {
        let served = self.served(&secret_kind()).await?;
        let key = secret.key();
        let url = format!(
            "{}?fieldManager={FIELD_MANAGER}&force=true",
            served.object_path(&key)
        );
        let request = request(Method::PATCH, &url, "application/apply-patch+yaml", secret)?;
        let client = self.client.clone();
        let sent = async move { client.request::<Value>(request).await };
        self.counted(KubeVerb::Bundle, format!("write {key}"), true, sent)
            .await
            .map(drop)
    }

    /// Deletes a Secret that was read before, when it is still the same.
    pub(crate) async fn delete_secret(&self, secret: &Object) -> Result<(), Error> {
        let served: Served = self.served(&secret_kind()).await?;
        let key = secret.key();
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": secret.uid()},
        });
        let url = served.object_path(&key);
        let request = request(Method::DELETE, &url, "application/json", &options)?;
        let client = self.client.clone();
        let sent = async move { client.request::<Value>(request).await };
        let deleted = self.counted(KubeVerb::Bundle, format!("delete {key}"), true, sent);
        match deleted.await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn secret_kind() -> Kind {
    Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Secret".to_owned(),
    }
}
