//! How many of something each of many may have at a time: connections of an address, streams of a
//! person.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what each has.
pub(crate) struct Guests<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One more, counted as long as it is there.
pub(crate) struct Guest<K: Eq + Hash> {
    guests: Guests<K>,
    key: K,
}

/// Why there is no place for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// All together have as many as there may be.
    All,
    /// This one has as many as one may have.
    Own,
}

impl<K: Eq + Hash + Clone> Guests<K> {
    /// Takes a place: `own` of them for each, and `all` together.
    pub(crate) fn admit(&self, key: K, own: usize, all: usize) -> Result<Guest<K>, Crowded> {
        let mut counts = self.lock();
        if counts.values().sum::<usize>() >= all {
            return Err(Crowded::All);
        }
        if counts.get(&key).is_some_and(|count| *count >= own) {
            return Err(Crowded::Own);
        }
        *counts.entry(key.clone()).or_default() += 1;
        Ok(Guest {
            guests: Self(Arc::clone(&self.0)),
            key,
        })
    }
}

impl<K> Guests<K> {
    /// What all have together.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for Guests<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Drop for Guest<K> {
    fn drop(&mut self) {
        let mut counts = self.guests.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_gets_them_back() {
        let guests = Guests::default();
        let first = guests.admit("one", 2, 4).unwrap();
        let _second = guests.admit("one", 2, 4).unwrap();
        assert_eq!(guests.admit("one", 2, 4).err(), Some(Crowded::Own));
        let other = guests.admit("other", 2, 4).unwrap();
        let _another = guests.admit("another", 2, 4).unwrap();
        assert_eq!(guests.admit("last", 2, 4).err(), Some(Crowded::All));
        assert_eq!(guests.count(), 4);
        drop((first, other));
        assert!(guests.admit("one", 2, 4).is_ok());
        assert_eq!(guests.lock().len(), 2, "who has none is forgotten");
    }
}
