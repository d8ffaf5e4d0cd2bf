//! Namespaces and definitions go before the first that needs them, as in Argo CD.

use std::collections::BTreeMap;

use super::Place;
use crate::object::ResourceKey;

/// One manifest, as this looks at it.
pub(crate) struct Needed<'a> {
    pub(crate) key: &'a ResourceKey,
    pub(crate) place: Place,
    /// The kind (group, kind) that it defines.
    pub(crate) defines: Option<(String, String)>,
}

/// The places of namespaces and definitions that come too late where they stand: each takes the
/// place of the first that lives in it or is an instance of it.
pub(crate) fn pull_up(manifests: &[Needed<'_>]) -> BTreeMap<ResourceKey, Place> {
    let mut first_in_namespace: BTreeMap<&str, Place> = BTreeMap::new();
    let mut first_of_kind: BTreeMap<(&str, &str), Place> = BTreeMap::new();
    for manifest in manifests {
        let key = manifest.key;
        let place = manifest.place;
        let namespace = first_in_namespace.entry(&key.namespace).or_insert(place);
        *namespace = (*namespace).min(place);
        let kind = first_of_kind
            .entry((&key.group, &key.kind))
            .or_insert(place);
        *kind = (*kind).min(place);
    }
    let mut pulled = BTreeMap::new();
    for manifest in manifests {
        let needed_by = if is_namespace(manifest.key) {
            first_in_namespace.get(manifest.key.name.as_str())
        } else if let Some((group, kind)) = &manifest.defines {
            first_of_kind.get(&(group.as_str(), kind.as_str()))
        } else {
            None
        };
        if let Some(place) = needed_by.filter(|place| **place < manifest.place) {
            pulled.insert(manifest.key.clone(), *place);
        }
    }
    pulled
}

fn is_namespace(key: &ResourceKey) -> bool {
    key.group.is_empty() && key.kind == "Namespace"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::HookPhase;

    fn key(id: &str) -> ResourceKey {
        ResourceKey::parse(id).unwrap()
    }

    #[test]
    fn what_is_needed_first_goes_first() {
        let at = |phase, wave| Place::of_wave(phase, wave);
        let early = at(HookPhase::PreSync, -3);
        let keys = [
            key("/Namespace:/shop"),
            key("/Namespace:/quiet"),
            key("/ConfigMap:shop/settings"),
            key("apiextensions.k8s.io/CustomResourceDefinition:/widgets.example.com"),
            key("example.com/Widget:shop/first"),
        ];
        let places = [
            at(HookPhase::Sync, 5),
            at(HookPhase::Sync, 5),
            at(HookPhase::Sync, 1),
            at(HookPhase::Sync, 0),
            early,
        ];
        let manifests: Vec<_> = keys
            .iter()
            .zip(places)
            .map(|(key, place)| Needed {
                key,
                place,
                defines: (key.kind == "CustomResourceDefinition")
                    .then(|| ("example.com".to_owned(), "Widget".to_owned())),
            })
            .collect();
        let expected = BTreeMap::from([(keys[0].clone(), early), (keys[3].clone(), early)]);
        assert_eq!(pull_up(&manifests), expected);
    }
}
