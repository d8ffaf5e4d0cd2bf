//! What a user writes: the spec of an Application and its `operation`, in Argo CD's words.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::inventory::is_false;
use crate::object::{IgnoreDifferences, ResourceKey, duration};

/// Where the desired state comes from, where it goes and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ApplicationSpec {
    /// The project of the agent's settings that the application belongs to; `default` when empty.
    pub(crate) project: String,
    /// Where the manifests are.
    pub(crate) source: Option<ApplicationSource>,
    /// Which cluster and namespace they go to.
    pub(crate) destination: Destination,
    /// A ServiceAccount of the Application's namespace: its objects are read, applied and deleted
    /// as it, so that its rights bound what the source can do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) service_account_name: String,
    /// Applications that must be synced and healthy at their newest revision before anything is
    /// done by itself here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) depends_on: Vec<Dependency>,
    /// When deletions wait for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guard: Option<Guard>,
    /// Nothing is done by itself; `trimtab pause` sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Pause>,
    /// When and how they are applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sync_policy: Option<SyncPolicy>,
    /// Differences that are left alone, in the comparison and in what is applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ignore_differences: Vec<IgnoreDifferences>,
    /// How many deployed revisions `status.history` keeps; 10 when not given. The one that is
    /// deployed is kept always: what it needs to be repaired and deleted is there without Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision_history_limit: Option<i64>,
    /// Free information for people, never interpreted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) info: Vec<Info>,
}

/// Another Application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The namespace of this Application when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
}

/// When pruning waits for a person. An empty render waits whatever is said here; only
/// `automated.allowEmpty` lets it through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Guard {
    /// More than this share of the objects, in percent, waits ...; 50 when not given, 100 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_share: Option<i64>,
    /// ... when it is more than this many objects; 5 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_objects: Option<i64>,
    /// Kinds that wait however few they are, such as `Namespace` or `Cluster.postgresql.cnpg.io`
    /// (`Kind` or `Kind.group`); `Namespace`, `CustomResourceDefinition` and
    /// `PersistentVolumeClaim` when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prune_kinds: Option<Vec<String>>,
}

/// Automation is off for a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Pause {
    /// Who asked for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// A time (RFC 3339); until it is taken away when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
}

impl Pause {
    /// The end of the pause; none where it has none.
    pub(crate) fn end(&self) -> Option<jiff::Timestamp> {
        self.until.as_ref()?.trim().parse().ok()
    }

    /// Whether it is in force at a time.
    pub(crate) fn holds(&self, now: jiff::Timestamp) -> bool {
        self.end().is_none_or(|end| now < end)
    }
}

/// One line of free information.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A directory of a Git repository at a revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ApplicationSource {
    /// The repository, `https://` or `http://`.
    #[serde(rename = "repoURL")]
    pub(crate) repo_url: String,
    /// The directory inside the repository; empty or `.` for its root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    /// A branch, tag, full commit id or `HEAD`; `HEAD` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) target_revision: String,
    /// Render as a Helm chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) helm: Option<HelmSource>,
    /// Render with kustomize.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kustomize: Option<KustomizeSource>,
    /// Render as plain manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<DirectorySource>,
}

/// What is given to `helm template`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HelmSource {
    /// The release name; the application's name when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) release_name: String,
    /// Values files, relative to the chart; a later one wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) value_files: Vec<String>,
    /// Values as YAML text; wins over `valueFiles`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) values: String,
    /// Values as an object; wins over `values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) values_object: Option<Map<String, Value>>,
    /// Single values; win over all other values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parameters: Vec<HelmParameter>,
    /// The release's namespace; the destination namespace when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
}

impl HelmSource {
    /// Whether anything is given; `helm: {}` says nothing.
    pub(crate) fn says_something(&self) -> bool {
        *self != Self::default()
    }
}

/// One `--set` or, with `forceString`, one `--set-string`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HelmParameter {
    pub(crate) name: String,
    pub(crate) value: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) force_string: bool,
}

/// Chooses kustomize where a directory could be rendered in another way as well. Beside `directory`
/// it counts where there is a kustomization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KustomizeSource {}

/// Which files of a directory are manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DirectorySource {
    /// Read subdirectories as well.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) recurse: bool,
    /// Glob of the files to take, such as `*.yaml` or `{a,b}/*.yaml`; all when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) include: String,
    /// Glob of the files to leave out; wins over `include`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) exclude: String,
}

impl DirectorySource {
    /// Whether anything is given; `directory: {}` says nothing.
    pub(crate) fn says_something(&self) -> bool {
        *self != Self::default()
    }
}

/// Which cluster and namespace the manifests go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Destination {
    /// The API server: empty or `https://kubernetes.default.svc`, the cluster of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server: String,
    /// The cluster's name: empty or `in-cluster`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// The namespace of manifests that name none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
}

/// When and how the desired state is applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SyncPolicy {
    /// Apply new revisions without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) automated: Option<Automated>,
    /// Argo CD's sync options, such as `CreateNamespace=true`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sync_options: Vec<String>,
    /// How fast a failed sync is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    /// How long one wave, hook or deletion may take before the sync fails, such as `10m`; 5
    /// minutes when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) wave_timeout: String,
    /// Labels and annotations of the namespace that `CreateNamespace=true` creates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) managed_namespace_metadata: Option<NamespaceMetadata>,
}

/// Labels and annotations of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct NamespaceMetadata {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What is done without being asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Automated {
    /// False switches automation off and keeps the other settings; true when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    /// Delete what is no longer desired.
    pub(crate) prune: bool,
    /// Repair changes made in the cluster.
    pub(crate) self_heal: bool,
    /// Let a render without any object delete everything.
    pub(crate) allow_empty: bool,
}

/// How fast a failed sync is tried again; it is tried for as long as something differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Retry {
    /// Delays grow for this many attempts and stay at `maxDuration` after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<Backoff>,
    /// Whether the newest revision is tried instead of the one that failed: it always is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<bool>,
}

/// `duration * factor^n`, capped by `maxDuration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Backoff {
    /// The first delay, such as `5s`; 5 s when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) duration: String,
    /// 2 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<i64>,
    /// The longest delay, such as `3m`; 3 minutes when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) max_duration: String,
}

/// One request to act now, written by a person or a tool and removed when it was taken up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Operation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initiated_by: Option<InitiatedBy>,
    /// Free information, kept in `status.operationState.operation`: who waits for the request
    /// finds it by this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) info: Vec<Info>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sync: Option<SyncOperation>,
    /// How often a sync that fails is tried again before it ends, and how fast: not at all when not
    /// given, without end for a negative `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    /// Go back to an earlier deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollback: Option<RollbackOperation>,
    /// End the operation that is running; what it applied stays. Beside `sync` or `rollback` these
    /// begin after that.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) terminate: bool,
}

impl Operation {
    /// Whether a sync that failed after so many that failed before is tried again.
    pub(crate) fn tries_again(&self, failed_before: i64) -> bool {
        let limit = self.retry.as_ref().and_then(|retry| retry.limit);
        limit.is_some_and(|limit| limit < 0 || failed_before < limit)
    }

    /// Whether it is to begin when the sync has ended that it ends.
    pub(crate) fn goes_on(&self) -> bool {
        self.terminate && (self.sync.is_some() || self.rollback.is_some())
    }

    /// Who ends a sync by it.
    pub(crate) fn terminated_by(&self) -> &str {
        let mut info = self.info.iter();
        let beside = info.find(|it| it.name == super::names::TERMINATED_BY);
        let by = self.initiated_by.as_ref().filter(|_| !self.goes_on());
        let by = beside.map_or(by.map_or("", |by| by.username.as_str()), |it| {
            it.value.as_str()
        });
        match by {
            "" => "somebody",
            by => by,
        }
    }

    /// Whether both are one request: the agent turns a rollback into a sync of its own.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.info == other.info
            && self.initiated_by == other.initiated_by
            && self.rollback == other.rollback
            && self.terminate == other.terminate
            && self.retry == other.retry
            && (self.rollback.is_some() || self.sync == other.sync)
    }
}

/// A way back that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RollbackOperation {
    /// The id of the deployment in `status.history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<i64>,
    /// Ends a rollback: the newest commit counts again.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) undo: bool,
    /// Delete what the earlier deployment did not have.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) prune: bool,
}

/// Names objects; `*` alone stands for any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ResourceSelector {
    pub(crate) group: String,
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ResourceSelector {
    /// Whether it names this object. As in Argo CD the group must be equal, the namespace may be
    /// left out.
    pub(crate) fn selects(&self, key: &ResourceKey) -> bool {
        let is = |wanted: &str, given: &str| wanted == "*" || wanted == given;
        is(&self.group, &key.group)
            && is(&self.kind, &key.kind)
            && (self.namespace.is_empty() || is(&self.namespace, &key.namespace))
            && is(&self.name, &key.name)
    }
}

/// As `trimtab sync --resource` takes it: `apps:Deployment:shop/web`.
impl std::fmt::Display for ResourceSelector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:", self.group, self.kind)?;
        if !self.namespace.is_empty() {
            write!(formatter, "{}/", self.namespace)?;
        }
        formatter.write_str(&self.name)
    }
}

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InitiatedBy {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) automated: bool,
}

/// A sync that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SyncOperation {
    /// Delete what is no longer desired.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) prune: bool,
    /// Say what would be done and do nothing.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) dry_run: bool,
    /// A branch, tag or commit instead of the newest one; it counts as desired until the source
    /// has a newer commit, as after a rollback.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) revision: String,
    /// Only these objects, and no hooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<ResourceSelector>,
    /// More sync options, for this sync only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sync_options: Vec<String>,
    /// `apply` for a sync without hooks; `hook`, as without it, with them.
    #[serde(deserialize_with = "fields", skip_serializing_if = "Option::is_none")]
    pub(crate) sync_strategy: Option<SyncStrategy>,
}

/// How a sync is done. `hook` counts when both are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SyncStrategy {
    #[serde(deserialize_with = "fields", skip_serializing_if = "Option::is_none")]
    pub(crate) apply: Option<Strategy>,
    #[serde(deserialize_with = "fields", skip_serializing_if = "Option::is_none")]
    pub(crate) hook: Option<Strategy>,
}

/// Reads fields by their names only: of a list the values would be taken for the fields in the order
/// in which they are written here.
fn fields<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let given = Option::<Map<String, Value>>::deserialize(deserializer)?;
    let read = |fields| serde_json::from_value(Value::Object(fields));
    given.map(read).transpose().map_err(D::Error::custom)
}

/// One way to sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Strategy {
    /// As the sync option `Force=true`.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) force: bool,
}

impl SyncOperation {
    /// Whether only what is no hook is synced.
    pub(crate) fn leaves_hooks(&self) -> bool {
        let strategy = self.sync_strategy.as_ref();
        strategy.is_some_and(|strategy| strategy.apply.is_some() && strategy.hook.is_none())
    }

    /// The sync options that are asked for, by name or by the strategy.
    pub(crate) fn all_options(&self) -> Vec<String> {
        let strategy = self.sync_strategy.as_ref();
        let strategies = strategy.into_iter().flat_map(|it| [&it.apply, &it.hook]);
        let forces = strategies.flatten().any(|strategy| strategy.force);
        let force = forces.then(|| "Force=true".to_owned());
        self.sync_options.iter().cloned().chain(force).collect()
    }
}

impl ApplicationSpec {
    /// The automation that is in force, if any.
    pub(crate) fn automated(&self) -> Option<&Automated> {
        self.sync_policy
            .as_ref()?
            .automated
            .as_ref()
            .filter(|automated| automated.enabled != Some(false))
    }

    /// The sync options of the application.
    pub(crate) fn sync_options(&self) -> &[String] {
        self.sync_policy
            .as_ref()
            .map_or(&[], |policy| policy.sync_options.as_slice())
    }

    /// How long one wave, hook or deletion may take.
    pub(crate) fn wave_timeout(&self) -> Duration {
        let given = self.sync_policy.as_ref();
        given
            .and_then(|policy| duration(&policy.wave_timeout))
            .unwrap_or(Duration::from_secs(300))
    }
}
