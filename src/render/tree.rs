//! The files below a directory of a staged source, links followed: what is there to be read, and
//! what is not.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, LeftOut, Request};

/// Files, links and directories that one walk may meet; a link can show a directory many times.
const ENTRIES: usize = 50_000;
/// Directories inside each other.
const DEPTH: usize = 64;

/// A file, or what stands in the place of one.
#[derive(Debug)]
pub(super) struct Found {
    /// The path below the directory that was gone through.
    pub(super) below: String,
    /// Where it is on disk.
    pub(super) file: PathBuf,
    /// Why it is not there to be read.
    pub(super) missing: Option<Missing>,
}

#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) problem: String,
    /// Whether it stands for one file; else it could be a directory.
    pub(super) is_file: bool,
}

/// Everything below the source's own directory in the order of paths, or only what is directly in
/// it.
pub(super) fn walk(request: &Request<'_>, recurse: bool) -> Result<Vec<Found>, Error> {
    let failed = |source| io_error(&request.source.path, source);
    let stage = request.stage.canonicalize().map_err(failed)?;
    let root = stage.join(&request.source.path);
    let root = root.canonicalize().map_err(failed)?;
    let mut left_out: BTreeMap<PathBuf, Vec<&LeftOut>> = BTreeMap::new();
    for entry in request.left_out {
        let parent = stage.join(&entry.path);
        let parent = parent.parent().unwrap_or(&stage).to_owned();
        left_out.entry(parent).or_default().push(entry);
    }
    let mut walk = Walk {
        source: super::inputs::join("", &request.source.path)?,
        stage,
        left_out,
        recurse,
        entries: 0,
        inside: Vec::new(),
        found: Vec::new(),
    };
    walk.directory(&root, "")?;
    walk.found
        .sort_by(|a, b| Path::new(&a.below).cmp(Path::new(&b.below)));
    Ok(walk.found)
}

struct Walk<'a> {
    /// The source's directory in the repository.
    source: String,
    stage: PathBuf,
    /// By the directory that it would be in.
    left_out: BTreeMap<PathBuf, Vec<&'a LeftOut>>,
    recurse: bool,
    entries: usize,
    /// The directories that are being gone through, each inside the one before, without links.
    inside: Vec<PathBuf>,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, below: &str) -> Result<(), Error> {
        let refused = |problem: String| Error::Refused {
            path: super::inside(&self.source, below),
            problem,
        };
        if self.inside.len() > DEPTH {
            return Err(refused(format!("more than {DEPTH} nested directories")));
        }
        if self.inside.iter().any(|outer| outer == directory) {
            return Err(Error::LeftOut {
                path: super::inside(&self.source, below),
                problem: "leads back to a directory that it is in".to_owned(),
            });
        }
        self.inside.push(directory.to_owned());
        for entry in self.left_out.get(directory).into_iter().flatten() {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            self.found.push(Found {
                below: super::inside(below, name),
                file: self.stage.join(&entry.path),
                missing: Some(Missing {
                    problem: entry.problem.clone(),
                    is_file: entry.is_file,
                }),
            });
        }
        let failed = |source| io_error(&super::inside(&self.source, below), source);
        let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
        for entry in entries.map_err(failed)? {
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(Error::Refused {
                    path: self.source.clone(),
                    problem: format!("more than {ENTRIES} files and directories, links followed"),
                });
            }
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| Error::Refused {
                path: super::inside(&self.source, below),
                problem: "has a name that is not UTF-8".to_owned(),
            })?;
            if name != ".git" {
                self.entry(&entry.path(), &super::inside(below, name))?;
            }
        }
        self.inside.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, below: &str) -> Result<(), Error> {
        let shown = super::inside(&self.source, below);
        let kind = fs::symlink_metadata(path).map_err(|error| io_error(&shown, error))?;
        let mut place = path.to_owned();
        if kind.is_symlink() {
            match path.canonicalize() {
                Ok(real) if real.starts_with(&self.stage) => place = real,
                Ok(_) => {
                    let problem = "is a link that leads out of the repository".to_owned();
                    return Err(Error::LeftOut {
                        path: shown,
                        problem,
                    });
                }
                Err(error) => {
                    let problem = format!("is a link that leads nowhere ({error})");
                    self.missing(path, below, problem);
                    return Ok(());
                }
            }
        }
        if !place.is_dir() {
            self.found.push(Found {
                below: below.to_owned(),
                file: place,
                missing: None,
            });
        } else if place.join(".git").exists() {
            // Only a person's checkout has one: what is left out of a stage is known already.
            self.missing(
                path,
                below,
                "is a submodule, which is not supported".to_owned(),
            );
        } else if self.recurse {
            self.directory(&place, below)?;
        }
        Ok(())
    }

    fn missing(&mut self, path: &Path, below: &str, problem: String) {
        self.found.push(Found {
            below: below.to_owned(),
            file: path.to_owned(),
            missing: Some(Missing {
                problem,
                is_file: false,
            }),
        });
    }
}

fn io_error(path: &str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}
