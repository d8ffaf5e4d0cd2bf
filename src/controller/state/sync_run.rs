//! A sync that is under way, and the tasks it consists of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::controller::state::room;
use crate::crd::{Application, ResourceResult, SyncOperation, SyncOptions};
use crate::object::{Object, ResourceKey};
use crate::plan::{Needs, Patience, Place, Reason, Subject, Task};

/// What is remembered of a sync between two steps. None of it has to survive a restart: what was
/// applied is in the inventory, and how the hooks did is in the status.
pub(in crate::controller) struct Running {
    pub(in crate::controller) reason: Reason,
    pub(in crate::controller) sync: SyncOperation,
    /// What a person asked for is off the Application.
    pub(in crate::controller) taken: bool,
    /// Digest of the desired state that is synced.
    pub(in crate::controller) desired: String,
    pub(in crate::controller) began: Instant,
    /// When something was begun last.
    pub(in crate::controller) moved: Instant,
    /// The API server was asked about all objects.
    pub(in crate::controller) checked: bool,
    pub(in crate::controller) applied: BTreeSet<ResourceKey>,
    /// What may be pruned by this sync: what was allowed once stays so while it goes one by one.
    pub(in crate::controller) prunable: BTreeSet<ResourceKey>,
    /// A person asked for deletions that wait for approval.
    pub(in crate::controller) waits_to_prune: bool,
    /// Those of them that a person agreed to.
    pub(in crate::controller) confirmed: BTreeSet<ResourceKey>,
    pub(in crate::controller) pruned: BTreeSet<ResourceKey>,
    pub(in crate::controller) failed: BTreeMap<ResourceKey, String>,
    /// Hooks that the API server would not take, by their place among the desired ones.
    pub(in crate::controller) refused: BTreeMap<usize, String>,
    /// When Events were asked for last.
    pub(in crate::controller) asked_why: Option<Instant>,
    /// What could not be asked about yet, with what it needs of this sync.
    pub(in crate::controller) needs: Needs,
    /// It does not prune, as another application may take over what is stale just now.
    pub(in crate::controller) may_move: bool,
    /// What is stale stands in the way of what comes: it waits until it is known who desires that.
    pub(in crate::controller) waits_to_move: bool,
    /// What leaves the source and goes before what it stands in the way of.
    pub(in crate::controller) cleared: BTreeMap<ResourceKey, Cleared>,
    /// What was done to the destination namespace, which is none of the desired objects.
    pub(in crate::controller) namespace: Option<ResourceResult>,
    /// What was done, for the status.
    pub(in crate::controller) rows: Vec<ResourceResult>,
    /// How many rows more it had before the agent was started again.
    pub(in crate::controller) left_out: usize,
    pub(in crate::controller) checked_at: Option<Instant>,
    pub(in crate::controller) applied_at: Option<Instant>,
}

/// What is said of an object that was to be pruned and keeps itself.
pub(in crate::controller) const PRUNE_SKIPPED: &str = "PruneSkipped";
/// How long a controller has to look at what was applied before its word counts.
pub(in crate::controller) const SETTLE: Duration = Duration::from_secs(2);

impl Running {
    pub(in crate::controller) fn new(
        reason: Reason,
        mut sync: SyncOperation,
        desired: String,
    ) -> Self {
        let now = Instant::now();
        sync.sync_options = sync.all_options();
        Self {
            reason,
            taken: false,
            sync,
            desired,
            began: now,
            moved: now,
            checked: false,
            applied: BTreeSet::new(),
            prunable: BTreeSet::new(),
            waits_to_prune: false,
            confirmed: BTreeSet::new(),
            pruned: BTreeSet::new(),
            failed: BTreeMap::new(),
            refused: BTreeMap::new(),
            asked_why: None,
            needs: Needs::new(),
            may_move: false,
            waits_to_move: false,
            cleared: BTreeMap::new(),
            namespace: None,
            rows: Vec::new(),
            left_out: 0,
            checked_at: None,
            applied_at: None,
        }
    }

    /// Whether the whole desired state is synced, with hooks and waves. Repairing drift or a few
    /// objects that a person named is not, as in Argo CD.
    pub(in crate::controller) fn is_whole(&self) -> bool {
        self.sync.resources.is_empty() && self.reason != Reason::Drift
    }

    /// What was done so far, for the status, and how many rows it has no room for.
    pub(in crate::controller) fn results(&self) -> (Vec<ResourceResult>, i64) {
        let namespace = self.namespace.iter();
        let mut rows = namespace.chain(&self.rows).cloned().collect();
        let earlier = i64::try_from(self.left_out).unwrap_or(i64::MAX);
        let left_out = room::results(&mut rows).saturating_add(earlier);
        (rows, left_out)
    }

    /// How many objects and hooks something was done to.
    pub(in crate::controller) fn changes(&self) -> usize {
        let kept = |row: &&ResourceResult| row.status == PRUNE_SKIPPED;
        self.left_out + self.rows.len() - self.rows.iter().filter(kept).count()
    }

    /// The options of the application as they are now, and of this sync where it says more.
    pub(in crate::controller) fn options(&self, application: &Application) -> SyncOptions {
        let options = SyncOptions::of_application(application.spec.sync_options());
        options.with(&self.sync.sync_options)
    }

    pub(in crate::controller) fn replaces(&self) -> bool {
        SyncOptions::of_application(&self.sync.sync_options).replace
    }

    /// Whether something is to go first that goes last in these tasks.
    pub(in crate::controller) fn has_new_order(&self, tasks: &[Task]) -> bool {
        let known = |task: &Task, key: &ResourceKey| {
            let cleared = self.cleared.get(key);
            cleared.is_none_or(|cleared| task.first && task.place == cleared.place)
        };
        tasks
            .iter()
            .any(|task| matches!(&task.subject, Subject::Prune(key) if !known(task, key)))
    }

    /// What was deleted, as it stood in the way of something.
    pub(in crate::controller) fn gone(&self) -> Vec<&Object> {
        let gone = |key: &ResourceKey| self.pruned.contains(key);
        let cleared = self.cleared.iter().filter(|(key, _)| gone(key));
        cleared.map(|(_, cleared)| &cleared.object).collect()
    }

    pub(in crate::controller) fn selects(&self, key: &ResourceKey) -> bool {
        let wanted = &self.sync.resources;
        wanted.is_empty() || wanted.iter().any(|selector| selector.selects(key))
    }

    pub(in crate::controller) fn patience(&self, timeout: Duration) -> Patience {
        let waited = self.moved.elapsed();
        Patience {
            settled: waited >= SETTLE,
            over: waited >= timeout,
            limit: timeout,
        }
    }

    /// When waiting may come to another end without news; none when it cannot: for a person's word
    /// it waits as long as that takes.
    pub(in crate::controller) fn next_look(&self, timeout: Duration) -> Option<Duration> {
        let waited = self.moved.elapsed();
        let until = if waited < SETTLE { SETTLE } else { timeout };
        until.checked_sub(waited)
    }
}

/// A stale object that is deleted before what it stands in the way of.
pub(in crate::controller) struct Cleared {
    /// Where that is applied.
    pub(in crate::controller) place: Place,
    /// The stale object, as far as it was judged.
    pub(in crate::controller) object: Object,
}

/// How a sync ends.
pub(in crate::controller) enum End {
    Succeeded,
    Failed(String),
    /// What came in between: another desired state, or what a person asked for.
    Superseded(String),
    /// A person ended it.
    Terminated(String),
}
