//! One directory of objects on disk: a bare repository that only grows, until it is replaced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use gix::odb::store::init::{Options, Slots};
use gix::prelude::FindExt as _;

use super::Error;

/// gix keeps a table of open packs that cannot grow later; see [`Generation::is_full`].
const PACK_SLOTS: u16 = 256;
/// Every fetch leaves a pack and gix cannot merge them; lookups slow down with their number.
const MANY_PACKS: usize = 64;
/// Commits named to the server as present. The newest serve best as bases of small packs.
const MAX_TIPS: usize = 64;

pub(super) type Objects = gix::odb::HandleArc;

/// An object directory, its tips, and whether it may still be used.
pub(super) struct Generation {
    directory: PathBuf,
    store: Arc<gix::odb::Store>,
    /// Commits that are complete here, newest last.
    tips: Mutex<Vec<ObjectId>>,
    packs: AtomicUsize,
    damaged: AtomicBool,
    retired: AtomicBool,
}

impl Generation {
    /// Makes an empty one.
    pub(super) fn create(directory: &Path) -> Result<Self, Error> {
        for part in ["objects/pack", "refs"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).map_err(Error::io(path))?;
        }
        // Only so that people can look into it with their own tools.
        let head = directory.join("HEAD");
        std::fs::write(&head, "ref: refs/heads/main\n").map_err(Error::io(head))?;
        Self::open(directory, Vec::new())
    }

    /// Opens one that was filled before; none when it was not or cannot be read.
    pub(super) fn reopen(directory: &Path) -> Option<Self> {
        let tips = std::fs::read_to_string(directory.join("tips")).ok()?;
        let ids = tips.lines().map(|line| ObjectId::from_hex(line.as_bytes()));
        let ids: Vec<ObjectId> = ids.collect::<Result<_, _>>().ok()?;
        clear_leftovers(directory);
        let generation = Self::open(directory, ids.clone()).ok()?;
        let objects = generation.objects();
        let mut buffer = Vec::new();
        let complete = ids
            .last()
            .is_some_and(|id| objects.find(id, &mut buffer).is_ok());
        complete.then_some(generation)
    }

    fn open(directory: &Path, tips: Vec<ObjectId>) -> Result<Self, Error> {
        let objects = directory.join("objects");
        let options = Options {
            slots: Slots::Given(PACK_SLOTS),
            ..Options::default()
        };
        let packs = std::fs::read_dir(objects.join("pack")).map_err(Error::io(&objects))?;
        let packs = packs
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"))
            .count();
        let no_replacements = &mut std::iter::empty();
        let hash = gix::hash::Kind::Sha1;
        let store = gix::odb::Store::at_opts(objects.clone(), hash, no_replacements, options)
            .map_err(Error::io(objects))?;
        Ok(Self {
            directory: directory.to_owned(),
            store: Arc::new(store),
            tips: Mutex::new(tips),
            packs: AtomicUsize::new(packs),
            damaged: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        })
    }

    /// A handle for one thread.
    pub(super) fn objects(&self) -> Objects {
        self.store.to_cache_arc()
    }

    pub(super) fn pack_directory(&self) -> PathBuf {
        self.directory.join("objects/pack")
    }

    pub(super) fn shallow_file(&self) -> PathBuf {
        self.directory.join("shallow")
    }

    pub(super) fn has(&self, id: &ObjectId) -> bool {
        gix::objs::Exists::exists(&self.objects(), id)
    }

    pub(super) fn tips(&self) -> Vec<ObjectId> {
        self.tips
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in a finished transfer: `commits` are complete from now on.
    pub(super) fn received(&self, commits: &BTreeSet<ObjectId>) -> Result<(), Error> {
        let mut tips = self.tips.lock().unwrap_or_else(PoisonError::into_inner);
        tips.retain(|id| !commits.contains(id));
        tips.extend(commits);
        let surplus = tips.len().saturating_sub(MAX_TIPS);
        tips.drain(..surplus);
        let lines: String = tips.iter().map(|id| format!("{id}\n")).collect();
        let path = self.directory.join("tips");
        std::fs::write(&path, lines).map_err(Error::io(path))
    }

    /// Each shallow fetch adds a line to this file and all of them are sent to the server, so it
    /// is cut down to the commits that are named as present.
    pub(super) fn trim_shallow(&self, tips: &[ObjectId]) -> Result<(), Error> {
        let path = self.shallow_file();
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        let keep: BTreeSet<String> = tips.iter().map(ObjectId::to_string).collect();
        let kept: Vec<&str> = text.lines().filter(|line| keep.contains(*line)).collect();
        if kept.len() == text.lines().count() {
            return Ok(());
        }
        let lines: String = kept.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, lines).map_err(Error::io(path))
    }

    pub(super) fn count_pack(&self) {
        self.packs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.packs.load(Ordering::Relaxed) > MANY_PACKS
    }

    fn is_full(&self) -> bool {
        self.packs.load(Ordering::Relaxed) + 8 > usize::from(PACK_SLOTS)
    }

    pub(super) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Whether the next fetch may add to it. The directory is a cache and can vanish at any time.
    pub(super) fn is_usable(&self) -> bool {
        self.is_sound() && !self.is_full()
    }

    pub(super) fn is_sound(&self) -> bool {
        !self.damaged.load(Ordering::Relaxed) && self.pack_directory().is_dir()
    }

    /// Removes the directory once the last reader is done with it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

/// What a process that was killed while fetching left behind. A lock would refuse every fetch.
fn clear_leftovers(directory: &Path) {
    drop(std::fs::remove_file(directory.join("shallow.lock")));
    let packs = std::fs::read_dir(directory.join("objects/pack"));
    for entry in packs.into_iter().flatten().filter_map(Result::ok) {
        if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Relaxed) {
            drop(std::fs::remove_dir_all(&self.directory));
        }
    }
}
