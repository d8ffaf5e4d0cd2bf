//! All mirrors on disk, whoever made them. Only what a mirror is called is looked at and removed, and
//! no link is followed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories below one that are counted: a mirror has four levels of its own.
const DEEPEST: usize = 8;
/// The end of a name that a directory has while it is removed.
const GOING: &str = ".going";

/// The directory that holds the mirrors.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    root: PathBuf,
}

/// One mirror on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnDisk {
    /// The name of its directory.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Shelf {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Every mirror that is there, by name. What another process left half removed goes.
    pub(crate) fn list(&self) -> Vec<OnDisk> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // Of the entry itself, wherever it may lead.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if is_name(&name) {
                let bytes = bytes_of(&entry.path(), DEEPEST);
                found.push(OnDisk { name, bytes });
            } else if name.strip_suffix(GOING).is_some_and(is_name) {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Takes a mirror out of use that nobody has open; quick. What it returns is to be removed.
    pub(crate) fn take_away(&self, name: &str) -> io::Result<PathBuf> {
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_dir());
        let from = self.root.join(name);
        if !is_name(name) || !is_directory(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let to = self.root.join(format!("{name}{GOING}"));
        fs::rename(from, &to)?;
        Ok(to)
    }
}

/// Whether a directory is called as a mirror is.
fn is_name(name: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 32 && name.bytes().all(hex)
}

/// The bytes of the files below a directory; links count as nothing.
fn bytes_of(directory: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let sizes = entries.filter_map(Result::ok).map(|entry| {
        // Of the entry itself, wherever it may lead.
        let Ok(metadata) = entry.metadata() else {
            return 0;
        };
        match metadata.is_dir() {
            true if depth > 0 => bytes_of(&entry.path(), depth - 1),
            false if metadata.is_file() => metadata.len(),
            _ => 0,
        }
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_mirrors_are_seen_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("mirrors"), place.path().join("outside"));
        let (mirror, link) = ("0123456789abcdef".repeat(2), "f".repeat(32));
        let deep = root.join(&mirror).join("1/objects/pack");
        for directory in [&deep, &outside, &root.join("lost+found")] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("file"), "12345").unwrap();
        }
        symlink(&outside, root.join(&link)).unwrap();
        symlink(&outside, deep.join("way-out")).unwrap();
        symlink(outside.join("file"), deep.join("large")).unwrap();
        fs::write(root.join("e".repeat(32)), "a file").unwrap();
        let shelf = Shelf::new(root.clone());
        let expected = OnDisk {
            name: mirror.clone(),
            bytes: 5,
        };
        assert_eq!(shelf.list(), [expected]);
        for name in [&*link, "lost+found", "../outside", "..", ""] {
            assert!(shelf.take_away(name).is_err(), "{name}");
        }
        let taken = shelf.take_away(&mirror).unwrap();
        assert_eq!(shelf.list(), [], "and it is removed, as nobody did");
        assert!(!taken.exists());
        assert!(outside.join("file").exists() && root.join(&link).exists());
        assert!(root.join("lost+found/file").exists());
    }
}
