//! How much memory children may have beside this process, in the memory limit that is set for both.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// What this process itself may need, at a thousand applications and their largest lists.
const OWN: u64 = 128 << 20;
/// What a child gets where nothing is limited and nothing is said.
const USUAL: u64 = 256 << 20;
/// Less than this is no use to a renderer: rather one child at a time than two that fail.
const LEAST: u64 = 128 << 20;
/// What one child's stage may hold.
const STAGED: u64 = 256 << 20;

/// The bytes of manifests that one application may come to where nothing is limited, ...
const MANIFESTS: u64 = 64 << 20;
/// ... and at least, where memory is short.
const FEWEST_MANIFESTS: u64 = 4 << 20;

/// How many children may run at once, how many bytes of memory each may have, and how many bytes of
/// manifests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) slots: usize,
    pub(crate) memory: u64,
    /// Read, they take some times as much memory.
    pub(crate) manifests: usize,
    /// Bytes that may be staged for each.
    pub(crate) staged: u64,
}

impl Budget {
    /// Divides what is left of `limit`. `stage` is the size of the stage where that is in memory,
    /// which counts against the same limit. `wanted` is what the settings say of one child; it is
    /// granted as far as it fits.
    ///
    /// Guarantees: this process, the stage and all children together stay below the limit, so that
    /// the kernel stops one child and never the agent.
    pub(crate) fn new(limit: Option<u64>, stage: Option<u64>, wanted: Option<u64>) -> Self {
        let wanted = wanted.unwrap_or(USUAL);
        let share = |staged: Option<u64>, slots: u64| {
            staged.map_or(STAGED, |staged| STAGED.min(staged / slots))
        };
        let Some(limit) = limit else {
            return Self {
                slots: 2,
                memory: wanted,
                manifests: bytes(MANIFESTS),
                staged: share(stage, 2),
            };
        };
        // A stage that is larger than that is not filled.
        let staged = stage.map(|size| size.min(limit / 4));
        let left = limit - staged.unwrap_or(0);
        // In half of a small limit it has to get along itself.
        let free = left.saturating_sub(OWN).max(left / 2);
        let least = wanted.min(LEAST);
        let slots = if free / 2 >= least { 2 } else { 1 };
        Self {
            slots: slots as usize,
            memory: wanted.min(free / slots),
            staged: share(staged, slots),
            manifests: bytes((limit / 32).clamp(FEWEST_MANIFESTS, MANIFESTS)),
        }
    }
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The size of what a directory is on, where that is kept in memory.
pub(crate) fn size_in_memory(directory: &Path) -> Option<u64> {
    let found = statfs(directory).ok()?;
    let unit = u64::try_from(found.block_size()).unwrap_or(1);
    (found.filesystem_type() == TMPFS_MAGIC).then(|| found.blocks().saturating_mul(unit))
}

/// The memory limit of the control group of this process; none when there is none.
pub(crate) fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    files(&own)
        .iter()
        .filter_map(|file| limit_of(&fs::read_to_string(file).ok()?))
        .min()
}

/// Where the limit may stand: of version 2 and of version 1, seen from inside of the group and from
/// outside.
fn files(own: &str) -> Vec<PathBuf> {
    let mut files = vec![
        PathBuf::from("/sys/fs/cgroup/memory.max"),
        PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            files.push(
                PathBuf::from("/sys/fs/cgroup")
                    .join(path)
                    .join("memory.max"),
            );
        } else if controllers.split(',').any(|name| name == "memory") {
            let group = PathBuf::from("/sys/fs/cgroup/memory").join(path);
            files.push(group.join("memory.limit_in_bytes"));
        }
    }
    files
}

/// A number that means something: version 1 says "no limit" by a very large one.
fn limit_of(text: &str) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes < 1 << 50).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_stay_below_the_limit() {
        let mib = |n: u64| n << 20;
        for (limit, stage, wanted, slots, memory, staged, manifests) in [
            (None, None, None, 2, 256, 256, 64),
            (None, Some(128), None, 2, 256, 64, 64),
            (None, Some(8192), None, 2, 256, 256, 64),
            (None, None, Some(1024), 2, 1024, 256, 64),
            (Some(512), None, None, 2, 192, 256, 16),
            (Some(512), Some(64), None, 2, 160, 32, 16),
            (Some(512), Some(8192), None, 2, 128, 64, 16),
            (Some(512), Some(64), Some(128), 2, 128, 32, 16),
            (Some(512), None, Some(1024), 2, 192, 256, 16),
            (Some(1024), Some(64), None, 2, 256, 32, 32),
            (Some(256), None, None, 1, 128, 256, 8),
            (Some(256), Some(64), None, 1, 96, 64, 8),
            (Some(256), None, Some(64), 2, 64, 256, 8),
            (Some(128), Some(64), None, 1, 48, 32, 4),
            (Some(64), None, None, 1, 32, 256, 4),
            (Some(1 << 20), None, None, 2, 256, 256, 64),
        ] {
            let budget = Budget::new(limit.map(mib), stage.map(mib), wanted.map(mib));
            let expected = Budget {
                slots,
                memory: mib(memory),
                manifests: manifests << 20,
                staged: mib(staged),
            };
            assert_eq!(budget, expected, "{limit:?} {stage:?} {wanted:?}");
            if let Some(limit) = limit {
                let on_stage = if stage.is_some() { budget.staged } else { 0 };
                let all = (budget.memory + on_stage) * budget.slots as u64;
                assert!(all <= mib(limit) - mib(limit) / 4, "{limit} {stage:?}");
            }
        }
    }

    #[test]
    fn only_what_is_in_memory_has_a_size_there() {
        assert!(size_in_memory(Path::new("/dev/shm")).is_some_and(|size| size > 0));
        assert_eq!(size_in_memory(Path::new("/proc")), None);
        assert_eq!(size_in_memory(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_limit_is_found_in_either_version() {
        let found = files("9:name=systemd:/\n4:memory:/a/b\n0::/c\n");
        let has = |path: &str| found.iter().any(|file| file == path.as_ref() as &Path);
        assert!(has("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes"));
        assert!(has("/sys/fs/cgroup/c/memory.max"));
        assert_eq!(limit_of("536870912\n"), Some(512 << 20));
        assert_eq!(limit_of("max\n"), None);
        assert_eq!(limit_of("9223372036854771712"), None);
    }
}
