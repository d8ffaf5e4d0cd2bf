//! Parts of a commit written to disk: our own walk over the trees, so that mode, link, size, count
//! and name are judged in one place. No filters. What is not written is listed: pointers of Git LFS,
//! submodules, and links that lead nowhere.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::tree::{EntryKind, EntryMode};
use gix::prelude::FindExt as _;

use super::read::Snapshot;
use super::{Error, Mirror, TreeIds, names};
use crate::text::is_lfs_pointer;

/// What is said of a submodule.
pub(super) const SUBMODULE: &str = "is a submodule, which is not supported";
/// What one checkout may write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckoutLimits {
    /// All files together.
    pub(crate) bytes: u64,
    pub(crate) file_bytes: u64,
    /// Files, links and directories together.
    pub(crate) entries: u64,
    /// Directories inside each other.
    pub(crate) depth: usize,
}

impl Default for CheckoutLimits {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            file_bytes: 10 << 20,
            entries: 50_000,
            depth: 64,
        }
    }
}

/// What one checkout wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckoutSummary {
    /// Files and links.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) left_out: Vec<LeftOut>,
}

/// An entry that was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) path: String,
    /// Such as `is a submodule, which is not supported`.
    pub(crate) problem: String,
    /// Whether it stands for one file; else it could be a directory.
    pub(crate) is_file: bool,
}

impl Mirror {
    /// Writes the given files and directories of a commit to `destination/<path>`, which must not
    /// exist yet. The paths are those of [`Mirror::reach`]: no link is on their way, and what links
    /// lead to is among them. A link to a file becomes a file, as tools judge where a link leads;
    /// one to a directory stays one, unless some of `through` lead through it: then it becomes a
    /// directory that holds these and nothing else. Blocking. What was written before an error
    /// stays: the caller owns the directory.
    pub(crate) fn checkout(
        &self,
        commit: &str,
        paths: &[String],
        through: &[String],
        destination: &Path,
        limits: &CheckoutLimits,
    ) -> Result<CheckoutSummary, Error> {
        let snapshot = self.snapshot(commit)?;
        let mut found = Vec::new();
        for path in outermost(paths)? {
            let entry = snapshot.find(&path)?.ok_or_else(|| Error::Path {
                path: path.clone(),
                problem: "does not exist at this commit",
            })?;
            found.push((path, entry));
        }
        let mut writer = Writer {
            snapshot: &snapshot,
            ids: self.tree_ids(commit)?,
            through,
            destination,
            limits,
            entries: 0,
            summary: CheckoutSummary::default(),
        };
        // All parents first, while there is no link from the repository that could redirect one.
        for (path, _) in &found {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            create_all(&destination.join(parent))?;
        }
        for (path, (mode, id)) in found {
            writer.write(&path, mode, id)?;
        }
        Ok(writer.summary)
    }
}

/// Cleaned paths, without those that lie below another one.
pub(super) fn outermost(paths: &[String]) -> Result<Vec<String>, Error> {
    let mut cleaned: BTreeSet<Vec<String>> = BTreeSet::new();
    for path in paths {
        let parts = names::parts(path).ok_or_else(|| Error::Path {
            path: super::one_line(path),
            problem: "has a part that no repository may have",
        })?;
        cleaned.insert(parts.iter().map(|part| (*part).to_owned()).collect());
    }
    // In this order a directory comes right before what is below it.
    let mut kept: Vec<Vec<String>> = Vec::new();
    for parts in cleaned {
        if !kept.last().is_some_and(|last| parts.starts_with(last)) {
            kept.push(parts);
        }
    }
    Ok(kept.into_iter().map(|parts| parts.join("/")).collect())
}

fn create_all(path: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(Error::io(path))
}

struct Writer<'a> {
    snapshot: &'a Snapshot<'a>,
    /// Follows links.
    ids: TreeIds<'a>,
    /// Paths through links to directories that are to be found without a link.
    through: &'a [String],
    destination: &'a Path,
    limits: &'a CheckoutLimits,
    entries: u64,
    summary: CheckoutSummary,
}

impl Writer<'_> {
    fn write(&mut self, path: &str, mode: EntryMode, id: ObjectId) -> Result<(), Error> {
        self.entries += 1;
        self.limit(path, self.entries, self.limits.entries, "entries")?;
        match mode.kind() {
            EntryKind::Tree => self.directory(path, id),
            EntryKind::Blob => self.file(path, id, 0o600),
            EntryKind::BlobExecutable => self.file(path, id, 0o700),
            EntryKind::Link => self.link(path),
            EntryKind::Commit => {
                self.leave_out(path, SUBMODULE, false);
                Ok(())
            }
        }
    }

    fn directory(&mut self, path: &str, id: ObjectId) -> Result<(), Error> {
        let depth = depth(path) as u64;
        self.limit(path, depth, self.limits.depth as u64, "nested directories")?;
        if !path.is_empty() {
            let place = self.place(path);
            let made = std::fs::DirBuilder::new().mode(0o700).create(&place);
            self.made(path, made)?;
        }
        let mut buffer = Vec::new();
        let tree = self.snapshot.objects.find_tree(&id, &mut buffer);
        let tree = tree.map_err(|error| self.snapshot.damaged(&error))?;
        let mut seen = HashSet::new();
        for entry in &tree.entries {
            let refused = |problem: &str| Error::Refused {
                path: inside(path, &super::one_line(&entry.filename.to_string())),
                problem: problem.to_owned(),
            };
            if let Some(problem) = names::unsafe_name(entry.filename) {
                return Err(refused(problem));
            }
            if !seen.insert(entry.filename) {
                return Err(refused("exists twice in one tree"));
            }
            if !is_known(entry.mode) {
                return Err(refused("a mode that Git does not write"));
            }
            let name = std::str::from_utf8(entry.filename).expect("checked with the name");
            self.write(&inside(path, name), entry.mode, entry.oid.to_owned())?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str, id: ObjectId, mode: u32) -> Result<(), Error> {
        let content = self.content(path, id)?;
        if is_lfs_pointer(&content) {
            self.leave_out(path, "is stored in Git LFS, which is not supported", true);
            return Ok(());
        }
        let place = self.place(path);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&place);
        let mut file = self.made(path, file)?;
        file.write_all(&content).map_err(Error::io(place))
    }

    fn link(&mut self, path: &str) -> Result<(), Error> {
        let target = match self.ids.resolve(path) {
            Ok(Some(target)) => target,
            Ok(None) => return Ok(()),
            Err(Error::LeftOut { path: at, problem }) => {
                let problem = match at == path {
                    true => problem,
                    false => format!("is a link to {at}, which {problem}"),
                };
                self.leave_out(path, &problem, false);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match target.mode.kind() {
            EntryKind::BlobExecutable => self.file(path, target.id, 0o700),
            EntryKind::Tree => {
                let within = format!("{path}/");
                let through = self.through;
                let mut through = through
                    .iter()
                    .filter(|it| it.starts_with(&within))
                    .peekable();
                if through.peek().is_some() {
                    return through.try_for_each(|it| self.through_link(it));
                }
                self.link_to_directory(path, &target.path)
            }
            _ => self.file(path, target.id, 0o600),
        }
    }

    fn link_to_directory(&mut self, path: &str, target: &str) -> Result<(), Error> {
        // Up to the root and down a path without links: there is no shorter safe way.
        let up = "../".repeat(depth(path) - 1);
        let made = std::os::unix::fs::symlink(format!("./{up}{target}"), self.place(path));
        self.made(path, made)
    }

    /// Writes what is at a path that leads through a link, without that link.
    fn through_link(&mut self, path: &str) -> Result<(), Error> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        create_all(&self.place(parent))?;
        if self.place(path).symlink_metadata().is_ok() {
            // Another one is below it, or it was named twice.
            return Ok(());
        }
        self.entries += 1;
        self.limit(path, self.entries, self.limits.entries, "entries")?;
        self.link(path)
    }

    fn leave_out(&mut self, path: &str, problem: &str, is_file: bool) {
        self.summary.left_out.push(LeftOut {
            path: path.to_owned(),
            problem: problem.to_owned(),
            is_file,
        });
    }

    fn content(&mut self, path: &str, id: ObjectId) -> Result<Vec<u8>, Error> {
        let content = self.snapshot.blob(&id, path, self.limits.file_bytes)?;
        self.summary.files += 1;
        self.summary.bytes += content.len() as u64;
        self.limit(path, self.summary.bytes, self.limits.bytes, "bytes")?;
        Ok(content)
    }

    fn limit(&self, path: &str, value: u64, limit: u64, what: &'static str) -> Result<(), Error> {
        if value <= limit {
            return Ok(());
        }
        let path = path.to_owned();
        Err(Error::Limit { path, limit, what })
    }

    fn place(&self, path: &str) -> PathBuf {
        self.destination.join(path)
    }

    fn made<T>(&self, path: &str, result: std::io::Result<T>) -> Result<T, Error> {
        result.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Refused {
                path: path.to_owned(),
                problem: "exists already, or twice in one tree".to_owned(),
            },
            _ => Error::io(self.place(path))(error),
        })
    }
}

/// Old tools wrote group-writable files; everything else with other bits was made by hand.
fn is_known(mode: EntryMode) -> bool {
    [
        0o100_644, 0o100_664, 0o100_755, 0o040_000, 0o120_000, 0o160_000,
    ]
    .contains(&mode.value())
}

pub(super) fn inside(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// How many names a path has.
pub(super) fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}
