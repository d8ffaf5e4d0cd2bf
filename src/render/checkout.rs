//! A person's checkout of a repository, read in place.

use std::{fs, io, path::PathBuf};

use super::inputs::{Place, Repository};
use super::{Error, LFS};
use crate::text::is_lfs_pointer;

/// The root of a checkout, without links on its own way.
#[derive(Clone, Debug)]
pub(crate) struct Checkout(PathBuf);

impl Checkout {
    pub(crate) fn open(root: &std::path::Path) -> io::Result<Self> {
        root.canonicalize().map(Self)
    }

    pub(crate) fn root(&self) -> &std::path::Path {
        &self.0
    }
}

impl Repository for Checkout {
    fn place(&self, path: &str) -> Result<Option<Place>, Error> {
        let here = self.0.join(path);
        let left_out = |problem: &str| Error::LeftOut {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let real = match here.canonicalize() {
            Ok(real) => real,
            Err(error) if fs::symlink_metadata(&here).is_ok_and(|it| it.is_symlink()) => {
                return Err(left_out(&format!("is a link that leads nowhere ({error})")));
            }
            Err(_) => return Ok(None),
        };
        let below = real
            .strip_prefix(&self.0)
            .map_err(|_| left_out("is a link that leads out of the repository"))?;
        let is_directory = real.is_dir();
        if is_directory && real != self.0 && real.join(".git").exists() {
            return Err(left_out("is a submodule, which is not supported"));
        }
        let is_pointer = !is_directory
            && fs::metadata(&real).is_ok_and(|file| file.len() < 1024)
            && fs::read(&real).is_ok_and(|bytes| is_lfs_pointer(&bytes));
        if is_pointer {
            return Err(left_out(LFS));
        }
        Ok(Some(Place {
            path: below.display().to_string(),
            is_directory,
        }))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.place(path)? {
            Some(place) if !place.is_directory => fs::read(self.0.join(&place.path))
                .map(Some)
                .map_err(|source| Error::Io {
                    path: path.to_owned(),
                    source,
                }),
            _ => Ok(None),
        }
    }
}
