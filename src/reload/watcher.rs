//! Waking somebody when files change, by watching their directories: a volume of a ConfigMap or
//! Secret swaps the link `..data` beside the file, and the file itself never gets an event.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

pub(super) struct DirectoryWatcher {
    directories: BTreeSet<PathBuf>,
    /// None when the machine has no watch left for us; the poll does the work then.
    watcher: Option<RecommendedWatcher>,
}

impl DirectoryWatcher {
    pub(super) fn new(paths: &[PathBuf], wake: &Arc<Notify>) -> Self {
        let names: BTreeSet<OsString> = paths
            .iter()
            .filter_map(|path| path.file_name().map(ToOwned::to_owned))
            .collect();
        let wake = Arc::clone(wake);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| matters(&event, &names)) {
                wake.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "cannot watch files, changes are seen by polling only");
            })
            .ok();
        let mut directories = Self {
            directories: paths.iter().map(|path| directory(path)).collect(),
            watcher,
        };
        directories.renew();
        directories
    }

    /// Watches again what may have been replaced or may not have been there.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for directory in &self.directories {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, directory = %directory.display(), "cannot watch");
            }
        }
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether one of the files may have changed. Our own reading must not count, or we would never
/// stop.
fn matters(event: &Event, names: &BTreeSet<OsString>) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    if event.kind.is_access() && event.kind != written {
        return false;
    }
    event.need_rescan()
        || event.paths.is_empty()
        || event
            .paths
            .iter()
            .filter_map(|path| path.file_name())
            .any(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn reading_and_strangers_do_not_matter() {
        let names = BTreeSet::from([OsString::from("trimtab.yaml")]);
        let check = |kind, path: &str, expected| {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(matters(&event, &names), expected, "{event:?}");
        };
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        check(created, "/etc/trimtab/trimtab.yaml", true);
        check(renamed, "/etc/trimtab/..data", true);
        check(close(AccessMode::Write), "/etc/trimtab/trimtab.yaml", true);
        check(close(AccessMode::Read), "/etc/trimtab/trimtab.yaml", false);
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        check(opened, "/etc/trimtab/..data", false);
        check(created, "/etc/trimtab/other", false);
    }

    #[test]
    fn lost_events_matter() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(matters(&event, &BTreeSet::new()));
    }

    #[test]
    fn a_bare_name_is_in_the_current_directory() {
        assert_eq!(directory(Path::new("trimtab.yaml")), Path::new("."));
        assert_eq!(directory(Path::new("/etc/a/b")), Path::new("/etc/a"));
    }
}
