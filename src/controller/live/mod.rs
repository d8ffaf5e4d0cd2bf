//! What is remembered of the live objects: one watch a kind, selected by our label, or one a kind and
//! namespace where the agent has rights in some namespaces only. Each event is looked at once,
//! digested and dropped.

pub(in crate::controller) mod observed;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use crate::cluster::{Cluster, Error, Selection, Served, WatchEvent};
use crate::controller::live::observed::{Name, Seen, SeenObjects};
use crate::crd::names::TRACKING_LABEL;
use crate::crd::{ApplicationKey, Ended, Health};
use crate::diff::Observation;
use crate::object::{Kind, ResourceKey};
use crate::supervise::supervise;
use crate::sync::Lookup;
use crate::telemetry::Task;

/// How long the first list of a kind may take before a sync goes on without it.
const FIRST_LIST: Duration = Duration::from_secs(15);

/// All watched kinds and what is known of their objects.
pub(crate) struct LiveTable {
    cluster: Cluster,
    /// Called with every application whose objects changed in a way that matters.
    wake: Box<dyn Fn(&ApplicationKey) + Send + Sync>,
    /// Each kind's only table, or one for each of `namespaces`.
    tables: Mutex<HashMap<Kind, Vec<Arc<Table>>>>,
    /// Where namespaced objects are watched; in all namespaces when empty.
    namespaces: Vec<String>,
    /// Kinds that the cluster said it does not serve: they have no objects.
    unserved: Mutex<HashSet<Kind>>,
}

/// One kind, in one namespace or in all.
struct Table {
    namespace: Option<String>,
    state: Mutex<TableState>,
    /// Told when the first list is there or failed.
    listed: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Table {
    /// Returns when the first list is there, or will not be for now.
    async fn told(&self) {
        loop {
            let listed = self.listed.notified();
            if lock(&self.state).is_told() {
                return;
            }
            listed.await;
        }
    }
}

#[derive(Default)]
struct TableState {
    objects: SeenObjects,
    listed: bool,
    /// The last thing heard of the watch is that it failed.
    failed: bool,
    users: BTreeSet<ApplicationKey>,
}

impl TableState {
    /// Whether the first list is there, or will not be for now.
    fn is_told(&self) -> bool {
        self.listed || self.failed
    }
}

impl LiveTable {
    pub(crate) fn new(
        cluster: Cluster,
        namespaces: Vec<String>,
        wake: impl Fn(&ApplicationKey) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            namespaces,
            wake: Box::new(wake),
            tables: Mutex::default(),
            unserved: Mutex::default(),
        })
    }

    /// Watches these kinds for an application, and no others for it; waits for the first list of
    /// the new ones, or until it fails. A kind that the cluster does not serve, or that cannot be
    /// watched, is left out.
    pub(crate) async fn watch_for(
        self: &Arc<Self>,
        application: &ApplicationKey,
        kinds: &BTreeSet<Kind>,
    ) {
        self.release(application, kinds);
        for kind in kinds {
            let known = lock(&self.tables).get(kind).cloned();
            let tables = match known {
                Some(tables) => tables,
                None => match self.cluster.served(kind).await {
                    Ok(served) => {
                        lock(&self.unserved).remove(kind);
                        if !served.watchable {
                            continue;
                        }
                        self.start(&served)
                    }
                    Err(Error::UnknownKind(_)) => {
                        lock(&self.unserved).insert(kind.clone());
                        continue;
                    }
                    Err(_) => continue,
                },
            };
            for table in tables {
                lock(&table.state).users.insert(application.clone());
            }
        }
        for kind in kinds {
            let tables = lock(&self.tables).get(kind).cloned();
            for table in tables.unwrap_or_default() {
                let first = tokio::time::timeout(FIRST_LIST, table.told());
                if first.await.is_err() {
                    tracing::warn!(%kind, "the first list of a watch takes long");
                }
            }
        }
    }

    /// Whether everything of a kind in a namespace is known.
    pub(crate) fn shows(&self, kind: &Kind, namespace: &str) -> bool {
        match self.table(kind, namespace) {
            Some(table) => lock(&table.state).listed,
            None => lock(&self.unserved).contains(kind),
        }
    }

    /// Where the objects of a kind in a namespace are remembered.
    fn table(&self, kind: &Kind, namespace: &str) -> Option<Arc<Table>> {
        let tables = lock(&self.tables);
        let mut tables = tables.get(kind)?.iter();
        let watches = |table: &&Arc<Table>| {
            let watched = table.namespace.as_deref();
            watched.is_none_or(|watched| watched == namespace)
        };
        tables.find(watches).cloned()
    }

    /// What is remembered of one object, seen from an application.
    pub(crate) fn look_up(
        &self,
        application: &ApplicationKey,
        kind: &Kind,
        key: &ResourceKey,
    ) -> Lookup {
        let Some(table) = self.table(kind, &key.namespace) else {
            let unserved = lock(&self.unserved).contains(kind);
            return if unserved {
                Lookup::Absent
            } else {
                Lookup::Unknown
            };
        };
        let state = lock(&table.state);
        // What our own applies left there gets no news.
        if !state.listed && state.failed {
            return Lookup::Unknown;
        }
        let Some(seen) = state.objects.get(Name::new(&key.namespace, &key.name)) else {
            return if state.listed {
                Lookup::Absent
            } else {
                Lookup::Unknown
            };
        };
        Lookup::Found(seen.seen_from(application))
    }

    /// How an object that runs once ended, whether it is still there or not; none while it runs.
    pub(crate) fn ended(&self, kind: &Kind, key: &ResourceKey) -> Option<Ended> {
        let table = self.table(kind, &key.namespace)?;
        let state = lock(&table.state);
        state.objects.ended(Name::new(&key.namespace, &key.name))
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
        let Some(table) = self.table(kind, &key.namespace) else {
            return;
        };
        let name = Name::new(&key.namespace, &key.name);
        let mut state = lock(&table.state);
        let before = state.objects.get(name);
        let seen = Seen {
            owner: Some(application.clone()),
            // The watch says what the object says about these.
            prune: before.as_ref().and_then(|seen| seen.prune),
            extraneous: before.as_ref().is_some_and(|seen| seen.extraneous),
            left_alone: before.as_ref().is_some_and(|seen| seen.left_alone),
            ended: before
                .filter(|seen| seen.observation.uid == observation.uid)
                .and_then(|seen| seen.ended),
            observation,
            health,
            suspect: false,
        };
        state.objects.record(name, seen);
    }

    /// Wakes the application at every write to this object until it is applied again.
    pub(crate) fn suspect(&self, kind: &Kind, key: &ResourceKey) {
        let Some(table) = self.table(kind, &key.namespace) else {
            return;
        };
        let name = Name::new(&key.namespace, &key.name);
        lock(&table.state).objects.suspect(name);
    }

    /// How many objects are remembered.
    pub(crate) fn len(&self) -> usize {
        let tables: Vec<_> = lock(&self.tables).values().flatten().cloned().collect();
        tables
            .iter()
            .map(|table| lock(&table.state).objects.len())
            .sum()
    }

    /// Ends the watches that nobody uses once `application` uses only `kinds`.
    fn release(&self, application: &ApplicationKey, kinds: &BTreeSet<Kind>) {
        lock(&self.tables).retain(|kind, tables| {
            if kinds.contains(kind) {
                return true;
            }
            tables.retain(|table| {
                let mut state = lock(&table.state);
                state.users.remove(application);
                let used = !state.users.is_empty();
                if !used && let Some(task) = lock(&table.task).take() {
                    task.abort();
                }
                used
            });
            !tables.is_empty()
        });
    }

    /// Watches a kind, in each place where that is to be done.
    fn start(self: &Arc<Self>, served: &Served) -> Vec<Arc<Table>> {
        let mut tables = lock(&self.tables);
        if let Some(tables) = tables.get(&served.kind) {
            return tables.clone();
        }
        let started: Vec<_> = places(&self.namespaces, served.namespaced)
            .into_iter()
            .map(|namespace| self.start_in(namespace, served.clone()))
            .collect();
        tables.insert(served.kind.clone(), started.clone());
        started
    }

    fn start_in(self: &Arc<Self>, namespace: Option<String>, served: Served) -> Arc<Table> {
        let table = Arc::new(Table {
            namespace,
            state: Mutex::default(),
            listed: Notify::new(),
            task: Mutex::new(None),
        });
        let (this, own) = (Arc::clone(self), Arc::clone(&table));
        let (metrics, name) = (self.cluster.metrics(), served.kind.clone());
        let task = supervise(&metrics, Task::Watch, name, move |panics| {
            let (this, own, served) = (Arc::clone(&this), Arc::clone(&own), served.clone());
            async move {
                let selection = Selection {
                    namespace: own.namespace.clone(),
                    labels: Some(TRACKING_LABEL.to_owned()),
                };
                let kind = served.kind.clone();
                let handle = |event| this.handle(&kind, &own, event);
                if panics > 0 {
                    handle(WatchEvent::Failed("its task panicked".to_owned()));
                }
                this.cluster.watch(&served, selection, handle).await;
            }
        });
        *lock(&table.task) = Some(task);
        table
    }

    fn handle(&self, kind: &Kind, table: &Table, event: WatchEvent) {
        let changed = {
            let mut state = lock(&table.state);
            match event {
                WatchEvent::Listing => {
                    state.failed = false;
                    state.objects.begin_list();
                    Vec::new()
                }
                WatchEvent::SetBack => {
                    state.objects.forget_versions();
                    Vec::new()
                }
                WatchEvent::Applied(object) => {
                    state.objects.insert(Name::of(&object), Seen::of(&object))
                }
                WatchEvent::Deleted(object) => {
                    let owner = state
                        .objects
                        .remove(Name::of(&object), object.resource_version());
                    owner.into_iter().collect()
                }
                WatchEvent::Listed => {
                    let mut owners = state.objects.end_list();
                    state.failed = false;
                    if !std::mem::replace(&mut state.listed, true) {
                        // They may have gone on without it.
                        owners.extend(state.users.iter().cloned());
                    }
                    table.listed.notify_waiters();
                    owners
                }
                WatchEvent::Refused(message) => {
                    tracing::warn!(%kind, message, "a watch is refused: each object is read");
                    state.failed = true;
                    table.listed.notify_waiters();
                    // What they take for live is of the past.
                    match std::mem::take(&mut state.listed) {
                        true => state.users.iter().cloned().collect(),
                        false => Vec::new(),
                    }
                }
                WatchEvent::Failed(message) => {
                    tracing::warn!(%kind, message, "a watch failed and is tried again");
                    state.failed = true;
                    table.listed.notify_waiters();
                    Vec::new()
                }
            }
        };
        for owner in changed.into_iter().collect::<HashSet<_>>() {
            (self.wake)(&owner);
        }
    }
}

/// The namespaces in which a kind is watched; none for a watch of all.
fn places(namespaces: &[String], namespaced: bool) -> Vec<Option<String>> {
    match namespaced && !namespaces.is_empty() {
        true => namespaces.iter().cloned().map(Some).collect(),
        false => vec![None],
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_watched_where_there_are_rights() {
        let two = ["a".to_owned(), "b".to_owned()];
        for (namespaces, namespaced, expected) in [
            (&[][..], true, vec![None]),
            (&[], false, vec![None]),
            (&two, true, vec![Some("a".to_owned()), Some("b".to_owned())]),
            (&two, false, vec![None]),
        ] {
            assert_eq!(places(namespaces, namespaced), expected);
        }
    }
}
