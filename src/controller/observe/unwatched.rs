//! Objects of kinds that cannot be watched, because they are served so or may not be listed: each
//! is read when its application is looked at.

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream};

use crate::cluster::Cluster;
use crate::controller::{Context, context::cluster_of, live::observed::Seen, state::State};
use crate::crd::{Application, ApplicationKey};
use crate::object::{Kind, ResourceKey};
use crate::sync::Lookup;

/// How long until the next look when nothing else leads to one: Argo CD's interval.
const LOOK_AGAIN: Duration = Duration::from_mins(3);
/// Reads at a time.
const AT_ONCE: usize = 16;

/// Reads what no watch shows, as the application's account. Nothing is asked when all is watched.
/// Rights that are missing end up with the objects that cannot be read.
pub(in crate::controller) async fn read(
    context: &Context,
    state: &mut State,
    application: &Application,
) {
    let own = &application.key;
    let desired = state.desired.iter().flat_map(|desired| &desired.objects);
    let desired = desired.map(|(key, object)| (key, &object.kind));
    let held = state.inventory.iter().map(|(key, held)| (key, &held.kind));
    let mut shown: HashMap<(&Kind, &str), bool> = HashMap::new();
    let mut is_shown = |kind, namespace| {
        *shown
            .entry((kind, namespace))
            .or_insert_with(|| context.live.shows(kind, namespace))
    };
    let unknown: HashMap<_, _> = desired
        .chain(held)
        .filter(|(key, kind)| !is_shown(kind, key.namespace.as_str()))
        .map(|(key, kind)| (key.clone(), kind.clone()))
        .collect();
    let cluster = cluster_of(context, application);
    let reads = unknown
        .into_iter()
        .map(|(key, kind)| one(&cluster, own, key, kind));
    let reads: Vec<_> = reads.collect();
    state.reads = stream::iter(reads).buffered(AT_ONCE).collect().await;
    if !state.reads.is_empty() {
        state.look_again_in(LOOK_AGAIN);
    }
}

async fn one(
    cluster: &Cluster,
    own: &ApplicationKey,
    key: ResourceKey,
    kind: Kind,
) -> (ResourceKey, Result<Lookup, String>) {
    let read = cluster.find(&kind, &key).await;
    let read = read.map_err(|error| error.to_string());
    let read = read.map(|live| match live {
        Some(live) => Lookup::Found(Seen::of(&live).seen_from(own)),
        None => Lookup::Absent,
    });
    (key, read)
}
