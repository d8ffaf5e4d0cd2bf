//! The ids of many paths of one commit: each directory on the way is read once, however many
//! paths go through it. A thousand applications beside each other in one directory ask for a
//! thousand paths at every push.

use std::collections::HashMap;

use gix::ObjectId;
use gix::objs::tree::EntryMode;
use gix::prelude::FindExt as _;

use super::read::{self, Snapshot};
use super::{Error, Mirror};

/// What a directory holds, by name.
pub(super) type Entries = HashMap<Vec<u8>, (EntryMode, ObjectId)>;

/// A commit whose directories are remembered while it is asked about.
pub(crate) struct TreeIds<'a> {
    snapshot: Snapshot<'a>,
    directories: HashMap<ObjectId, Entries>,
}

impl Mirror {
    /// Opens a commit to ask for the ids of many paths.
    pub(crate) fn tree_ids(&self, commit: &str) -> Result<TreeIds<'_>, Error> {
        Ok(TreeIds {
            snapshot: self.snapshot(commit)?,
            directories: HashMap::new(),
        })
    }

    /// The id of the tree or file at one path.
    #[cfg(test)]
    pub(crate) fn tree_id(&self, commit: &str, path: &str) -> Result<Option<String>, Error> {
        self.tree_ids(commit)?.id(path)
    }

    /// The content of one file.
    #[cfg(test)]
    pub(crate) fn read(
        &self,
        commit: &str,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.tree_ids(commit)?.read(path, max_bytes)
    }
}

impl TreeIds<'_> {
    /// The id of the tree or file at a path: equal ids, equal content. None when nothing is there.
    /// Links on the way are not followed.
    pub(crate) fn id(&mut self, path: &str) -> Result<Option<String>, Error> {
        let mut found = self.snapshot.root;
        let mut is_tree = true;
        for part in read::parts(path)? {
            if !is_tree {
                return Ok(None);
            }
            match self.directory(found)?.get(part.as_bytes()) {
                Some((mode, id)) => (is_tree, found) = (mode.is_tree(), *id),
                None => return Ok(None),
            }
        }
        Ok(Some(found.to_string()))
    }

    pub(super) fn snapshot(&self) -> &Snapshot<'_> {
        &self.snapshot
    }

    pub(super) fn root(&self) -> ObjectId {
        self.snapshot.root
    }

    pub(super) fn directory(&mut self, id: ObjectId) -> Result<&Entries, Error> {
        if !self.directories.contains_key(&id) {
            let mut buffer = Vec::new();
            let tree = self.snapshot.objects.find_tree(&id, &mut buffer);
            let tree = tree.map_err(|error| self.snapshot.damaged(&error))?;
            let entries = tree.entries.iter().rev();
            // Of a name that is there twice the first counts, as where one path is looked up.
            let entries = entries.map(|it| (it.filename.to_vec(), (it.mode, it.oid.to_owned())));
            self.directories.insert(id, entries.collect());
        }
        Ok(&self.directories[&id])
    }
}
