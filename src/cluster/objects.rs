//! Reading, applying and deleting single objects: every write and delete of a managed object
//! passes here; what a person asks for by hand is in `shown.rs`.

use std::future::Future;

use http::{HeaderValue, Method, Request};
use serde_json::{Value, json};

use super::{Cluster, Error, Served};
use crate::crd::names::{FIELD_MANAGER, tracked_by};
use crate::crd::{ApplicationKey, Consent, Propagation};
use crate::object::{Kind, Object, ResourceKey, flow_yaml};
use crate::telemetry::{Answer, KubeVerb};

/// Who owns what is merged: not us, or whoever applies the object would take it over as our own and
/// away.
const MERGER: &str = "trimtab-namespace";

/// Whether an apply is carried out or only asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    DryRun,
}

/// What came of a request to delete an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// It is not there (any more).
    Gone,
    /// The API server took the request; finalizers may keep the object for a while.
    Accepted,
    /// It says itself that it is to stay.
    Kept,
    /// It says itself that a person must agree first.
    Unconfirmed,
}

impl Cluster {
    /// Server-side apply of a whole manifest as field manager `trimtab`, with force: what the
    /// manifest says is ours. Unknown fields are refused. Returns the object as it is now (or,
    /// for a dry run, as it would be).
    pub(crate) async fn apply(
        &self,
        served: &Served,
        object: &Object,
        mode: Mode,
    ) -> Result<Object, Error> {
        let key = object.key();
        let (verb, doing, dry_run) = match mode {
            Mode::Write => (KubeVerb::Apply, format!("apply {key}"), ""),
            Mode::DryRun => (KubeVerb::DryRun, format!("dry-run {key}"), "&dryRun=All"),
        };
        let url = format!(
            "{}?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict{dry_run}",
            served.object_path(&key)
        );
        let request = request(Method::PATCH, &url, "application/apply-patch+yaml", object)?;
        let answer = self.object(verb, doing, &key, request).await;
        answer.map_err(|error| error.about(object))
    }

    /// Writes a whole manifest in place of the live object that was read as `version`: fields of
    /// others go. A conflict when it was written since.
    pub(crate) async fn replace(
        &self,
        served: &Served,
        object: &Object,
        version: &str,
        mode: Mode,
    ) -> Result<Object, Error> {
        let key = object.key();
        let (verb, doing, dry_run) = match mode {
            Mode::Write => (KubeVerb::Apply, format!("replace {key}"), ""),
            Mode::DryRun => (KubeVerb::DryRun, format!("dry-run {key}"), "&dryRun=All"),
        };
        let url = format!(
            "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{dry_run}",
            served.object_path(&key)
        );
        let mut object = object.clone();
        object
            .metadata_mut()
            .insert("resourceVersion".to_owned(), version.into());
        let request = request(Method::PUT, &url, "application/json", &object)?;
        let answer = self.object(verb, doing, &key, request).await;
        answer.map_err(|error| error.about(&object))
    }

    /// Creates an object, or changes fields of one that is there and no others: for what several
    /// keep together, where an apply of one would take away what an apply of the other gave.
    pub(crate) async fn merge(
        &self,
        served: &Served,
        object: &Object,
        exists: bool,
        mode: Mode,
    ) -> Result<Object, Error> {
        let key = object.key();
        let (method, url, content_type) = match exists {
            true => (
                Method::PATCH,
                served.object_path(&key),
                "application/merge-patch+json",
            ),
            false => (
                Method::POST,
                served.path(&key.namespace),
                "application/json",
            ),
        };
        let (verb, doing, dry_run) = match mode {
            Mode::Write => (KubeVerb::Apply, format!("write {key}"), ""),
            Mode::DryRun => (KubeVerb::DryRun, format!("dry-run {key}"), "&dryRun=All"),
        };
        let url = format!("{url}?fieldManager={MERGER}{dry_run}");
        let request = request(method, &url, content_type, object)?;
        self.object(verb, doing, &key, request).await
    }

    /// Changes who owns which field, by a JSON patch that tests the version it was made for.
    pub(crate) async fn patch_fields(
        &self,
        served: &Served,
        key: &ResourceKey,
        patch: &Value,
    ) -> Result<(), Error> {
        let url = format!("{}?fieldManager={FIELD_MANAGER}", served.object_path(key));
        let request = request(Method::PATCH, &url, "application/json-patch+json", patch)?;
        let doing = format!("take over the fields of {key}");
        match self.sent(KubeVerb::Apply, &doing, key, request).await {
            Ok(_) => Ok(()),
            // A test that does not hold is answered as an invalid request.
            Err(Error::Api { code: 422, .. }) => Err(Error::Conflict { doing }),
            Err(error) => Err(error),
        }
    }

    /// Writes single fields of an object by a merge patch that names the version it was made for.
    pub(crate) async fn set_fields(
        &self,
        served: &Served,
        key: &ResourceKey,
        patch: &Value,
        mode: Mode,
    ) -> Result<Object, Error> {
        let (verb, doing, dry_run) = match mode {
            Mode::Write => (KubeVerb::Apply, format!("write fields of {key}"), ""),
            Mode::DryRun => (KubeVerb::DryRun, format!("dry-run {key}"), "&dryRun=All"),
        };
        let path = served.object_path(key);
        let url = format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{dry_run}");
        let request = request(Method::PATCH, &url, "application/merge-patch+json", patch)?;
        self.object(verb, doing, key, request).await
    }

    /// What a JSON patch would make of an object.
    pub(crate) async fn ask_patch(
        &self,
        served: &Served,
        key: &ResourceKey,
        patch: &Value,
    ) -> Result<Object, Error> {
        let path = served.object_path(key);
        let url = format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&dryRun=All");
        let request = request(Method::PATCH, &url, "application/json-patch+json", patch)?;
        self.object(KubeVerb::DryRun, format!("dry-run {key}"), key, request)
            .await
    }

    /// Reads one object, or none when it is not there.
    pub(crate) async fn get(
        &self,
        served: &Served,
        key: &ResourceKey,
    ) -> Result<Option<Object>, Error> {
        let request = request(Method::GET, &served.object_path(key), "", &Value::Null)?;
        match self
            .object(KubeVerb::Get, format!("read {key}"), key, request)
            .await
        {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one object by its kind; none when it, or its kind, is not there.
    pub(crate) async fn find(
        &self,
        kind: &Kind,
        key: &ResourceKey,
    ) -> Result<Option<Object>, Error> {
        match self.served(kind).await {
            Ok(served) => self.get(&served, key).await,
            Err(Error::UnknownKind(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object that belongs to an application, and only such a one.
    ///
    /// Guarantees: the object is read first; it must say itself that it belongs to `owner`, and
    /// carry fields of our manager; `consent` is asked with what was read; the delete names the
    /// uid and resourceVersion that were read, so what changed in between is not deleted.
    pub(crate) async fn delete_owned(
        &self,
        served: &Served,
        key: &ResourceKey,
        owner: &ApplicationKey,
        propagation: Propagation,
        consent: impl Fn(&Object) -> Consent,
    ) -> Result<Deletion, Error> {
        let Some(live) = self.get(served, key).await? else {
            return Ok(Deletion::Gone);
        };
        check_owner(&live, key, owner)?;
        if live.is_terminating() {
            return Ok(Deletion::Accepted);
        }
        match consent(&live) {
            Consent::Yes => {}
            Consent::No => return Ok(Deletion::Kept),
            Consent::Confirm => return Ok(Deletion::Unconfirmed),
        }
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": propagation.as_str(),
            "preconditions": {"uid": live.uid(), "resourceVersion": live.resource_version()},
        });
        let url = served.object_path(key);
        let request = request(Method::DELETE, &url, "application/json", &options)?;
        let doing = format!("delete {key}");
        match self.sent(KubeVerb::Delete, &doing, key, request).await {
            Ok(_) => Ok(Deletion::Accepted),
            Err(error) if error.is_not_found() => Ok(Deletion::Gone),
            Err(error) => Err(error),
        }
    }

    async fn object(
        &self,
        verb: KubeVerb,
        doing: String,
        key: &ResourceKey,
        request: Request<Vec<u8>>,
    ) -> Result<Object, Error> {
        let value = self.sent(verb, &doing, key, request).await?;
        Object::new(value).map_err(|error| Error::Unreadable {
            doing,
            reason: error.to_string(),
        })
    }

    /// Sends a request about one object, as whom the cluster is acted on.
    pub(super) async fn sent(
        &self,
        verb: KubeVerb,
        doing: &str,
        key: &ResourceKey,
        request: Request<Vec<u8>>,
    ) -> Result<Value, Error> {
        let text = self.sent_text(verb, doing, key, request).await?;
        serde_json::from_str(&text).map_err(|error| Error::no_json(doing, &error))
    }

    /// As [`Cluster::sent`], but the answer as it came.
    pub(super) async fn sent_text(
        &self,
        verb: KubeVerb,
        doing: &str,
        key: &ResourceKey,
        mut request: Request<Vec<u8>>,
    ) -> Result<String, Error> {
        if let Some(user) = &self.acting_as {
            let user = HeaderValue::from_str(user).map_err(|error| Error::Unreadable {
                doing: doing.to_owned(),
                reason: format!("the service account's name: {error}"),
            })?;
            request.headers_mut().insert("Impersonate-User", user);
        }
        let client = self.client.clone();
        let sent = async move { client.request_text(request).await };
        self.counted(verb, doing.to_owned(), key.kind == "Secret", sent)
            .await
    }

    /// Sends a request within the deadline and counts it.
    pub(super) async fn counted<T>(
        &self,
        verb: KubeVerb,
        doing: String,
        secret: bool,
        sent: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let result = match tokio::time::timeout(super::DEADLINE, sent).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::of_object(doing, secret, error)),
            Err(_) => {
                // Whether that is one slow request or a cluster that hangs is asked at once.
                self.course.cut();
                Err(Error::TimedOut {
                    doing,
                    after: super::DEADLINE,
                })
            }
        };
        self.metrics.kube_request(verb, answer(&result));
        result
    }
}

fn answer<T>(result: &Result<T, Error>) -> Answer {
    match result {
        Ok(_) => Answer::Ok,
        Err(Error::Api { code, .. }) => match code {
            401 | 403 => Answer::Denied,
            404 => Answer::NotFound,
            409 => Answer::Conflict,
            422 => Answer::Invalid,
            429 | 503 => Answer::Overloaded,
            _ => Answer::Failed,
        },
        Err(Error::TimedOut { .. }) => Answer::TimedOut,
        Err(_) => Answer::Failed,
    }
}

fn check_owner(live: &Object, key: &ResourceKey, owner: &ApplicationKey) -> Result<(), Error> {
    let ours = tracked_by(live)
        .is_some_and(|(namespace, name)| namespace == owner.namespace && name == owner.name);
    if !ours {
        return Err(Error::NotOurs(
            key.clone(),
            "it does not say that it belongs here",
        ));
    }
    let entries = live
        .get("/metadata/managedFields")
        .and_then(Value::as_array);
    let applied = entries.is_none_or(|entries| {
        entries
            .iter()
            .any(|entry| entry["manager"] == FIELD_MANAGER)
    });
    if !applied {
        return Err(Error::NotOurs(
            key.clone(),
            "none of its fields were written by trimtab",
        ));
    }
    Ok(())
}

pub(super) fn request(
    method: Method,
    url: &str,
    content_type: &str,
    body: &impl serde::Serialize,
) -> Result<Request<Vec<u8>>, Error> {
    let failed = |reason: String| Error::Unreadable {
        doing: format!("ask for {url}"),
        reason,
    };
    let mut builder = Request::builder().method(method).uri(url);
    let mut bytes = Vec::new();
    if !content_type.is_empty() {
        builder = builder.header(http::header::CONTENT_TYPE, content_type);
        let text = serde_json::to_string(body).map_err(|error| failed(error.to_string()))?;
        // The API server reads an apply as YAML.
        let is_yaml = content_type.ends_with("+yaml");
        bytes = if is_yaml { flow_yaml(text) } else { text }.into_bytes();
    }
    builder
        .body(bytes)
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::names::{TRACKING_ANNOTATION, tracking_id};

    #[test]
    fn only_what_says_so_itself_is_ours() {
        let owner = ApplicationKey {
            namespace: "trimtab".into(),
            name: "shop".into(),
        };
        let mut live = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "shop", "name": "a", "managedFields": [{"manager": "trimtab"}]},
        }))
        .unwrap();
        let key = live.key();
        assert!(check_owner(&live, &key, &owner).is_err());
        live.set_annotation(TRACKING_ANNOTATION, &tracking_id("trimtab", "other", &key));
        assert!(check_owner(&live, &key, &owner).is_err());
        live.set_annotation(TRACKING_ANNOTATION, &tracking_id("trimtab", "shop", &key));
        assert!(check_owner(&live, &key, &owner).is_ok());
        live.metadata_mut()
            .insert("managedFields".into(), json!([{"manager": "kubectl"}]));
        assert!(check_owner(&live, &key, &owner).is_err());
    }
}
