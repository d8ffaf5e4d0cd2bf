//! The order of an apply and of a deletion.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::{ResourceKey, kind_rank};

/// Where a kind stands: namespaces, then CustomResourceDefinitions, as everything else may live
/// in or be an instance of one created in the same sync, then the classes without which a pod is
/// refused; then Argo CD's kind order.
fn rank(key: &ResourceKey) -> (u8, usize) {
    let first = match key.kind.as_str() {
        "Namespace" if key.group.is_empty() => 0,
        "CustomResourceDefinition" => 1,
        "PriorityClass" | "RuntimeClass" => 2,
        _ => 3,
    };
    (first, kind_rank(&key.kind))
}

/// What objects need that comes with the same sync, as far as the API server said so.
pub(crate) type Needs = BTreeMap<ResourceKey, Vec<ResourceKey>>;

/// The batches of an apply: in the order of kinds, but what needs an object that would not go
/// before it goes after all the others.
pub(crate) fn batches_of_need(keys: &[ResourceKey], needs: &Needs) -> Vec<Vec<ResourceKey>> {
    let here: BTreeSet<_> = keys.iter().collect();
    let waits = |key: &ResourceKey| {
        let needed = needs.get(key).into_iter().flatten();
        let mut needed = needed.filter(|other| here.contains(*other));
        needed.any(|other| rank(other) >= rank(key))
    };
    let (late, early): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(waits);
    let mut all = batches(early);
    all.extend(batches(late));
    all
}

/// Groups keys into batches: one batch after the other, the objects of a batch side by side.
/// A batch holds objects of one rank; kinds without a rank go together.
pub(crate) fn batches(keys: impl IntoIterator<Item = ResourceKey>) -> Vec<Vec<ResourceKey>> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_cached_key(|key| (rank(key), key.clone()));
    let mut batches: Vec<Vec<ResourceKey>> = Vec::new();
    for key in keys {
        match batches.last_mut() {
            Some(batch) if rank(&batch[0]) == rank(&key) => batch.push(key),
            _ => batches.push(vec![key]),
        }
    }
    batches
}

/// The order in which the objects of an application are deleted: what was created last goes
/// first, by wave and then by kind.
pub(crate) fn reverse_order(
    keys: impl IntoIterator<Item = (ResourceKey, i32)>,
) -> Vec<Vec<ResourceKey>> {
    let mut waves: BTreeMap<i32, Vec<ResourceKey>> = BTreeMap::new();
    for (key, wave) in keys {
        waves.entry(wave).or_default().push(key);
    }
    let by_wave = waves.into_values().rev();
    by_wave
        .flat_map(|keys| batches(keys).into_iter().rev())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: kind.into(),
            namespace: "a".into(),
            name: name.into(),
        }
    }

    #[test]
    fn what_is_needed_goes_first_whatever_its_kind() {
        let (map, web) = (key("ConfigMap", "a"), key("Deployment", "web"));
        let (pod, class) = (key("Pod", "p"), key("PriorityClass", "high"));
        let keys = [map.clone(), web.clone(), pod.clone(), class.clone()];
        let order = |needs: &[(&ResourceKey, &ResourceKey)]| -> Vec<ResourceKey> {
            let needs = needs
                .iter()
                .map(|(key, other)| ((*key).clone(), vec![(*other).clone()]))
                .collect();
            batches_of_need(&keys, &needs).concat()
        };
        let usual = [class.clone(), map.clone(), pod.clone(), web.clone()];
        assert_eq!(order(&[]), usual);
        // What goes before it anyway, and what is not written here, changes nothing.
        let elsewhere = key("Service", "elsewhere");
        assert_eq!(order(&[(&pod, &class), (&map, &elsewhere)]), usual);
        assert_eq!(order(&[(&map, &web)]), [class, pod, web, map]);
    }

    #[test]
    fn one_batch_a_kind_in_the_order_of_need() {
        let keys = [
            key("Widget", "w"),
            key("Deployment", "web"),
            key("ConfigMap", "b"),
            key("CustomResourceDefinition", "widgets"),
            key("Namespace", "a"),
            key("ConfigMap", "a"),
        ];
        let kinds = |batches: Vec<Vec<ResourceKey>>| -> Vec<String> {
            batches
                .iter()
                .map(|batch| {
                    let names: Vec<_> = batch.iter().map(|key| key.name.as_str()).collect();
                    format!("{} {}", batch[0].kind, names.join(" "))
                })
                .collect()
        };
        let expected = [
            "Namespace a",
            "CustomResourceDefinition widgets",
            "ConfigMap a b",
            "Deployment web",
            "Widget w",
        ];
        assert_eq!(kinds(batches(keys.clone())), expected);
        let mut reversed = expected;
        reversed.reverse();
        let in_one_wave = keys.iter().cloned().map(|key| (key, 0));
        assert_eq!(kinds(reverse_order(in_one_wave)), reversed);
        let in_waves = keys.into_iter().enumerate().map(|(n, key)| {
            let wave = if n < 2 { 1 } else { -1 };
            (key, wave)
        });
        assert_eq!(
            kinds(reverse_order(in_waves))[..2],
            ["Widget w", "Deployment web"]
        );
    }
}
