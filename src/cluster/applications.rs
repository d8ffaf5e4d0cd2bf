//! Applications on the API server, read and watched. What is written is in `patch.rs`.

use std::fmt;

use futures::{Stream, StreamExt};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    runtime::{WatchStreamExt, watcher},
};

use super::answers::smaller;
use super::{Error, bounded};
use crate::crd::{Application, ApplicationKey, names, read};
use crate::object::Object;

/// Applications of one list request.
const PAGE: u32 = 500;
/// Of a list that a watch begins with: it is not asked for again in smaller pages.
const WATCHED_PAGE: u32 = 10;

/// The Applications of one API group.
#[derive(Clone)]
pub(crate) struct Applications {
    client: Client,
    resource: ApiResource,
    /// Whether the definition has a status subresource; Argo CD's has none, and there the status
    /// is a field like any other.
    pub(super) status_subresource: bool,
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
                Err(error) if error.is_too_long() => match params.limit.and_then(smaller) {
                    Some(limit) => {
                        params.limit = Some(limit);
                        continue;
                    }
                    None => return Err(error),
                },
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
            page_size: Some(WATCHED_PAGE),
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

    pub(super) fn api(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let client = self.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    /// The library's object as ours. Items of a list may come without their type.
    pub(super) fn object(&self, doing: &str, mut object: DynamicObject) -> Result<Object, Error> {
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
            group: self.resource.group.clone(),
        }
    }
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
