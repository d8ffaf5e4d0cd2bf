//! What the task of an application holds while it waits: the Application, its status, inventory
//! and desired state as compressed JSON, a fraction of what they are when they are worked with. A
//! thousand tasks wait, a few work.

use std::io::Read;

use ruzstd::{decoding::StreamingDecoder, encoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::controller::state::{Resting, State};
use crate::crd::{
    Application, ApplicationStatus, Attempt, Inventory, InventoryEntry, Operation, OperationState,
    read,
};
use crate::object::Object;
use crate::sync::Desired;

/// What differs from what the object and the status say themselves is named apart.
#[derive(Serialize, Deserialize)]
struct Packed {
    object: Value,
    operation: Option<Operation>,
    faults: Vec<String>,
    inventory_unknown: bool,
    /// Without its inventory, which is packed with all else.
    written: ApplicationStatus,
    written_inventory: Vec<InventoryEntry>,
    /// Whether the two below are as they were written, and left out.
    as_written: bool,
    operation_state: Option<OperationState>,
    attempts: Vec<Attempt>,
    /// None where it is as it was written.
    inventory: Option<Vec<InventoryEntry>>,
    desired: Option<Desired>,
}

impl State {
    /// Packs what is not needed to wait. Not while a sync runs, which is looked at again and again.
    pub(in crate::controller) fn rest(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some(application) = self.application.take() else {
            return;
        };
        let mut written = *std::mem::take(&mut self.written);
        let written_inventory = std::mem::take(&mut written.inventory).into_entries();
        let mut operation_state = self.operation.take();
        let mut attempts = std::mem::take(&mut self.attempts);
        let as_written = operation_state == written.operation_state && attempts == written.attempts;
        if as_written {
            operation_state = None;
            attempts.clear();
        }
        let inventory = self.inventory_status().into_entries();
        let inventory = (inventory != written_inventory).then_some(inventory);
        (self.inventory, self.baselines) = Default::default();
        let packed = Packed {
            object: application.object.into_value(),
            operation: application.operation,
            faults: application.faults,
            inventory_unknown: application.inventory_unknown,
            as_written,
            operation_state,
            attempts,
            inventory,
            desired: self.desired.take(),
            written,
            written_inventory,
        };
        let json = serde_json::to_vec(&packed).expect("names are texts and numbers are finite");
        let level = encoding::CompressionLevel::Fastest;
        let bytes = encoding::compress_to_vec(json.as_slice(), level);
        self.resting = Some(Resting(bytes.into_boxed_slice()));
    }

    /// Unpacks what [`State::rest`] packed.
    pub(in crate::controller) fn wake(&mut self) {
        let Some(Resting(bytes)) = self.resting.take() else {
            return;
        };
        let mut json = Vec::new();
        let unpacked = StreamingDecoder::new(&bytes[..]).map(|mut it| it.read_to_end(&mut json));
        assert!(matches!(unpacked, Ok(Ok(_))), "it was packed by `rest`");
        let packed: Packed = serde_json::from_slice(&json).expect("it was written by `rest`");
        let object = Object::new(packed.object).expect("it was an object before");
        self.application = Some(Box::new(Application {
            operation: packed.operation,
            faults: packed.faults,
            inventory_unknown: packed.inventory_unknown,
            ..read(object)
        }));
        *self.written = packed.written;
        self.desired = packed.desired;
        let written = Inventory::new(packed.written_inventory);
        match packed.inventory {
            Some(inventory) => self.take_inventory(&Inventory::new(inventory)),
            None => self.take_inventory(&written),
        }
        self.written.inventory = written;
        (self.operation, self.attempts) = if packed.as_written {
            let written = &self.written;
            (written.operation_state.clone(), written.attempts.clone())
        } else {
            (packed.operation_state, packed.attempts)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::controller::mailbox::Inbox;
    use crate::crd::{HookPhase, SyncOptions};
    use crate::diff::{Baseline, Digest};
    use crate::object::{Kind, ResourceKey};
    use crate::plan::Place;
    use crate::sync::DesiredObject;

    fn state(object: Value) -> State {
        let mut state = State::default();
        state.absorb(Inbox {
            application: Some(Box::new(read(Object::new(object).unwrap()))),
            ..Inbox::default()
        });
        state
    }

    fn application(spec: Value, operation: Value) -> Value {
        json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"uid": "u", "namespace": "a", "name": "b", "resourceVersion": "7",
                "annotations": {"trimtab.dev/refresh": "hard"}, "finalizers": ["x.dev/y"]},
            "spec": spec, "operation": operation,
            "status": {
                "sync": {"status": "OutOfSync", "revision": "0123"},
                "operationState": {"phase": "Failed", "startedAt": "s", "message": "no"},
                "attempts": [{"at": "t", "by": "poll", "result": "Failed"}],
                "inventory": {"entries": [{"id": "/ConfigMap:a/b", "v": "v1"}]},
            },
        })
    }

    #[test]
    fn what_rests_wakes_as_it_was() {
        let good =
            json!({"source": {"repoURL": "https://e.com/a"}, "destination": {"namespace": "n"}});
        for (spec, operation) in [
            (good.clone(), Value::Null),
            (good.clone(), json!({"sync": {"prune": true}})),
            (json!({"sources": [7]}), Value::Null),
            (good, json!({"sync": 7})),
        ] {
            let mut rested = state(application(spec.clone(), operation.clone()));
            let waking = state(application(spec, operation));
            rested.rest();
            assert!(rested.application.is_none() && rested.attempts.is_empty());
            rested.wake();
            assert_eq!(
                format!("{:?}", rested.application),
                format!("{:?}", waking.application)
            );
            let object = |state: &State| state.application.as_ref().unwrap().object.clone();
            assert_eq!(object(&rested).fields(), object(&waking).fields());
            assert_eq!(rested.written, waking.written);
            assert_eq!(rested.operation, waking.operation);
            assert_eq!(rested.attempts, waking.attempts);
        }
    }

    #[test]
    fn inventory_and_desired_state_rest_too() {
        let spec = json!({"source": {"repoURL": "https://e.com/a"}});
        let mut state = state(application(spec, Value::Null));
        let digest = Digest::of(&json!(1));
        let key = ResourceKey::parse("apps/Deployment:shop/web").unwrap();
        let kind = Kind {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
        };
        let object = DesiredObject {
            kind,
            digest,
            ignores_health: true,
            place: Place::of_wave(HookPhase::Sync, -3),
            options: SyncOptions {
                force: true,
                ..SyncOptions::default()
            },
        };
        let desired = Desired {
            digest: "ab".into(),
            objects: BTreeMap::from([(key, object)]),
            ..Desired::default()
        };
        state.desired = Some(desired.clone());
        for written in ["/ConfigMap:a/b", "/ConfigMap:a/c"] {
            let key = ResourceKey::parse(written).unwrap();
            let baseline = Baseline {
                desired: digest,
                entry: digest,
                projection: digest,
            };
            state.baselines.insert(key, baseline);
            let before = (state.inventory.clone(), state.baselines.clone());
            state.rest();
            assert!(state.inventory.is_empty() && state.desired.is_none());
            state.wake();
            let known = |key: &ResourceKey| before.0.contains_key(key);
            assert_eq!(state.inventory, before.0);
            assert_eq!(state.baselines.len(), 1, "only of what is in the inventory");
            assert!(state.baselines.keys().all(known));
            assert_eq!(state.desired.as_ref(), Some(&desired));
        }
    }

    #[test]
    fn what_was_taken_up_or_is_not_written_yet_is_kept() {
        let spec = json!({"source": {"repoURL": "https://e.com/a"}});
        let mut state = state(application(spec, json!({"sync": {}})));
        state.application.as_mut().unwrap().operation = None;
        state.operation = None;
        state.attempts.clear();
        state.rest();
        state.wake();
        assert!(state.application.as_ref().unwrap().operation.is_none());
        assert!(state.operation.is_none() && state.attempts.is_empty());
        assert!(state.written.operation_state.is_some());
    }
}
