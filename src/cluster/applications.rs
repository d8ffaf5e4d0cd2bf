//! Applications on the API server: read, watch, ask for something, write the status.

use std::fmt;

use futures::{Stream, StreamExt};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use super::{Error, bounded};
use crate::crd::{Application, ApplicationKey, Operation, names, read};
use crate::object::Object;

/// Applications of one list request.
const PAGE: u32 = 500;
/// How often a request is placed again when the Application changed in between.
const ATTEMPTS: usize = 5;

/// The Applications of one API group.
#[derive(Clone)]
pub(crate) struct Applications {
    client: Client,
    resource: ApiResource,
    /// Whether the definition has a status subresource; Argo CD's has none, and there the status
    /// is a field like any other.
    status_subresource: bool,
}

impl fmt::Debug for Applications {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Applications({})", self.resource_name())
    }
}

impl Applications {
    /// Applications of a group. Nothing is asked: the definition is taken to be ours.
    pub(crate) fn new(client: Client, group: &str) -> Self {
        let kind = GroupVersionKind::gvk(group, names::VERSION, names::KIND);
        Self {
            client,
            resource: ApiResource::from_gvk_with_plural(&kind, names::PLURAL),
            status_subresource: true,
        }
    }

    /// As [`Applications::new`], after asking whether the cluster has the definition and whether
    /// that has a status subresource.
    pub(crate) async fn discover(client: Client, group: &str) -> Result<Self, Error> {
        let mut applications = Self::new(client, group);
        let doing = format!("look up {}", applications.resource_name());
        let api_version = applications.resource.api_version.clone();
        let call = applications.client.list_api_group_resources(&api_version);
        let listed = match bounded(&doing, call).await {
            Ok(listed) => listed.resources,
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let has = |name: &str| listed.iter().any(|resource| resource.name == name);
        if !has(names::PLURAL) {
            return Err(applications.no_definition(doing));
        }
        applications.status_subresource = has(&format!("{}/status", names::PLURAL));
        Ok(applications)
    }

    /// What the watches and events need to know about the kind.
    pub(crate) fn resource(&self) -> &ApiResource {
        &self.resource
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `applications.<group>`, as errors and RBAC say it.
    pub(crate) fn resource_name(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }

    /// Applications of one namespace or of all, by namespace and name.
    pub(crate) async fn list(
        &self,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Application>, Error> {
        let objects = self.list_objects(namespace, selector).await?;
        Ok(objects.into_iter().map(read).collect())
    }

    /// As [`Applications::list`], but the objects as they are stored, without managed fields.
    pub(crate) async fn list_objects(
        &self,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Object>, Error> {
        let doing = match namespace {
            Some(namespace) => format!("list {} in namespace {namespace}", self.resource_name()),
            None => format!("list {}", self.resource_name()),
        };
        let api = self.api(namespace);
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = selector.map(str::to_owned);
        let mut objects = Vec::new();
        loop {
            let page = match bounded(&doing, api.list(&params)).await {
                Err(Error::NotFound { doing }) => return Err(self.no_definition(doing)),
                page => page?,
            };
            for object in page.items {
                objects.push(self.object(&doing, object)?);
            }
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params.continue_token = Some(token),
                _ => return Ok(objects),
            }
        }
    }

    pub(crate) async fn get(&self, key: &ApplicationKey) -> Result<Application, Error> {
        self.get_object(key).await.map(read)
    }

    /// As [`Applications::get`], but the object as it is stored, without managed fields.
    pub(crate) async fn get_object(&self, key: &ApplicationKey) -> Result<Object, Error> {
        let doing = format!("read application {key}");
        let api = self.api(Some(&key.namespace));
        let object = bounded(&doing, api.get(&key.name)).await?;
        self.object(&doing, object)
    }

    /// The Application whenever it changed, from now on and beginning with now; none while it does
    /// not exist. After an error the stream goes on by itself, with growing pauses.
    pub(crate) fn watch(
        &self,
        key: &ApplicationKey,
    ) -> impl Stream<Item = Result<Option<Object>, Error>> + Send + Unpin + use<> {
        let doing = format!("watch application {key}");
        let api = self.api(Some(&key.namespace));
        let this = self.clone();
        watcher::watch_object(api, &key.name)
            .default_backoff()
            .map(move |seen| match seen {
                Ok(Some(object)) => this.object(&doing, object).map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(watch_error(&doing, error)),
            })
            .boxed()
    }

    /// Every Application that exists, then every change (`true`) and deletion (`false`).
    pub(crate) fn watch_all(
        &self,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> impl Stream<Item = Result<(bool, Object), Error>> + Send + Unpin + use<> {
        let doing = format!("watch {}", self.resource_name());
        let config = watcher::Config {
            label_selector: selector.map(str::to_owned),
            ..watcher::Config::default()
        };
        let this = self.clone();
        watcher(self.api(namespace), config)
            .default_backoff()
            .filter_map(move |event| {
                let seen = match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                        Some(this.object(&doing, object).map(|object| (true, object)))
                    }
                    Ok(watcher::Event::Delete(object)) => {
                        Some(this.object(&doing, object).map(|object| (false, object)))
                    }
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                    Err(error) => Some(Err(watch_error(&doing, error))),
                };
                futures::future::ready(seen)
            })
            .boxed()
    }

    /// Asks for an operation; refused while another one waits. Returns the Application as it is
    /// stored with the request in it.
    pub(crate) async fn request_operation(
        &self,
        key: &ApplicationKey,
        operation: &Operation,
    ) -> Result<Object, Error> {
        let doing = format!("request the operation on application {key}");
        let operation = serde_json::to_value(operation).map_err(|error| Error::Unreadable {
            doing: doing.clone(),
            reason: error.to_string(),
        })?;
        let mut attempt = 1;
        loop {
            let application = self.get(key).await?;
            // An unreadable one waits as well, so the field itself is looked at.
            if let Some(pending) = application
                .object
                .get("/operation")
                .filter(|it| !it.is_null())
            {
                let by = pending["initiatedBy"]["username"].as_str();
                return Err(Error::OperationPending {
                    doing,
                    by: by.unwrap_or("somebody").to_owned(),
                });
            }
            let patch = json!({
                "metadata": {"resourceVersion": application.resource_version},
                "operation": operation,
            });
            match self.patch_object(key, &doing, &patch).await {
                Err(Error::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    /// Takes the request away once it was taken up. `resource_version` keeps a newer request.
    pub(crate) async fn clear_operation(
        &self,
        key: &ApplicationKey,
        resource_version: Option<&str>,
    ) -> Result<Application, Error> {
        let doing = format!("clear the operation of application {key}");
        let patch = guarded(json!({"operation": null}), resource_version);
        self.patch(key, &doing, &patch).await
    }

    /// Asks for a comparison with a source that is read anew; `hard` renders anew as well. Returns
    /// the Application as it is stored.
    pub(crate) async fn request_refresh(
        &self,
        key: &ApplicationKey,
        hard: bool,
    ) -> Result<Object, Error> {
        let doing = format!("request a refresh of application {key}");
        let [name, _] = names::annotation_names(names::REFRESH);
        let value = if hard { "hard" } else { "normal" };
        let patch = json!({"metadata": {"annotations": {name: value}}});
        self.patch_object(key, &doing, &patch).await
    }

    /// Takes the request to refresh away, in both spellings.
    pub(crate) async fn clear_refresh(
        &self,
        key: &ApplicationKey,
        resource_version: Option<&str>,
    ) -> Result<Application, Error> {
        let doing = format!("clear the refresh request of application {key}");
        let [ours, argo] = names::annotation_names(names::REFRESH);
        let patch = json!({"metadata": {"annotations": {ours: null, argo: null}}});
        self.patch(key, &doing, &guarded(patch, resource_version))
            .await
    }

    /// Takes our finalizers away, and Argo CD's where they mean the same; others stay.
    pub(crate) async fn remove_finalizers(
        &self,
        application: &Application,
    ) -> Result<Application, Error> {
        let key = &application.key;
        let doing = format!("remove the finalizers of application {key}");
        let kept: Vec<&str> = application
            .finalizers()
            .filter(|finalizer| !names::is_resources_finalizer(finalizer))
            .collect();
        // A merge patch replaces the list, so it must be the one that was read.
        let patch = json!({"metadata": {"finalizers": kept}});
        let patch = guarded(patch, Some(&application.resource_version));
        self.patch(key, &doing, &patch).await
    }

    /// Merges into the status: what is null goes, what is not named stays. With
    /// `resource_version` a status that somebody else wrote meanwhile is a conflict.
    pub(crate) async fn patch_status(
        &self,
        key: &ApplicationKey,
        resource_version: Option<&str>,
        status: &Value,
    ) -> Result<Application, Error> {
        let doing = format!("write the status of application {key}");
        let patch = guarded(json!({"status": status}), resource_version);
        if !self.status_subresource {
            return self.patch(key, &doing, &patch).await;
        }
        let api = self.api(Some(&key.namespace));
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let object = bounded(&doing, api.patch_status(&key.name, &params, &patch)).await?;
        self.object(&doing, object).map(read)
    }

    /// A merge patch of anything but the status. `doing` completes "could not ...".
    pub(crate) async fn patch(
        &self,
        key: &ApplicationKey,
        doing: &str,
        patch: &Value,
    ) -> Result<Application, Error> {
        self.patch_object(key, doing, patch).await.map(read)
    }

    async fn patch_object(
        &self,
        key: &ApplicationKey,
        doing: &str,
        patch: &Value,
    ) -> Result<Object, Error> {
        let api = self.api(Some(&key.namespace));
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let object = bounded(doing, api.patch(&key.name, &params, &patch)).await?;
        self.object(doing, object)
    }

    fn api(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let client = self.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    /// The library's object as ours. Items of a list may come without their type.
    fn object(&self, doing: &str, mut object: DynamicObject) -> Result<Object, Error> {
        let unreadable = |reason: String| Error::Unreadable {
            doing: doing.to_owned(),
            reason,
        };
        object.metadata.managed_fields = None;
        let mut value =
            serde_json::to_value(object).map_err(|error| unreadable(error.to_string()))?;
        if let Some(fields) = value.as_object_mut() {
            fields
                .entry("apiVersion")
                .or_insert_with(|| self.resource.api_version.clone().into());
            fields
                .entry("kind")
                .or_insert_with(|| self.resource.kind.clone().into());
        }
        Object::new(value).map_err(|error| unreadable(error.to_string()))
    }

    fn no_definition(&self, doing: String) -> Error {
        Error::NoDefinition {
            doing,
            resource: self.resource_name(),
        }
    }
}

/// A patch that holds only for the version that was read.
fn guarded(mut patch: Value, resource_version: Option<&str>) -> Value {
    if let Some(version) = resource_version {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    patch
}

fn watch_error(doing: &str, error: watcher::Error) -> Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Error::new(doing, error),
        watcher::Error::WatchError(status) => Error::answered(doing.to_owned(), &status),
        watcher::Error::NoResourceVersion => Error::Unreadable {
            doing: doing.to_owned(),
            reason: "no resource version".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_patch_keeps_what_it_patches() {
        let patch = json!({"metadata": {"finalizers": []}});
        let expected = json!({"metadata": {"finalizers": [], "resourceVersion": "7"}});
        assert_eq!(guarded(patch, Some("7")), expected);
        assert_eq!(guarded(json!({"a": 1}), None), json!({"a": 1}));
    }
}
