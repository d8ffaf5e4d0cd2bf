//! Which application waits for which: one is begun when those it depends on are synced and healthy
//! at their newest revision.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::crd::ApplicationKey;

/// What every application depends on, and which are ready.
#[derive(Default)]
pub(crate) struct Dependencies(Mutex<State>);

#[derive(Default)]
struct State {
    needs: HashMap<ApplicationKey, Vec<ApplicationKey>>,
    ready: HashMap<ApplicationKey, bool>,
}

impl Dependencies {
    /// Notes what an application depends on. Returns those to wake because that changed: all that
    /// depend on it, also by way of others, as they may be in a circle now.
    pub(in crate::controller) fn set_needs(
        &self,
        application: &ApplicationKey,
        needs: Vec<ApplicationKey>,
    ) -> Vec<ApplicationKey> {
        let mut state = self.lock();
        let known = state.needs.get(application).map_or(&[][..], Vec::as_slice);
        if known == needs {
            return Vec::new();
        }
        if needs.is_empty() {
            state.needs.remove(application);
        } else {
            state.needs.insert(application.clone(), needs);
        }
        let mut woken = vec![application.clone()];
        let mut next = 0;
        while let Some(need) = woken.get(next).cloned() {
            let waiting = state
                .needs
                .iter()
                .filter(|(_, needs)| needs.contains(&need));
            for (waiting, _) in waiting {
                if !woken.contains(waiting) {
                    woken.push(waiting.clone());
                }
            }
            next += 1;
        }
        woken.split_off(1)
    }

    /// Notes whether an application is ready. Returns those to wake because that changed.
    pub(in crate::controller) fn set_ready(
        &self,
        application: &ApplicationKey,
        ready: bool,
    ) -> Vec<ApplicationKey> {
        let mut state = self.lock();
        if state.ready.insert(application.clone(), ready) == Some(ready) {
            return Vec::new();
        }
        let waiting = state
            .needs
            .iter()
            .filter(|(_, needs)| needs.contains(application));
        waiting.map(|(waiting, _)| waiting.clone()).collect()
    }

    pub(in crate::controller) fn remove(&self, application: &ApplicationKey) {
        let mut state = self.lock();
        state.needs.remove(application);
        state.ready.remove(application);
    }

    /// What an application still waits for, in words; none when it may begin. `pending` tells
    /// which application heard of a revision that it did not look at yet.
    pub(in crate::controller) fn waits(
        &self,
        application: &ApplicationKey,
        pending: impl Fn(&ApplicationKey) -> bool,
    ) -> Option<String> {
        let state = self.lock();
        let needs = state.needs.get(application)?;
        if let Some(cycle) = cycle(&state.needs, application) {
            let names: Vec<_> = cycle.iter().map(ToString::to_string).collect();
            return Some(format!(
                "the dependencies form a circle, so that none of them begins: {}",
                names.join(" → ")
            ));
        }
        needs.iter().find_map(|need| match state.ready.get(need) {
            None => Some(format!("{need} does not exist")),
            Some(true) if pending(need) => Some(format!("{need} has a newer revision to sync")),
            Some(true) => None,
            Some(false) => Some(format!("{need} is not synced and healthy")),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way from an application back to itself, if there is one. Every application is looked at once.
fn cycle(
    needs: &HashMap<ApplicationKey, Vec<ApplicationKey>>,
    start: &ApplicationKey,
) -> Option<Vec<ApplicationKey>> {
    let mut came_from: HashMap<&ApplicationKey, &ApplicationKey> = HashMap::new();
    let mut open = vec![start];
    while let Some(application) = open.pop() {
        for need in needs.get(application).into_iter().flatten() {
            if need == start {
                let mut way = vec![start.clone()];
                let mut step = application;
                while step != start {
                    way.push(step.clone());
                    step = came_from[step];
                }
                way.push(start.clone());
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(need) {
                came_from.insert(need, application);
                open.push(need);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> ApplicationKey {
        ApplicationKey {
            namespace: "trimtab".into(),
            name: name.into(),
        }
    }

    #[test]
    fn one_waits_until_the_other_is_ready() {
        let dependencies = Dependencies::default();
        let (shop, db) = (app("shop"), app("db"));
        let waits = || dependencies.waits(&shop, |_| false);
        assert_eq!(waits(), None);
        dependencies.set_needs(&shop, vec![db.clone()]);
        assert_eq!(waits().unwrap(), "trimtab/db does not exist");
        assert_eq!(dependencies.set_ready(&db, false), vec![shop.clone()]);
        assert!(waits().unwrap().contains("not synced and healthy"));
        assert_eq!(dependencies.set_ready(&db, true), vec![shop.clone()]);
        assert_eq!(dependencies.set_ready(&db, true), vec![]);
        assert_eq!(waits(), None);
        let newer = dependencies.waits(&shop, |_| true);
        assert!(newer.unwrap().contains("newer revision"));
        dependencies.remove(&db);
        assert!(waits().is_some());
    }

    #[test]
    fn a_circle_is_named_and_a_long_chain_is_none() {
        let dependencies = Dependencies::default();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")] {
            dependencies.set_needs(&app(from), vec![app(to)]);
        }
        let why = dependencies.waits(&app("a"), |_| false).unwrap();
        assert!(
            why.ends_with("trimtab/a → trimtab/b → trimtab/c → trimtab/a"),
            "{why}"
        );
        // One that only leads into a circle waits like any other.
        let why = dependencies.waits(&app("d"), |_| false).unwrap();
        assert_eq!(why, "trimtab/a does not exist");
        assert_eq!(dependencies.set_needs(&app("a"), vec![app("b")]), vec![]);
        let mut woken = dependencies.set_needs(&app("a"), vec![app("b"), app("x")]);
        woken.sort();
        assert_eq!(woken, [app("b"), app("c"), app("d")]);
        for n in 0..1_000 {
            dependencies.set_needs(&app(&format!("n{n}")), vec![app(&format!("n{}", n + 1))]);
        }
        assert!(
            dependencies
                .waits(&app("n0"), |_| false)
                .unwrap()
                .contains("n1 ")
        );
    }
}
