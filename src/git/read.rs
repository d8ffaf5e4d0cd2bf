//! What a commit holds, without writing it anywhere. Blocking, from packs on disk.

use std::sync::Arc;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::tree::{EntryKind, EntryMode};
use gix::odb::HeaderExt as _;
use gix::prelude::FindExt as _;

use super::generation::{Generation, Objects};
use super::{Error, Mirror, names};
use crate::text::is_unseen;

/// Enough for a title and a few paragraphs.
const LONGEST_MESSAGE: usize = 2048;

/// Who said what when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitInfo {
    /// `Name <address>`.
    pub(crate) author: String,
    /// The first 2 KiB, without control characters other than line ends.
    pub(crate) message: String,
    /// When it was committed, in seconds since 1970.
    pub(crate) time: i64,
}

/// A commit opened for reading.
pub(super) struct Snapshot<'a> {
    mirror: &'a Mirror,
    generation: Arc<Generation>,
    pub(super) objects: Objects,
    pub(super) root: ObjectId,
}

impl Snapshot<'_> {
    pub(super) fn damaged(&self, error: &gix::Error) -> Error {
        self.mirror.damaged(&self.generation, error)
    }

    /// Mode and id of what is at a path; the root is a tree. Links on the way are not followed.
    pub(super) fn find(&self, path: &str) -> Result<Option<(EntryMode, ObjectId)>, Error> {
        let parts = parts(path)?;
        let mut found = (EntryMode::from(EntryKind::Tree), self.root);
        let mut buffer = Vec::new();
        for part in parts {
            if !found.0.is_tree() {
                return Ok(None);
            }
            let tree = self.objects.find_tree(&found.1, &mut buffer);
            let tree = tree.map_err(|error| self.damaged(&error))?;
            let entry = tree
                .entries
                .iter()
                .find(|entry| entry.filename == part.as_bytes());
            match entry {
                Some(entry) => found = (entry.mode, entry.oid.to_owned()),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    pub(super) fn blob(&self, id: &ObjectId, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let header = self.objects.header(id);
        let size = header.map_err(|error| self.damaged(&error))?.size();
        if size > limit {
            return Err(Error::Limit {
                path: path.to_owned(),
                limit,
                what: "bytes in one file",
            });
        }
        let mut buffer = Vec::new();
        let blob = self.objects.find_blob(id, &mut buffer);
        blob.map_err(|error| self.damaged(&error))?;
        Ok(buffer)
    }
}

impl Mirror {
    pub(super) fn snapshot(&self, commit: &str) -> Result<Snapshot<'_>, Error> {
        let (generation, id) = self.objects(commit)?;
        let objects = generation.objects();
        let mut buffer = Vec::new();
        let root = objects
            .find_commit(&id, &mut buffer)
            .map(|commit| commit.tree());
        let root = root.map_err(|error| self.damaged(&generation, &error))?;
        Ok(Snapshot {
            mirror: self,
            generation,
            objects,
            root,
        })
    }

    pub(crate) fn commit_info(&self, commit: &str) -> Result<CommitInfo, Error> {
        let (generation, id) = self.objects(commit)?;
        let objects = generation.objects();
        let damaged = |error: gix::Error| self.damaged(&generation, &error);
        let mut buffer = Vec::new();
        let commit = objects.find_commit(&id, &mut buffer).map_err(damaged)?;
        let author = commit.author().map_err(damaged)?;
        let committer = commit.committer().map_err(damaged)?;
        let message = &commit.message[..commit.message.len().min(LONGEST_MESSAGE)];
        let author = format!("{} <{}>", author.name, author.email);
        Ok(CommitInfo {
            author: printable(author.as_bytes()).chars().take(256).collect(),
            message: printable(message),
            time: committer.seconds(),
        })
    }
}

/// A path as its parts, if a repository may have it.
pub(super) fn parts(path: &str) -> Result<Vec<&str>, Error> {
    names::parts(path).ok_or_else(|| Error::Path {
        path: super::one_line(path),
        problem: "has a part that no repository may have",
    })
}

/// Text that cannot move a cursor or hide what follows it.
fn printable(bytes: &[u8]) -> String {
    let text = bytes.to_str_lossy();
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let shown = |c: &char| *c == '\n' || !is_unseen(*c);
    text.chars().filter(shown).collect()
}
