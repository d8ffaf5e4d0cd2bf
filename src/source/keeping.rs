//! Which mirrors stay on disk: those of repositories that somebody follows, or followed a moment ago,
//! as far as the budget goes. A mirror is a cache, fetched again when it is needed.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::SourceLoop;
use crate::git::{Mirror, OnDisk, Shelf};
use crate::telemetry::Removal;

/// How long mirrors stay.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Since the last follower left.
    left: Duration,
    /// Since somebody read or fetched it, whatever the budget says: a render may be reading it.
    used: Duration,
}

const PATIENCE: Patience = Patience {
    left: Duration::from_secs(600),
    used: Duration::from_secs(120),
};
/// The least time between two looks at the disk.
const SPACING: Duration = Duration::from_secs(10);

/// What is known of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    bytes: u64,
    /// How long ago somebody read or fetched it last.
    unused: Duration,
    /// How long nobody follows it; none while somebody does.
    left: Option<Duration>,
}

/// Chooses what goes: what nobody followed for long, then, above the budget, what nobody follows, and
/// then what was not used for longest.
fn choose(mirrors: &[Known], budget: u64, patience: Patience) -> Vec<(String, Removal)> {
    let is_over = |it: &&Known| it.left.is_some_and(|left| left >= patience.left);
    let mut chosen: Vec<_> = mirrors
        .iter()
        .filter(is_over)
        .map(|it| (it.name.clone(), Removal::Unfollowed))
        .collect();
    let mut rest: Vec<_> = mirrors.iter().filter(|it| !is_over(it)).collect();
    let mut bytes: u64 = rest.iter().map(|it| it.bytes).sum();
    rest.sort_by_key(|it| (it.left.is_none(), Reverse(it.left), Reverse(it.unused)));
    for mirror in rest {
        if bytes <= budget {
            break;
        }
        if mirror.left.is_none() && mirror.unused < patience.used {
            continue;
        }
        bytes -= mirror.bytes;
        chosen.push((mirror.name.clone(), Removal::Budget));
    }
    chosen
}

/// Since when nobody follows a mirror, by its name.
type Left = HashMap<String, Instant>;

impl SourceLoop {
    /// Looks after the mirrors on disk for ever, whenever something was fetched or left. To be begun
    /// once all Applications are known: before, nobody seems to follow anything.
    pub(crate) async fn keep_mirrors(&self) {
        let mut left = Left::new();
        loop {
            let next = self.tidy_up(&mut left, Instant::now(), PATIENCE).await;
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.stored.notified() => {}
                () = due => {}
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    /// Removes what is to go now; says when the next that nobody follows is due.
    async fn tidy_up(&self, left: &mut Left, now: Instant, patience: Patience) -> Option<Instant> {
        let shelf = Shelf::new(self.options.mirrors.clone());
        let on_disk = {
            let shelf = shelf.clone();
            tokio::task::spawn_blocking(move || shelf.list()).await
        };
        let on_disk: Vec<OnDisk> = on_disk.unwrap_or_default();
        let followed = self.mirrors();
        left.retain(|name, _| on_disk.iter().any(|it| it.name == *name));
        let known = on_disk.iter().map(|it| {
            let mirror = followed.get(&it.name);
            let since = match mirror {
                Some(_) => {
                    left.remove(&it.name);
                    None
                }
                None => Some(*left.entry(it.name.clone()).or_insert(now)),
            };
            Known {
                name: it.name.clone(),
                bytes: it.bytes,
                unused: mirror.map_or(Duration::MAX, Mirror::unused),
                left: since.map(|since| now.saturating_duration_since(since)),
            }
        });
        let known: Vec<Known> = known.collect();
        let mut bytes: u64 = known.iter().map(|it| it.bytes).sum();
        for (name, why) in choose(&known, self.options.mirror_bytes, patience) {
            if !self.remove(&shelf, &name).await {
                continue;
            }
            let size = known.iter().find(|it| it.name == name);
            let size = size.map_or(0, |it| it.bytes);
            bytes = bytes.saturating_sub(size);
            left.remove(&name);
            self.shared.metrics.mirror_removed(why);
            match why {
                Removal::Unfollowed => {
                    tracing::info!(mirror = name, bytes = size, "removed, as nobody follows it");
                }
                Removal::Budget => tracing::warn!(
                    mirror = name,
                    bytes = size,
                    "removed, as all mirrors are larger than limits.mirrorsMiB; it is fetched \
                     again when it is needed"
                ),
            }
        }
        self.shared.metrics.mirror_bytes(bytes);
        left.values().map(|since| *since + patience.left).min()
    }

    /// The mirrors that somebody follows, by the names of their directories.
    fn mirrors(&self) -> HashMap<String, Mirror> {
        let state = self.state();
        let repositories = state.repositories.values();
        let mirrors = repositories.map(|it| (it.mirror().name(), it.mirror().clone()));
        mirrors.collect()
    }

    /// Removes one mirror; false when it is in use.
    async fn remove(&self, shelf: &Shelf, name: &str) -> bool {
        let (mirror, taken) = {
            // While nobody can begin to follow it.
            let state = self.state();
            let mut repositories = state.repositories.values();
            match repositories.find(|it| it.mirror().name() == name) {
                Some(repository) => (Some(repository.mirror().clone()), None),
                None => (None, shelf.take_away(name).ok()),
            }
        };
        match (mirror, taken) {
            (Some(mirror), _) => mirror.empty().await,
            (None, Some(path)) => {
                let removed = tokio::task::spawn_blocking(|| std::fs::remove_dir_all(path)).await;
                removed.is_ok_and(|it| it.is_ok())
            }
            (None, None) => false,
        }
    }
}

#[cfg(test)]
#[path = "keeping_tests.rs"]
mod tests;
