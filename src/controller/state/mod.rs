//! What one application's task remembers between two looks.

pub(in crate::controller) mod answered;
pub(in crate::controller) mod asked;
pub(in crate::controller) mod fault;
pub(in crate::controller) mod fights;
mod hibernate;
pub(in crate::controller) mod room;
pub(in crate::controller) mod settled;
pub(in crate::controller) mod sync_run;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;

use crate::controller::{
    mailbox::Inbox,
    state::{
        answered::Answered, asked::Asked, fault::Fault, fights::Fights, room::Room,
        settled::Settled, sync_run::Running,
    },
};
use crate::crd::names::REFRESH;
use crate::crd::{
    Application, ApplicationStatus, Attempt, Ended, HookPhase, HookResult, HookStatus, Inventory,
    InventoryEntry, OperationPhase, OperationState, Pin, StoredField, Timing,
};
use crate::diff::{Baseline, Digest, IgnoreRules};
use crate::object::{Kind, ResourceKey};
use crate::plan::retry_pause;
use crate::sync::{Desired, DesiredHook, Lookup, Manifests};
use crate::telemetry::Trigger;
use crate::trigger::{Cause, Following, Revision, SourceFault};

/// What is held of one object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Held {
    pub(in crate::controller) kind: Kind,
    pub(in crate::controller) wave: i32,
    /// It is deleted only when all that was applied is healthy (`PruneLast`).
    pub(in crate::controller) last: bool,
    pub(in crate::controller) hook: bool,
    /// How it ended, as it was applied last, if it runs once.
    pub(in crate::controller) ended: Option<Ended>,
    /// It is stale, and the guard let it go already.
    pub(in crate::controller) counted: bool,
}

#[derive(Default)]
pub(in crate::controller) struct State {
    pub(in crate::controller) application: Option<Box<Application>>,
    /// The Application and its status while nothing is to be done.
    pub(in crate::controller) resting: Option<Resting>,
    /// The status as it was written last.
    pub(in crate::controller) written: Box<ApplicationStatus>,
    pub(in crate::controller) following: Option<Following>,
    /// The newest revision of the source.
    pub(in crate::controller) revision: Option<Revision>,
    pub(in crate::controller) source_error: Option<SourceFault>,
    pub(in crate::controller) desired: Option<Desired>,
    /// The manifests of the desired state, between a render and the sync that follows it.
    pub(in crate::controller) manifests: Option<Manifests>,
    /// The newest revision could not be rendered or compared.
    pub(in crate::controller) compare_error: Option<String>,
    /// How often in a row it could not be, though another attempt may help.
    pub(in crate::controller) render_failures: u32,
    /// The last render used up its time or memory, and is not tried again before this.
    pub(in crate::controller) renders_at: Option<Instant>,
    /// What the desired state was made from, apart from the commit.
    pub(in crate::controller) rendered_spec: Option<Digest>,
    pub(in crate::controller) inventory: BTreeMap<ResourceKey, Held>,
    pub(in crate::controller) baselines: HashMap<ResourceKey, Baseline>,
    /// How much of it fits into the status.
    pub(in crate::controller) room: Room,
    /// Every object is asked about once, whatever the watches showed.
    pub(in crate::controller) verifies: bool,
    pub(in crate::controller) verified: Option<Instant>,
    /// It was asked what ended while no agent ran.
    pub(in crate::controller) recalled: bool,
    /// The destination namespace was seen with all that is asked for by this digest.
    pub(in crate::controller) namespace_held: Option<Digest>,
    /// What no watch shows, as it was read last.
    pub(in crate::controller) reads: Reads,
    pub(in crate::controller) ignore: IgnoreRules,
    /// When the rules changed last.
    pub(in crate::controller) named_since: Option<Instant>,
    /// The rules before, while what either is about was not asked about anew.
    pub(in crate::controller) ignored_before: Option<IgnoreRules>,
    /// What the API server stores otherwise than it was sent, of the objects where it does.
    pub(in crate::controller) stored: BTreeMap<ResourceKey, Vec<StoredField>>,
    /// Suspicions that a dry run settled, at this resourceVersion and for this manifest.
    pub(in crate::controller) settled_suspicions: HashMap<ResourceKey, (String, Settled)>,
    pub(in crate::controller) operation: Option<OperationState>,
    pub(in crate::controller) fights: Fights,
    /// What keeps it from doing anything by itself: the type of the condition, and why.
    pub(in crate::controller) holds: Vec<(&'static str, String)>,
    /// The sync that is under way.
    pub(in crate::controller) running: Option<Running>,
    /// How the hooks of the newest desired state did.
    pub(in crate::controller) hooks: Vec<HookResult>,
    /// Nothing is done by itself for this desired state: a person ended its sync.
    pub(in crate::controller) held: Option<String>,
    pub(in crate::controller) pin: Option<Pin>,
    /// The sync that was asked for last, and whether the source could be read for it.
    pub(in crate::controller) asked: Option<Box<Asked>>,
    /// What became of the last wish to go back.
    pub(in crate::controller) answered: Option<Box<Answered>>,
    pub(in crate::controller) attempts: Vec<Attempt>,
    pub(in crate::controller) sync_error: Option<String>,
    pub(in crate::controller) prune_held: Option<String>,
    /// Why there will be no way back to the last deployment.
    pub(in crate::controller) bundle_error: Option<String>,
    pub(in crate::controller) failures: u32,
    pub(in crate::controller) next_attempt: Option<Instant>,
    pub(in crate::controller) timing: Option<Timing>,
    /// When the change that `timing` is about was received and how, until it is healthy.
    pub(in crate::controller) moving: Option<(Instant, Trigger)>,
    /// Requests on Applications up to this resourceVersion were taken up already.
    pub(in crate::controller) taken_up: Option<u128>,
    /// A wish to refresh was passed on, and the source answered since.
    pub(in crate::controller) refreshing: bool,
    pub(in crate::controller) source_answered: bool,
    /// Wishes to refresh on Applications before this resourceVersion were answered already.
    pub(in crate::controller) refreshed: Option<u128>,
    /// Its task panicked, as people are told until it went well for a while.
    pub(in crate::controller) fault: Option<Fault>,
    /// When to look again without being woken.
    pub(in crate::controller) due: Option<Instant>,
}

/// What was read, or why it could not be.
pub(in crate::controller) type Reads = HashMap<ResourceKey, Result<Lookup, String>>;

/// An Application and what was written of it, packed.
pub(in crate::controller) struct Resting(pub(super) Box<[u8]>);

/// Whole milliseconds.
pub(in crate::controller) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl State {
    /// Takes in what arrived.
    pub(in crate::controller) fn absorb(&mut self, inbox: Inbox) {
        if let Some(application) = inbox.application {
            self.take_application(application);
        }
        if let Some(revision) = inbox.revision {
            // A new commit is tried at once, whatever became of the one before. The first one after
            // a start is new only when it is another than that of the status.
            if self.revision.is_some() || revision.commit_id != self.written.sync.revision {
                self.retry_now();
                self.render_now();
            }
            self.revision = Some(revision);
        }
        self.source_answered |= inbox.source.is_some();
        match inbox.source {
            Some(Ok(())) => self.source_error = None,
            Some(Err(fault)) => self.source_error = Some(fault),
            None => {}
        }
    }

    /// Takes the inventory back to what it was before something was to be created.
    pub(in crate::controller) fn restore(&mut self, before: Vec<(ResourceKey, Option<Held>)>) {
        for (key, known) in before {
            match known {
                Some(held) => drop(self.inventory.insert(key, held)),
                None => self.forget(&key),
            }
        }
    }

    pub(in crate::controller) fn retry_now(&mut self) {
        self.failures = 0;
        self.next_attempt = None;
    }

    /// Another render is tried at once, whatever became of the one before.
    pub(in crate::controller) fn render_now(&mut self) {
        self.render_failures = 0;
        self.renders_at = None;
    }

    fn take_application(&mut self, mut application: Box<Application>) {
        // One whose status was corrected is as new: nothing was done meanwhile.
        let repaired = |known: &Application| known.inventory_unknown;
        let known = self.application.as_deref();
        let repaired = known.is_some_and(repaired) && !application.inventory_unknown;
        if repaired || known.is_none_or(|known| known.uid != application.uid) {
            let fault = self.fault.take();
            *self = Self::from_status(&application.status);
            self.fault = fault;
            self.go_on_waiting(&application, Timestamp::now());
        }
        // From here on `written` is what counts.
        application.status = ApplicationStatus::default();
        let version = application.resource_version.parse::<u128>().ok();
        if version.is_some() && version < self.taken_up {
            application.remove_operation();
        }
        if version.is_some() && version < self.refreshed {
            application.remove_annotation(REFRESH);
        }
        if self
            .application
            .as_ref()
            .is_some_and(|known| known.spec != application.spec)
        {
            self.answered = None;
            self.room = Room::default();
            self.retry_now();
            self.render_now();
            // What is done from here on is due to this change, and not to what brought the commit.
            if let Some(revision) = &mut self.revision {
                revision.cause = Cause::Application;
                revision.received = Instant::now();
            }
        }
        self.application = Some(application);
    }

    /// Goes on with the pause after a failure that was begun before a restart.
    fn go_on_waiting(&mut self, application: &Application, now: Timestamp) {
        let operation = application.status.operation_state.as_ref();
        let failed = operation.filter(|operation| {
            let by = operation.operation.initiated_by.as_ref();
            operation.phase == OperationPhase::Failed && by.is_some_and(|by| by.automated)
        });
        let Some((failed, ended)) = failed.and_then(|failed| {
            let ended: Timestamp = failed.finished_at.as_ref()?.parse().ok()?;
            Some((failed, ended))
        }) else {
            return;
        };
        self.failures = u32::try_from(failed.retry_count)
            .unwrap_or(0)
            .saturating_add(1);
        let passed = now.duration_since(ended).try_into().unwrap_or_default();
        let pause = retry_pause(&application.spec, self.failures);
        self.next_attempt = Some(Instant::now() + pause.saturating_sub(passed));
        self.sync_error = Some(failed.message.clone());
    }

    /// What a status that was written earlier says.
    pub(in crate::controller) fn from_status(status: &ApplicationStatus) -> Self {
        let mut state = Self {
            written: Box::new(status.clone()),
            operation: status.operation_state.clone(),
            hooks: status.hooks.clone(),
            held: held(status.operation_state.as_ref()),
            pin: status.pin.clone(),
            attempts: status.attempts.clone(),
            timing: status.timing.clone(),
            bundle_error: condition(status, "HistoryWarning"),
            ..Self::default()
        };
        state.take_inventory(&status.inventory);
        for field in &status.stored {
            if let Some(key) = ResourceKey::parse(&field.id) {
                state.stored.entry(key).or_default().push(field.clone());
            }
        }
        state
    }

    /// Takes in an inventory as it is written.
    pub(in crate::controller) fn take_inventory(&mut self, inventory: &Inventory) {
        for entry in inventory.entries.iter() {
            let Some(key) = ResourceKey::parse(&entry.id) else {
                continue;
            };
            let kind = Kind {
                group: key.group.clone(),
                version: entry.v.clone(),
                kind: key.kind.clone(),
            };
            let baseline = STANDARD_NO_PAD.decode(&entry.h).ok();
            if let Some(baseline) = baseline.and_then(|bytes| Baseline::from_bytes(&bytes)) {
                self.baselines.insert(key.clone(), baseline);
            }
            let held = Held {
                kind,
                wave: entry.w,
                last: entry.last,
                hook: entry.hook,
                ended: entry.ended,
                counted: entry.counted,
            };
            self.inventory.insert(key, held);
        }
    }

    /// The inventory as it is written.
    pub(in crate::controller) fn inventory_status(&self) -> Inventory {
        let entries = self.inventory.iter().map(|(key, held)| InventoryEntry {
            id: key.id(),
            v: held.kind.version.clone(),
            w: held.wave,
            last: held.last,
            hook: held.hook,
            ended: held.ended,
            counted: held.counted,
            h: self
                .baselines
                .get(key)
                .map(|baseline| STANDARD_NO_PAD.encode(baseline.to_bytes()))
                .unwrap_or_default(),
        });
        Inventory::new(entries.collect())
    }

    /// Every kind that is desired or was created.
    pub(in crate::controller) fn kinds(&self) -> BTreeSet<Kind> {
        let desired = self
            .desired
            .iter()
            .flat_map(|desired| desired.objects.values());
        desired
            .map(|object| &object.kind)
            .chain(self.inventory.values().map(|held| &held.kind))
            .chain(self.hooks_desired().map(|hook| &hook.kind))
            .cloned()
            .collect()
    }

    /// The kind by which a key is watched.
    pub(in crate::controller) fn kind_of(&self, key: &ResourceKey) -> Option<&Kind> {
        let desired = self
            .desired
            .as_ref()
            .and_then(|desired| desired.objects.get(key));
        desired
            .map(|object| &object.kind)
            .or_else(|| self.inventory.get(key).map(|held| &held.kind))
    }

    fn hooks_desired(&self) -> impl Iterator<Item = &DesiredHook> {
        self.desired.iter().flat_map(|desired| &desired.hooks)
    }

    /// How a hook did in a phase, for the desired state there is.
    pub(in crate::controller) fn hook_result(
        &self,
        hook: &DesiredHook,
        phase: HookPhase,
    ) -> Option<&HookResult> {
        self.hook_result_of(&self.desired.as_ref()?.digest, hook, phase)
    }

    fn hook_result_of(
        &self,
        digest: &str,
        hook: &DesiredHook,
        phase: HookPhase,
    ) -> Option<&HookResult> {
        self.hooks.iter().find(|result| {
            result.phase == phase
                && result.desired == *digest
                && ResourceKey::parse(&result.id).is_some_and(|key| hook.made(&key))
        })
    }

    /// Remembers how a hook does; what is remembered of other desired states goes, and of an
    /// earlier run of the same hook, whose object may have had another name.
    pub(in crate::controller) fn set_hook_result(
        &mut self,
        hook: &DesiredHook,
        result: HookResult,
    ) {
        self.hooks.retain(|known| {
            let same = known.phase == result.phase
                && ResourceKey::parse(&known.id).is_some_and(|key| hook.made(&key));
            known.desired == result.desired && !same
        });
        self.hooks.push(result);
    }

    /// How many hooks did not run to their end for the desired state there is.
    pub(in crate::controller) fn open_hooks(&self) -> usize {
        let desired = self.desired.as_ref();
        desired.map_or(0, |desired| self.open_hooks_of(desired).count())
    }

    /// The hooks that did not run to their end for a desired state.
    pub(in crate::controller) fn open_hooks_of<'a>(
        &'a self,
        desired: &'a Desired,
    ) -> impl Iterator<Item = &'a DesiredHook> {
        let done = |hook: &DesiredHook, phase: &HookPhase| {
            *phase >= HookPhase::SyncFail
                || self
                    .hook_result_of(&desired.digest, hook, *phase)
                    .is_some_and(|result| result.status == HookStatus::Succeeded)
        };
        let hooks = desired.hooks.iter();
        hooks.filter(move |hook| !hook.hook.phases.iter().all(|phase| done(hook, phase)))
    }

    /// Takes an object off the inventory that is gone or not ours any more.
    pub(in crate::controller) fn forget(&mut self, key: &ResourceKey) {
        self.inventory.remove(key);
        self.stored.remove(key);
        self.baselines.remove(key);
    }

    pub(in crate::controller) fn look_again_in(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// What the desired state is made from, apart from the commit.
pub(in crate::controller) fn rendered_spec(application: &Application) -> Digest {
    Digest::of(&application.rendered_spec())
}

/// What a condition said.
fn condition(status: &ApplicationStatus, type_: &str) -> Option<String> {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|condition| condition.type_ == type_);
    found.map(|condition| condition.message.clone())
}

/// The desired state that a person ended the sync of.
fn held(operation: Option<&OperationState>) -> Option<String> {
    let operation = operation.filter(|operation| !operation.terminated_by.is_empty())?;
    Some(operation.sync_result.as_ref()?.desired.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    fn application(version: u64, operation: serde_json::Value) -> Application {
        read(
            Object::new(json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"uid": "u", "namespace": "a", "name": "b", "resourceVersion": version.to_string()},
                "spec": {"source": {"repoURL": "https://e.com/a"}}, "operation": operation,
            }))
            .unwrap(),
        )
    }

    #[test]
    fn an_inventory_is_read_as_it_was_written() {
        let mut state = State::default();
        let key = ResourceKey::parse("apps/Deployment:shop/web").unwrap();
        let kind = Kind {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
        };
        let digest = Digest::of(&json!(1));
        let baseline = Baseline {
            desired: digest,
            entry: digest,
            projection: digest,
        };
        let held = Held {
            kind,
            wave: -3,
            last: true,
            hook: true,
            ended: Some(Ended::Complete),
            counted: true,
        };
        state.inventory.insert(key.clone(), held.clone());
        state.baselines.insert(key.clone(), baseline);
        let status = ApplicationStatus {
            inventory: state.inventory_status(),
            ..Default::default()
        };
        let again = State::from_status(&status);
        assert_eq!(again.inventory, BTreeMap::from([(key.clone(), held)]));
        assert_eq!(again.baselines.get(&key), Some(&baseline));
    }

    #[test]
    fn the_pause_after_a_failure_goes_on_after_a_restart() {
        let failed = |automated: bool, phase: &str| {
            json!({
                "phase": phase, "startedAt": "2026-03-10T12:00:00Z",
                "finishedAt": "2026-03-10T12:00:00Z", "retryCount": 2,
                "operation": {"initiatedBy": {"automated": automated}},
            })
        };
        let now: Timestamp = "2026-03-10T12:00:05Z".parse().unwrap();
        for (operation, failures, left) in [
            (failed(true, "Failed"), 3, Some(15)),
            (failed(false, "Failed"), 0, None),
            (failed(true, "Succeeded"), 0, None),
        ] {
            let mut failing = application(7, serde_json::Value::Null);
            failing.status.operation_state = serde_json::from_value(operation.clone()).unwrap();
            let mut state = State::default();
            state.go_on_waiting(&failing, now);
            assert_eq!(state.failures, failures, "{operation}");
            let pause = state
                .next_attempt
                .map(|at| at.duration_since(Instant::now()));
            assert_eq!(
                pause.map(|it| it.as_secs_f64().round()),
                left.map(f64::from)
            );
        }
    }

    #[test]
    fn only_a_commit_that_is_new_ends_the_pause_after_a_failure() {
        let now = Instant::now();
        let revision = |commit_id: &str| Inbox {
            revision: Some(Revision {
                commit_id: commit_id.to_owned(),
                cause: Cause::Manual,
                received: now,
                fetched: now,
            }),
            ..Inbox::default()
        };
        let mut state = State::default();
        "abc".clone_into(&mut state.written.sync.revision);
        state.failures = 3;
        state.absorb(revision("abc"));
        assert_eq!(state.failures, 3);
        state.absorb(revision("def"));
        assert_eq!(state.failures, 0);
    }

    #[test]
    fn an_operation_that_was_taken_up_does_not_come_back_with_a_late_event() {
        let mut state = State::default();
        let asked = json!({"sync": {}});
        let arrive = |application| Inbox {
            application: Some(Box::new(application)),
            ..Inbox::default()
        };
        state.absorb(arrive(application(7, asked.clone())));
        assert!(state.application.as_ref().unwrap().operation.is_some());
        state.taken_up = Some(9);
        state.absorb(arrive(application(8, asked.clone())));
        assert!(state.application.as_ref().unwrap().operation.is_none());
        state.absorb(arrive(application(10, asked)));
        assert!(state.application.as_ref().unwrap().operation.is_some());
    }

    #[test]
    fn a_wish_to_refresh_that_was_answered_does_not_come_back_with_a_late_event() {
        let mut state = State::default();
        for (version, refreshed, wished) in [
            (7, None, true),
            (8, Some(9), false),
            (9, Some(9), true),
            (10, Some(9), true),
        ] {
            let mut late = application(version, serde_json::Value::Null);
            late.object.set_annotation("trimtab.dev/refresh", "hard");
            state.refreshed = refreshed;
            state.absorb(Inbox {
                application: Some(Box::new(late)),
                ..Inbox::default()
            });
            let kept = state.application.as_ref().unwrap().annotation(REFRESH);
            assert_eq!(kept.is_some(), wished, "{version}");
        }
    }
}
