//! What is written to an Application: requests by people, the status and the finalizers by the
//! agent. Merge patches only, so that fields of others stay.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::{Applications, Error, bounded};
use crate::crd::{Application, ApplicationKey, Cascade, Info, Operation, names, read};
use crate::object::Object;

/// How often a request is placed again when the Application changed in between.
const ATTEMPTS: usize = 5;

impl Applications {
    /// Asks for an operation; refused while another one waits. The end of a sync is asked for beside
    /// what waits, which begins after it. Returns the Application as it is stored with the request in
    /// it.
    pub(crate) async fn request_operation(
        &self,
        key: &ApplicationKey,
        operation: &Operation,
    ) -> Result<Object, Error> {
        let doing = format!("request the operation on application {key}");
        let ends = operation.terminate;
        let asked = serde_json::to_value(operation).map_err(|error| Error::Unreadable {
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
                .filter(|it| !it.is_null() && !ends)
            {
                let by = pending["initiatedBy"]["username"].as_str();
                return Err(Error::OperationPending {
                    doing,
                    by: by.unwrap_or("somebody").to_owned(),
                });
            }
            let asked = match application.operation.as_ref().filter(|_| ends) {
                Some(waiting) => beside(waiting, operation),
                None => asked.clone(),
            };
            let patch = json!({
                "metadata": {"resourceVersion": application.resource_version},
                "operation": asked,
            });
            match self.patch_object(key, &doing, &patch).await {
                Err(Error::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    /// Takes the request to end a sync away, and leaves what waited for that end.
    pub(crate) async fn clear_terminate(
        &self,
        key: &ApplicationKey,
        waiting: &Operation,
        resource_version: Option<&str>,
    ) -> Result<Application, Error> {
        let doing = format!("clear the request to end the sync of application {key}");
        let info = info_of(waiting);
        let info = match info.is_empty() {
            true => Value::Null,
            false => json!(info),
        };
        let patch = json!({"operation": {"terminate": null, "info": info}});
        self.patch(key, &doing, &guarded(patch, resource_version))
            .await
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

    /// Makes the Application say what is to become of its objects. Finalizers of others stay.
    pub(crate) async fn set_cascade(
        &self,
        application: &Application,
        cascade: Cascade,
    ) -> Result<(), Error> {
        let key = &application.key;
        let doing = format!("set the finalizers of application {key}");
        let mut application = application.clone();
        let mut attempt = 1;
        loop {
            let others = application
                .finalizers()
                .filter(|finalizer| !names::is_resources_finalizer(finalizer));
            let finalizers: Vec<&str> = others.chain(cascade.finalizer()).collect();
            // A merge patch replaces the list, so it must be the one that was read.
            let patch = json!({"metadata": {"finalizers": finalizers}});
            let patch = guarded(patch, Some(&application.resource_version));
            match self.patch(key, &doing, &patch).await {
                Err(Error::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                patched => return patched.map(drop),
            }
            application = self.get(key).await?;
        }
    }

    /// Stores a new Application; a dry run only says what would be stored.
    pub(crate) async fn create(
        &self,
        application: &Object,
        dry_run: bool,
    ) -> Result<Object, Error> {
        let namespace = application.namespace().unwrap_or_default();
        let doing = format!("create application {namespace}/{}", application.name());
        let object = dynamic(application, &doing)?;
        let params = PostParams {
            dry_run,
            field_manager: None,
        };
        let api = self.api(Some(namespace));
        let created = bounded(&doing, api.create(&params, &object)).await?;
        self.object(&doing, created)
    }

    /// Stores an Application in place of the version that it names.
    pub(crate) async fn replace(
        &self,
        application: &Object,
        dry_run: bool,
    ) -> Result<Object, Error> {
        let namespace = application.namespace().unwrap_or_default();
        let doing = format!("update application {namespace}/{}", application.name());
        let object = dynamic(application, &doing)?;
        let params = PostParams {
            dry_run,
            field_manager: None,
        };
        let api = self.api(Some(namespace));
        let replaced = api.replace(application.name(), &params, &object);
        let replaced = bounded(&doing, replaced).await?;
        self.object(&doing, replaced)
    }

    /// Asks for the deletion of an Application, if it is still the one that was read.
    pub(crate) async fn delete(&self, application: &Application) -> Result<(), Error> {
        let key = &application.key;
        let doing = format!("delete application {key}");
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(application.uid.clone()),
            resource_version: None,
        });
        let api = self.api(Some(&key.namespace));
        bounded(&doing, api.delete(&key.name, &params))
            .await
            .map(drop)
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
}

/// Our object as the library's.
fn dynamic(object: &Object, doing: &str) -> Result<DynamicObject, Error> {
    serde_json::from_value(object.clone().into_value()).map_err(|error| Error::Unreadable {
        doing: doing.to_owned(),
        reason: error.to_string(),
    })
}

/// What a waiting operation says of itself, without who asked for the end of the sync before it.
fn info_of(waiting: &Operation) -> Vec<Info> {
    let info = waiting.info.iter();
    info.filter(|it| it.name != names::TERMINATED_BY)
        .cloned()
        .collect()
}

/// The end of a sync, asked for beside what waits for it.
fn beside(waiting: &Operation, ends: &Operation) -> Value {
    let by = ends.initiated_by.as_ref().map(|by| by.username.clone());
    let mut info = info_of(waiting);
    info.push(Info {
        name: names::TERMINATED_BY.to_owned(),
        value: by.unwrap_or_default(),
    });
    json!({"terminate": true, "info": info})
}

/// A patch that holds only for the version that was read.
fn guarded(mut patch: Value, resource_version: Option<&str>) -> Value {
    if let Some(version) = resource_version {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_patch_keeps_what_it_patches() {
        let patch = json!({"metadata": {"finalizers": []}});
        let expected = json!({"metadata": {"finalizers": [], "resourceVersion": "7"}});
        assert_eq!(guarded(patch, Some("7")), expected);
        let expected = json!({"status": {}, "metadata": {"resourceVersion": "7"}});
        assert_eq!(guarded(json!({"status": {}}), Some("7")), expected);
        assert_eq!(guarded(json!({"a": 1}), None), json!({"a": 1}));
    }
}
