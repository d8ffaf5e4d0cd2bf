//! Reading a set of small files, and telling whether they changed without keeping them.

use std::{
    fmt::{self, Display},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::Error;

/// What is in one file; none when there is no such file.
pub(crate) type Content = Option<Vec<u8>>;

pub(super) struct Files {
    paths: Vec<PathBuf>,
    max_bytes: u64,
}

/// What was found, for comparing with what is found later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Read([u8; 32]),
    Failed(String),
}

/// The outcome of one reading.
pub(super) struct Reading(Result<Vec<Content>, Error>);

impl Files {
    pub(super) fn new(paths: Vec<PathBuf>, max_bytes: u64) -> Self {
        Self { paths, max_bytes }
    }

    pub(super) fn read(&self) -> Reading {
        let contents = self.paths.iter().map(|path| read(path, self.max_bytes));
        Reading(contents.collect())
    }
}

impl Display for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{}", path.display())?;
        }
        Ok(())
    }
}

impl Reading {
    pub(super) fn mark(&self) -> Mark {
        match &self.0 {
            Err(error @ Error::Read { source, .. }) => Mark::Failed(format!("{error}: {source}")),
            Err(error) => Mark::Failed(error.to_string()),
            Ok(contents) => {
                let mut hasher = Sha256::new();
                for content in contents {
                    let length = content.as_ref().map_or(-1, |bytes| bytes.len() as i128);
                    hasher.update(length.to_le_bytes());
                    hasher.update(content.as_deref().unwrap_or_default());
                }
                Mark::Read(hasher.finalize().into())
            }
        }
    }

    pub(super) fn parse<T, E: Display>(
        self,
        parse: &impl Fn(&[Content]) -> Result<T, E>,
    ) -> Result<T, Error> {
        parse(&self.0?).map_err(|error| Error::Wrong(error.to_string()))
    }
}

fn read(path: &Path, max_bytes: u64) -> Result<Content, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        // Opening a pipe would wait for somebody to write.
        Ok(metadata) if !metadata.is_file() => {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit: max_bytes,
        });
    }
    Ok(Some(bytes))
}
