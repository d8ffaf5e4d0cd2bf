//! What is remembered of the live objects: one watch a kind, selected by our label. Each event is
//! looked at once, digested and dropped.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use crate::cluster::{Cluster, Error, Selection, Served, WatchEvent};
use crate::crd::names::{FIELD_MANAGER, TRACKING_LABEL, tracked_by};
use crate::crd::options::{is_extraneous, prune_consent};
use crate::crd::{ApplicationKey, Consent, Health};
use crate::diff::{Observation, observe};
use crate::health;
use crate::object::{Kind, Object, ResourceKey};
use crate::sync::{Live, Lookup};

/// How long the first list of a kind may take before a sync goes on without it.
const FIRST_LIST: Duration = Duration::from_secs(15);

/// All watched kinds and what is known of their objects.
pub(crate) struct LiveTable {
    cluster: Cluster,
    /// Called with every application whose objects changed in a way that matters.
    wake: Box<dyn Fn(&ApplicationKey) + Send + Sync>,
    tables: Mutex<HashMap<Kind, Arc<Table>>>,
    /// Kinds that the cluster said it does not serve: they have no objects.
    unserved: Mutex<HashSet<Kind>>,
}

/// One kind.
struct Table {
    state: Mutex<TableState>,
    listed: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct TableState {
    objects: HashMap<Name, Seen>,
    /// Names that the running list did not show yet; none when no list is running.
    unconfirmed: Option<HashSet<Name>>,
    listed: bool,
    users: BTreeSet<ApplicationKey>,
}

type Name = (String, String);

struct Seen {
    owner: Option<ApplicationKey>,
    prune: Option<Consent>,
    extraneous: bool,
    observation: Observation,
    health: Option<Health>,
    /// Every write to it matters, not only those that show in the observation: what somebody
    /// took from us is out of our sight.
    suspect: bool,
}

impl LiveTable {
    pub(crate) fn new(
        cluster: Cluster,
        wake: impl Fn(&ApplicationKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            wake: Box::new(wake),
            tables: Mutex::default(),
            unserved: Mutex::default(),
        })
    }

    /// Watches these kinds for an application, and no others for it; waits for the first list of
    /// the new ones. A kind that the cluster does not serve is left out.
    pub(crate) async fn watch_for(
        self: &Arc<Self>,
        application: &ApplicationKey,
        kinds: &BTreeSet<Kind>,
    ) {
        self.release(application, kinds);
        for kind in kinds {
            let known = lock(&self.tables).get(kind).cloned();
            let table = match known {
                Some(table) => table,
                None => match self.cluster.served(kind).await {
                    Ok(served) => {
                        lock(&self.unserved).remove(kind);
                        if !served.watchable {
                            continue;
                        }
                        self.start(served)
                    }
                    Err(Error::UnknownKind(_)) => {
                        lock(&self.unserved).insert(kind.clone());
                        continue;
                    }
                    Err(_) => continue,
                },
            };
            lock(&table.state).users.insert(application.clone());
        }
        for kind in kinds {
            let Some(table) = lock(&self.tables).get(kind).cloned() else {
                continue;
            };
            let wait = async {
                loop {
                    let listed = table.listed.notified();
                    if lock(&table.state).listed {
                        return;
                    }
                    listed.await;
                }
            };
            if tokio::time::timeout(FIRST_LIST, wait).await.is_err() {
                tracing::warn!(%kind, "the first list of a watch takes long");
            }
        }
    }

    /// What is remembered of one object, seen from an application.
    pub(crate) fn look_up(
        &self,
        application: &ApplicationKey,
        kind: &Kind,
        key: &ResourceKey,
    ) -> Lookup {
        let Some(table) = lock(&self.tables).get(kind).cloned() else {
            let unserved = lock(&self.unserved).contains(kind);
            return if unserved {
                Lookup::Absent
            } else {
                Lookup::Unknown
            };
        };
        let state = lock(&table.state);
        let Some(seen) = state
            .objects
            .get(&(key.namespace.clone(), key.name.clone()))
        else {
            return if state.listed {
                Lookup::Absent
            } else {
                Lookup::Unknown
            };
        };
        let ours = seen.owner.as_ref() == Some(application);
        Lookup::Found(Live {
            observation: seen.observation.clone(),
            health: seen.health.clone(),
            ours,
            prune: seen.prune,
            extraneous: seen.extraneous,
            other_owner: seen.owner.clone().filter(|_| !ours),
        })
    }

    /// Takes in what the answer to our own apply showed, ahead of the watch.
    pub(crate) fn record(
        &self,
        application: &ApplicationKey,
        kind: &Kind,
        key: &ResourceKey,
        observation: Observation,
        health: Option<Health>,
    ) {
        let Some(table) = lock(&self.tables).get(kind).cloned() else {
            return;
        };
        let name = (key.namespace.clone(), key.name.clone());
        let mut state = lock(&table.state);
        let before = state.objects.get(&name);
        let seen = Seen {
            owner: Some(application.clone()),
            // The watch says what the object says about these.
            prune: before.and_then(|seen| seen.prune),
            extraneous: before.is_some_and(|seen| seen.extraneous),
            observation,
            health,
            suspect: false,
        };
        insert(&mut state, name, seen);
    }

    /// Wakes the application at every write to this object until it is applied again.
    pub(crate) fn suspect(&self, kind: &Kind, key: &ResourceKey) {
        let Some(table) = lock(&self.tables).get(kind).cloned() else {
            return;
        };
        let name = (key.namespace.clone(), key.name.clone());
        if let Some(seen) = lock(&table.state).objects.get_mut(&name) {
            seen.suspect = true;
        }
    }

    /// How many objects are remembered.
    pub(crate) fn len(&self) -> usize {
        let tables: Vec<_> = lock(&self.tables).values().cloned().collect();
        tables
            .iter()
            .map(|table| lock(&table.state).objects.len())
            .sum()
    }

    /// Ends the watches that nobody uses once `application` uses only `kinds`.
    fn release(&self, application: &ApplicationKey, kinds: &BTreeSet<Kind>) {
        lock(&self.tables).retain(|kind, table| {
            if kinds.contains(kind) {
                return true;
            }
            let mut state = lock(&table.state);
            state.users.remove(application);
            let used = !state.users.is_empty();
            if !used && let Some(task) = lock(&table.task).take() {
                task.abort();
            }
            used
        });
    }

    fn start(self: &Arc<Self>, served: Served) -> Arc<Table> {
        let mut tables = lock(&self.tables);
        if let Some(table) = tables.get(&served.kind) {
            return Arc::clone(table);
        }
        let table = Arc::new(Table {
            state: Mutex::default(),
            listed: Notify::new(),
            task: Mutex::new(None),
        });
        tables.insert(served.kind.clone(), Arc::clone(&table));
        let (this, own) = (Arc::clone(self), Arc::clone(&table));
        let task = tokio::spawn(async move {
            let selection = Selection {
                namespace: None,
                labels: Some(TRACKING_LABEL.to_owned()),
            };
            let kind = served.kind.clone();
            let handle = |event| this.handle(&kind, &own, event);
            this.cluster.watch(&served, selection, handle).await;
        });
        *lock(&table.task) = Some(task);
        table
    }

    fn handle(&self, kind: &Kind, table: &Table, event: WatchEvent) {
        let changed = {
            let mut state = lock(&table.state);
            match event {
                WatchEvent::Listing => {
                    state.unconfirmed = Some(state.objects.keys().cloned().collect());
                    Vec::new()
                }
                WatchEvent::Applied(object) => {
                    let name = name_of(&object);
                    if let Some(unconfirmed) = &mut state.unconfirmed {
                        unconfirmed.remove(&name);
                    }
                    insert(&mut state, name, see(&object))
                }
                WatchEvent::Deleted(object) => {
                    let name = name_of(&object);
                    let newer = state.objects.get(&name).is_some_and(|seen| {
                        is_newer(
                            &seen.observation.resource_version,
                            object.resource_version(),
                        )
                    });
                    let removed = if newer {
                        None
                    } else {
                        state.objects.remove(&name)
                    };
                    removed.and_then(|seen| seen.owner).into_iter().collect()
                }
                WatchEvent::Listed => {
                    let gone = state.unconfirmed.take().unwrap_or_default();
                    let gone = gone.iter().filter_map(|name| state.objects.remove(name));
                    let owners: Vec<_> = gone.filter_map(|seen| seen.owner).collect();
                    state.listed = true;
                    table.listed.notify_waiters();
                    owners
                }
                WatchEvent::Failed(message) => {
                    tracing::warn!(%kind, message, "a watch failed and is tried again");
                    Vec::new()
                }
            }
        };
        for owner in changed.into_iter().collect::<HashSet<_>>() {
            (self.wake)(&owner);
        }
    }
}

fn see(object: &Object) -> Seen {
    Seen {
        owner: tracked_by(object).map(|(namespace, name)| ApplicationKey { namespace, name }),
        prune: prune_consent(object),
        extraneous: is_extraneous(object),
        observation: observe(object, FIELD_MANAGER),
        health: health::assess(object),
        suspect: false,
    }
}

/// Remembers what a watch showed unless something newer is known. Returns whom it matters to.
fn insert(state: &mut TableState, name: Name, mut seen: Seen) -> Vec<ApplicationKey> {
    let mut owners: Vec<ApplicationKey> = Vec::new();
    if let Some(before) = state.objects.get(&name) {
        let (old, new) = (&before.observation, &seen.observation);
        if is_newer(&old.resource_version, &new.resource_version) {
            return owners;
        }
        let same = before.owner == seen.owner
            && before.health == seen.health
            && before.prune == seen.prune
            && before.extraneous == seen.extraneous
            && old.entry == new.entry
            && old.projection == new.projection
            && old.terminating == new.terminating
            && old.by_kubectl == new.by_kubectl
            && old.uid == new.uid
            && !(before.suspect && old.resource_version != new.resource_version);
        seen.suspect = before.suspect;
        if !same {
            owners.extend(before.owner.clone());
            owners.extend(seen.owner.clone());
        }
    } else {
        owners.extend(seen.owner.clone());
    }
    state.objects.insert(name, seen);
    owners
}

/// Whether one resourceVersion is surely newer than another. They are compared as numbers, which
/// Kubernetes promises since 1.35 (KEP-5504); anything else counts as not newer.
fn is_newer(one: &str, other: &str) -> bool {
    match (one.parse::<u128>(), other.parse::<u128>()) {
        (Ok(one), Ok(other)) => one > other,
        _ => false,
    }
}

fn name_of(object: &Object) -> Name {
    (
        object.namespace().unwrap_or_default().to_owned(),
        object.name().to_owned(),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(version: &str, health: Option<Health>) -> Seen {
        let object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": version},
        }))
        .unwrap();
        let owner = ApplicationKey {
            namespace: "trimtab".into(),
            name: "shop".into(),
        };
        Seen {
            owner: Some(owner),
            prune: None,
            extraneous: false,
            observation: observe(&object, FIELD_MANAGER),
            health,
            suspect: false,
        }
    }

    #[test]
    fn only_what_matters_wakes_and_what_is_older_is_dropped() {
        let mut state = TableState::default();
        let name = || ("shop".to_owned(), "a".to_owned());
        assert_eq!(insert(&mut state, name(), seen("7", None)).len(), 1, "new");
        assert_eq!(
            insert(&mut state, name(), seen("8", None)).len(),
            0,
            "churn"
        );
        let healthy = || Some(Health::healthy());
        assert_eq!(
            insert(&mut state, name(), seen("9", healthy())).len(),
            2,
            "health"
        );
        assert_eq!(
            insert(&mut state, name(), seen("8", None)).len(),
            0,
            "older"
        );
        assert_eq!(state.objects[&name()].observation.resource_version, "9");
        state.objects.get_mut(&name()).unwrap().suspect = true;
        assert_eq!(
            insert(&mut state, name(), seen("10", healthy())).len(),
            2,
            "suspect"
        );
    }
}
