//! What the agent reports: the status of an Application, in Argo CD's words.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::application::{ApplicationSource, InitiatedBy, Operation};
use super::inventory::{Inventory, is_false};
use crate::object::ResourceKey;

/// Whether what is live is what is desired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SyncCode {
    Synced,
    OutOfSync,
    #[default]
    Unknown,
}

/// How well a thing does, best first: the worst of several is the greatest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub(crate) enum HealthCode {
    Healthy,
    Suspended,
    Progressing,
    Missing,
    Degraded,
    Unknown,
}

/// How far an operation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum OperationPhase {
    Running,
    Succeeded,
    Failed,
    Error,
}

macro_rules! display_as_written {
    ($($type:ty),*) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(&format!("{self:?}"))
            }
        }
    )*};
}
display_as_written!(SyncCode, HealthCode, OperationPhase, HookPhase);

/// The health of one object or of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Health {
    pub(crate) status: HealthCode,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Of an application: since when it does so.
    #[serde(
        rename = "lastTransitionTime",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) since: String,
}

impl Health {
    pub(crate) fn new(status: HealthCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            since: String::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn healthy() -> Self {
        Self::new(HealthCode::Healthy, "")
    }
}

/// Everything the agent reports about an application. Small, and written on change only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ApplicationStatus {
    pub(crate) sync: SyncStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operation_state: Option<OperationState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<Deployment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<ResourceStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// What the agent may have created and has not seen deleted.
    pub(crate) inventory: Inventory,
    /// What the API server stores otherwise than it was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stored: Vec<StoredField>,
    /// How the hooks of the newest desired state did: each runs once for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hooks: Vec<HookResult>,
    /// The last syncs, oldest first, whatever became of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<Attempt>,
    /// A rollback that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<SourceStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timing: Option<Timing>,
    /// When a comparison led to another status: at rest nothing is written, so that it is not the
    /// last comparison.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reconciled_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_type: Option<SourceType>,
    /// What is deployed, in brief.
    #[serde(skip_serializing_if = "DeployedSummary::is_empty")]
    pub(crate) summary: DeployedSummary,
    /// What the status would be too large with.
    #[serde(skip_serializing_if = "LeftOut::is_nothing")]
    pub(crate) left_out: LeftOut,
}

impl ApplicationStatus {
    /// How many objects there are, listed or not.
    pub(crate) fn objects(&self) -> usize {
        self.resources.len() + self.unlisted()
    }

    /// How many of them have no row.
    pub(crate) fn unlisted(&self) -> usize {
        count(self.left_out.resources)
    }

    /// Whether an object is one of the application's, listed or not.
    pub(crate) fn manages(&self, key: &ResourceKey) -> bool {
        let listed = self.resources.iter().any(|row| row.is(key));
        let id = (!listed && self.unlisted() > 0).then(|| key.id());
        let mut entries = self.inventory.entries.iter();
        listed || id.is_some_and(|id| entries.any(|entry| entry.id == id && !entry.hook))
    }

    /// How many of them are not Synced.
    pub(crate) fn differing(&self) -> usize {
        let rows = self.resources.iter();
        let differing = rows.filter(|row| row.differs()).count();
        differing + count(self.left_out.differing)
    }
}

/// How many rows are left out of the status of a large application. What differs is the last to be
/// left out, then what does badly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct LeftOut {
    /// Rows of `resources` ...
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) resources: i64,
    /// ... and how many of these are not Synced.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) differing: i64,
    /// Images and addresses of `summary`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) summary: i64,
}

impl LeftOut {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A count that was read; one below zero is none.
fn count(written: i64) -> usize {
    usize::try_from(written).unwrap_or_default()
}

/// What an application is rendered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SourceType {
    Directory,
    Kustomize,
    Helm,
}

/// Images and addresses of what is desired, each once and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct DeployedSummary {
    /// Images of containers in pods and in templates of pods.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) images: BTreeSet<String>,
    /// Addresses that Ingresses name with a host.
    #[serde(rename = "externalURLs", skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) external_urls: BTreeSet<String>,
}

impl DeployedSummary {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the application is in sync, and with which commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SyncStatus {
    pub(crate) status: SyncCode,
    /// The commit that was compared.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) revision: String,
}

/// The last operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationState {
    pub(crate) phase: OperationPhase,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    pub(crate) started_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished_at: Option<String>,
    /// What was asked for.
    #[serde(default)]
    pub(crate) operation: Operation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_result: Option<SyncResult>,
    /// Who ended it before its time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) terminated_by: String,
    /// How many attempts failed before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) retry_count: i64,
}

/// What an operation did; objects that did not change are not listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SyncResult {
    pub(crate) revision: String,
    /// Digest of the desired state that was synced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) desired: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<ResourceResult>,
    /// How many rows are left out of `resources`, as the status would be too large with them; what
    /// failed is the last to be left out.
    #[serde(rename = "leftOut", skip_serializing_if = "is_zero")]
    pub(crate) left_out: i64,
}

impl SyncResult {
    /// How many rows there are, listed or not.
    pub(crate) fn rows(&self) -> usize {
        self.resources.len() + count(self.left_out)
    }
}

/// What an operation did to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ResourceResult {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `Synced`, `SyncFailed`, `Pruned` or `PruneSkipped`, as in Argo CD.
    pub(crate) status: String,
    /// Of a hook: when it ran.
    #[serde(rename = "syncPhase", skip_serializing_if = "Option::is_none")]
    pub(crate) sync_phase: Option<HookPhase>,
    /// The same, under the name by which tools of Argo CD know a hook.
    #[serde(rename = "hookType", skip_serializing_if = "Option::is_none")]
    pub(crate) hook_type: Option<HookPhase>,
    /// Of a hook: how far it came.
    #[serde(rename = "hookPhase", skip_serializing_if = "Option::is_none")]
    pub(crate) hook_phase: Option<HookStatus>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

impl ResourceResult {
    pub(crate) fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Whether it is about this object.
    pub(crate) fn is(&self, key: &ResourceKey) -> bool {
        self.name == key.name
            && self.kind == key.kind
            && self.namespace == key.namespace
            && self.group == key.group
    }
}

/// One revision that was deployed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployment {
    pub(crate) id: i64,
    pub(crate) revision: String,
    pub(crate) deploy_started_at: String,
    pub(crate) deployed_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) initiated_by: Option<InitiatedBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<ApplicationSource>,
    /// Digest that names the rendered bundle, by which a rollback finds it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) bundle: String,
}

/// One managed object: in sync or not, well or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceStatus {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) status: SyncCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) requires_pruning: bool,
    /// It is not desired any more and stays, whatever is pruned.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) kept: bool,
    /// It is not desired any more and does not make the application OutOfSync (`IgnoreExtraneous`).
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) extraneous: bool,
    /// Why it is there and not desired, or stays so, where there is something to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

impl ResourceStatus {
    /// Whether it counts as a difference of the application: what asks not to be counted is OutOfSync
    /// by itself, as in Argo CD, and the application is not.
    pub(crate) fn differs(&self) -> bool {
        self.status != SyncCode::Synced && !self.extraneous
    }

    /// Whether a sync that prunes deletes it, as far as it and the project say.
    pub(crate) fn goes(&self) -> bool {
        self.requires_pruning && !self.kept
    }

    /// Whether it is about this object.
    pub(crate) fn is(&self, key: &ResourceKey) -> bool {
        self.name == key.name
            && self.kind == key.kind
            && self.namespace == key.namespace
            && self.group == key.group
    }

    pub(crate) fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// A field that the API server stores otherwise than the last apply sent it. Values are cut short,
/// those of Secrets hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct StoredField {
    /// `group/Kind:namespace/name`.
    pub(crate) id: String,
    /// Where, for people: `spec.template.spec.containers[name=web].image`.
    pub(crate) path: String,
    /// What was sent; absent where the field left the source and is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<String>,
    /// What is stored; absent where the field was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<String>,
    /// The field manager that owns it as it is stored, where it is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) by: String,
    /// The source has this item of a list more than once: the last one counts, this one is not
    /// sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repeated: bool,
}

impl StoredField {
    /// What is said of it after the name of its object.
    pub(crate) fn words(&self) -> String {
        let by = match self.by.as_str() {
            "" => String::new(),
            by => format!(", by {by}"),
        };
        let path = &self.path;
        if self.repeated {
            return format!("{path} is in the source more than once: the last one counts");
        }
        match (&self.sent, &self.stored) {
            (Some(sent), Some(stored)) => {
                format!("{path} was sent as {sent} and is stored as {stored}{by}")
            }
            (Some(sent), None) => format!("{path} was sent as {sent} and is not stored{by}"),
            (None, Some(stored)) => format!("{path} left the source and is still {stored}{by}"),
            (None, None) => path.clone(),
        }
    }
}

/// How one hook did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct HookResult {
    /// `group/Kind:namespace/name` of the object that was created.
    pub(crate) id: String,
    pub(crate) phase: HookPhase,
    /// Digest of the desired state that it ran for.
    pub(crate) desired: String,
    pub(crate) status: HookStatus,
    /// Why it failed; while it runs, why it does not get on, as Events say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Names this run; its object carries it, so that no other is taken for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) run: String,
    /// The uid of its object, once that is known to be there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

impl HookResult {
    /// When its run began, by the name of the run.
    pub(crate) fn began(&self) -> Option<Timestamp> {
        let milliseconds = self.run.rsplit('.').next()?.parse().ok()?;
        Timestamp::from_millisecond(milliseconds).ok()
    }
}

/// When a hook runs, in this order: before, with and after what is applied, only after a sync that
/// failed, and before and after the objects of an Application are deleted with it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub(crate) enum HookPhase {
    PreSync,
    Sync,
    PostSync,
    SyncFail,
    PreDelete,
    PostDelete,
}

/// How far a hook came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum HookStatus {
    Running,
    Succeeded,
    Failed,
}

/// One sync, whatever became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Attempt {
    pub(crate) at: String,
    /// A person's name, `push` with the id of the delivery, `poll`, `application` (it is new to the
    /// agent, or its source or its spec is another one), `manual` (a refresh, or a commit that a
    /// sync of a person found) or `drift`.
    pub(crate) by: String,
    pub(crate) revision: String,
    /// Digest of the desired state, which names its rendered bundle.
    pub(crate) desired: String,
    /// `Succeeded` or `Failed`.
    pub(crate) result: String,
    pub(crate) message: String,
    pub(crate) changed: i64,
    pub(crate) pruned: i64,
    /// From its begin until the API server had been asked about everything, where it was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) checked_ms: i64,
    /// From its begin until the last apply, where something was applied.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) applied_ms: i64,
    /// From its begin to its end, with everything it waited for.
    pub(crate) duration_ms: i64,
}

/// A rollback that is in force: until the source has a newer commit than `until`, the deployment
/// counts as desired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Pin {
    /// The id of the deployment in the history, none for a revision that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<i64>,
    pub(crate) revision: String,
    /// Digest that names the rendered bundle.
    pub(crate) bundle: String,
    /// The newest commit when it was asked for.
    pub(crate) until: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) by: String,
    pub(crate) at: String,
}

/// Something a person should know. Absent when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) last_transition_time: String,
}

/// How the source does; absent while it is read without trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SourceStatus {
    /// Since when the repository could not be read. What was applied stays as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) stale_since: String,
}

/// How long the stages of the last change took, in milliseconds since it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Timing {
    pub(crate) revision: String,
    /// `push`, `poll`, `application` or `manual`.
    pub(crate) trigger: String,
    pub(crate) received_at: String,
    pub(crate) fetched_ms: i64,
    pub(crate) rendered_ms: i64,
    pub(crate) applied_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthy_ms: Option<i64>,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
