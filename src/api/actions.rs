//! What people do to applications. Each action was permitted by its route; the name of who acts
//! goes into what is written.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::applications::{Visible, stored};
use super::body::Fields;
use super::unique::Unique;
use super::{Api, Identity, Problem, random_hex};
use crate::crd::{
    Application, ApplicationKey, Cascade, Info, InitiatedBy, Operation, RollbackOperation,
    SyncOperation, approval, names, read,
};
use crate::object::{Object, duration, is_dns_name, rfc3339_after};

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// In words.
    pub(super) done: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Refresh {
    /// Render anew as well.
    hard: bool,
}

/// A pause that is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PauseRequest {
    reason: String,
    /// How long, such as `2h`; until it is resumed when empty.
    duration: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DryRun {
    /// Only says what would be stored.
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// The name of the application once more.
    confirm: String,
    /// As the Application says when not given.
    cascade: Option<Cascade>,
}

type Named = Path<(String, String)>;

fn key_of(Path((namespace, name)): Named) -> ApplicationKey {
    ApplicationKey { namespace, name }
}

fn done(identity: &Identity, key: &ApplicationKey, done: String) -> Json<Done> {
    log(identity, key, &done);
    Json(Done { done })
}

fn log(identity: &Identity, key: &ApplicationKey, done: &str) {
    tracing::info!(user = identity.name(), app = %key, done, "an action");
}

async fn operate(
    api: &Api,
    identity: &Identity,
    key: &ApplicationKey,
    mut operation: Operation,
    what: &str,
) -> Result<Json<Done>, Problem> {
    operation.initiated_by = Some(InitiatedBy {
        username: identity.name().to_owned(),
        automated: false,
    });
    // Two equal requests are two: each has a mark of its own.
    operation.info = vec![Info {
        name: names::REQUEST.to_owned(),
        value: random_hex::<8>(),
    }];
    api.applications.request_operation(key, &operation).await?;
    Ok(done(identity, key, format!("requested {what} of {key}")))
}

pub(super) async fn sync(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Fields(sync): Fields<SyncOperation>,
) -> Result<Json<Done>, Problem> {
    let what = if sync.dry_run { "a dry run" } else { "a sync" };
    let operation = Operation {
        sync: Some(sync),
        ..Operation::default()
    };
    operate(&api, &identity, &key_of(path), operation, what).await
}

pub(super) async fn terminate(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Json<Done>, Problem> {
    let operation = Operation {
        terminate: true,
        ..Operation::default()
    };
    operate(
        &api,
        &identity,
        &key_of(path),
        operation,
        "the end of the sync",
    )
    .await
}

pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Fields(rollback): Fields<RollbackOperation>,
) -> Result<Json<Done>, Problem> {
    let operation = Operation {
        rollback: Some(rollback),
        ..Operation::default()
    };
    operate(&api, &identity, &key_of(path), operation, "a rollback").await
}

pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Fields(refresh): Fields<Refresh>,
) -> Result<Json<Done>, Problem> {
    let key = key_of(path);
    api.applications.request_refresh(&key, refresh.hard).await?;
    Ok(done(
        &identity,
        &key,
        format!("requested a refresh of {key}"),
    ))
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Fields(request): Fields<PauseRequest>,
) -> Result<Json<Done>, Problem> {
    let key = key_of(path);
    let until = match request.duration.as_str() {
        "" => None,
        text => Some(end_of(text).ok_or_else(|| {
            Problem::wrong("a duration is a number with a unit, such as 30m or 2h")
        })?),
    };
    let pause = json!({"by": identity.name(), "reason": request.reason, "until": until});
    let patch = json!({"spec": {"pause": pause}});
    api.applications
        .patch(&key, &format!("pause {key}"), &patch)
        .await?;
    let until = until.map_or("until it is resumed".to_owned(), |at| format!("until {at}"));
    Ok(done(&identity, &key, format!("paused {key} {until}")))
}

/// The time after a duration, in whole seconds.
fn end_of(text: &str) -> Option<String> {
    let duration = duration(text).filter(|duration| !duration.is_zero())?;
    rfc3339_after(Timestamp::now(), duration)
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Json<Done>, Problem> {
    let key = key_of(path);
    let patch = json!({"spec": {"pause": null}});
    api.applications
        .patch(&key, &format!("resume {key}"), &patch)
        .await?;
    Ok(done(&identity, &key, format!("resumed {key}")))
}

pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Json<Done>, Problem> {
    let key = key_of(path);
    let application = api.application(&key).await?;
    let Some((annotation, value)) = approval(&application, Timestamp::now()) else {
        return Err(Problem::wrong("nothing waits for approval"));
    };
    let [annotation, _] = names::annotation_names(annotation);
    let patch = json!({"metadata": {"annotations": {annotation: value}}});
    let doing = format!("approve the deletions of application {key}");
    api.applications.patch(&key, &doing, &patch).await?;
    Ok(done(
        &identity,
        &key,
        format!("approved the deletions of {key}"),
    ))
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Query(query): Query<DryRun>,
    Json(Unique(manifest)): Json<Unique>,
) -> Result<Json<Value>, Problem> {
    let created = api.create(&identity, manifest, query.dry_run).await?;
    if !query.dry_run {
        let key = &created.key;
        log(&identity, key, &format!("created {key}"));
    }
    Ok(Json(stored(created)))
}

/// What an Application would be and make, if it were created.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Proposal {
    /// As it would be stored.
    pub(crate) application: Value,
    #[serde(flatten)]
    pub(crate) visible: Visible,
}

pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Json(Unique(manifest)): Json<Unique>,
) -> Result<Json<Proposal>, Problem> {
    api.propose(&identity, manifest).await.map(Json)
}

impl Api {
    /// Renders and compares what an Application would desire that is not there yet. Needs the
    /// right to create it.
    pub(crate) async fn propose(
        &self,
        identity: &Identity,
        manifest: Value,
    ) -> Result<Proposal, Problem> {
        let application = self.create(identity, manifest, true).await?;
        let inspection = self.registry.propose(&application).await?;
        Ok(Proposal {
            application: stored(application),
            visible: self.visible(identity, inspection).await?,
        })
    }

    /// Creates an Application; a dry run only says what would be stored.
    async fn create(
        &self,
        identity: &Identity,
        manifest: Value,
        dry_run: bool,
    ) -> Result<Application, Problem> {
        let object = Object::new(manifest).map_err(|error| Problem::wrong(error.to_string()))?;
        let key = ApplicationKey {
            namespace: object.namespace().unwrap_or_default().to_owned(),
            name: object.name().to_owned(),
        };
        if !is_dns_name(&key.name) {
            return Err(Problem::wrong("metadata.name is no name"));
        }
        if !self.about.namespaces.contains(&key.namespace) {
            let kept = self.about.namespaces.join(", ");
            return Err(Problem::wrong(format!(
                "metadata.namespace must be one that the agent keeps: {kept}"
            )));
        }
        if !self.may(identity, "create", &key).await? {
            let what = format!("create applications in namespace {}", key.namespace);
            return Err(Problem::forbidden(identity.name(), &what));
        }
        let application = sound(object)?;
        let created = self.applications.create(&application.object, dry_run);
        Ok(read(created.await?))
    }
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Query(query): Query<DryRun>,
    Json(Unique(manifest)): Json<Unique>,
) -> Result<Json<Value>, Problem> {
    let key = key_of(path);
    let mut object = api.application(&key).await?.object;
    let spec = manifest.get("spec").filter(|spec| spec.is_object());
    let spec = spec.ok_or_else(|| Problem::wrong("send the Application with its spec"))?;
    if let Some(version) = manifest.pointer("/metadata/resourceVersion") {
        object
            .metadata_mut()
            .insert("resourceVersion".to_owned(), version.clone());
    }
    object.fields_mut().insert("spec".to_owned(), spec.clone());
    let application = sound(object)?;
    let replaced = api.applications.replace(&application.object, query.dry_run);
    let replaced = read(replaced.await?);
    if !query.dry_run {
        log(&identity, &key, &format!("updated {key}"));
    }
    Ok(Json(stored(replaced)))
}

/// An Application that the agent would take, or what is wrong with it.
fn sound(object: Object) -> Result<Application, Problem> {
    let application = read(object);
    if application.faults.is_empty() {
        return Ok(application);
    }
    let faults = application.faults.join("; ");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, faults))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<Done>, Problem> {
    let key = key_of(path);
    if query.confirm != key.name {
        return Err(Problem::wrong("confirm with the name of the application"));
    }
    let application = api.application(&key).await?;
    if let Some(cascade) = query.cascade {
        api.applications.set_cascade(&application, cascade).await?;
    }
    api.applications.delete(&application).await?;
    Ok(done(&identity, &key, format!("deleted {key}")))
}
