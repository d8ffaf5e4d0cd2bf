//! Where the paths of a commit really lead: links inside the repository are followed, and what
//! leads out of it, nowhere or round in a circle is named.

use std::collections::{BTreeSet, VecDeque};

use gix::ObjectId;
use gix::objs::tree::{EntryKind, EntryMode};

use super::checkout::{CheckoutLimits, SUBMODULE, depth, inside, outermost};
use super::{Error, TreeIds, names};

/// As many links in a row as Linux follows.
const HOPS: usize = 40;
/// Bytes of a link's target.
const TARGET: u64 = 4096;

/// What a path leads to, every link on the way followed.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The path without any link in it.
    pub(super) path: String,
    pub(super) mode: EntryMode,
    pub(super) id: ObjectId,
    /// The links on the way.
    links: BTreeSet<String>,
}

/// What a path leads to, for people and renderers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path without any link in it.
    pub(crate) path: String,
    pub(crate) is_directory: bool,
}

/// Paths with the ids of what is there; none where nothing is.
pub(crate) type Ids = Vec<(String, Option<String>)>;

/// A step of a path that is not gone yet, and the link whose target it belongs to.
type Step = (String, Option<String>);

impl TreeIds<'_> {
    /// Follows a path. None when nothing is there; an error that names the entry when a link on the
    /// way leads nowhere that can be read, or a submodule is there.
    pub(super) fn resolve(&mut self, path: &str) -> Result<Option<Resolved>, Error> {
        let parts = super::read::parts(path)?;
        let mut steps: VecDeque<Step> = parts.iter().map(|it| ((*it).to_owned(), None)).collect();
        let root = (EntryMode::from(EntryKind::Tree), self.root());
        // The directories that were entered, and what is in the last one.
        let mut way: Vec<(String, (EntryMode, ObjectId))> = Vec::new();
        let mut links = BTreeSet::new();
        let mut hops = 0;
        while let Some((step, of)) = steps.pop_front() {
            let (mode, id) = way.last().map_or(root, |(_, entry)| *entry);
            if step == ".." {
                way.pop().ok_or_else(|| leads_out(of.as_deref()))?;
                continue;
            }
            let here: Vec<&str> = way.iter().map(|(name, _)| name.as_str()).collect();
            let here = here.join("/");
            let entry = match mode.is_tree() {
                true => self.directory(id)?.get(step.as_bytes()).copied(),
                false => None,
            };
            let path = inside(&here, &step);
            match (entry, of) {
                (None, None) => return Ok(None),
                (None, Some(link)) => {
                    let problem = format!("is a link to {path}, which does not exist");
                    return Err(left_out(link, problem));
                }
                (Some((mode, id)), of) => match mode.kind() {
                    EntryKind::Commit => return Err(left_out(path, SUBMODULE.to_owned())),
                    EntryKind::Link => {
                        hops += 1;
                        // Of a chain the first link is what a person looks for.
                        let link = of.unwrap_or_else(|| path.clone());
                        if hops > HOPS {
                            let problem = "is a link that leads round in a circle".to_owned();
                            return Err(left_out(link, problem));
                        }
                        let target = self.target(&path, &id)?;
                        for part in target.into_iter().rev() {
                            steps.push_front((part, Some(link.clone())));
                        }
                        links.insert(path);
                    }
                    _ => way.push((step, (mode, id))),
                },
            }
        }
        let (mode, id) = way.last().map_or(root, |(_, entry)| *entry);
        let path: Vec<String> = way.into_iter().map(|(name, _)| name).collect();
        let path = path.join("/");
        Ok(Some(Resolved {
            path,
            mode,
            id,
            links,
        }))
    }

    /// The parts of a link's target, if a repository may have such a link.
    fn target(&mut self, path: &str, id: &ObjectId) -> Result<Vec<String>, Error> {
        let target = self.snapshot().blob(id, path, TARGET)?;
        names::target(&target).map_err(|problem| Error::Refused {
            path: path.to_owned(),
            problem: problem.to_owned(),
        })
    }
}

fn left_out(path: String, problem: String) -> Error {
    Error::LeftOut { path, problem }
}

/// The step up belongs to a link, as paths that are asked for have none.
fn leads_out(link: Option<&str>) -> Error {
    Error::Refused {
        path: link.unwrap_or_default().to_owned(),
        problem: "a link that leads out of the repository".to_owned(),
    }
}

impl TreeIds<'_> {
    /// What is at a path, links followed.
    pub(crate) fn place(&mut self, path: &str) -> Result<Option<Place>, Error> {
        Ok(self.resolve(path)?.map(|it| Place {
            is_directory: it.mode.is_tree(),
            path: it.path,
        }))
    }

    /// The content of a file, links followed; none when there is no file.
    pub(crate) fn read(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.resolve(path)? {
            Some(it) if it.mode.is_blob() => {
                let content = self.snapshot().blob(&it.id, path, max_bytes);
                content.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Everything that reading these paths comes to: what is there, links on the way, what links
    /// below lead to, and so on, with ids: where all are as they were, nothing changed that could be
    /// read. The paths have no link on their way.
    pub(crate) fn reach(
        &mut self,
        paths: &[String],
        limits: &CheckoutLimits,
    ) -> Result<Ids, Error> {
        let mut reach = Reach {
            ids: self,
            limits,
            entries: 0,
            found: BTreeSet::new(),
            scanned: BTreeSet::new(),
            queue: VecDeque::new(),
        };
        for path in paths {
            match reach.ids.resolve(path)? {
                Some(resolved) => reach.take(resolved),
                None => drop(reach.found.insert(super::read::parts(path)?.join("/"))),
            }
        }
        while let Some((path, id)) = reach.queue.pop_front() {
            reach.scan(&path, id)?;
        }
        let found: Vec<String> = reach.found.into_iter().collect();
        let mut ids = Ids::new();
        for path in outermost(&found)? {
            let id = self.id(&path)?;
            ids.push((path, id));
        }
        Ok(ids)
    }

    /// Shows every file of these paths, links not followed, until `visit` has seen enough.
    pub(crate) fn visit(
        &mut self,
        paths: &[(String, Option<String>)],
        limits: &CheckoutLimits,
        mut visit: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut left = limits.bytes;
        let mut open = Vec::new();
        for (path, _) in paths {
            open.extend(
                self.snapshot()
                    .find(path)?
                    .map(|found| (path.clone(), found)),
            );
        }
        while let Some((path, (mode, id))) = open.pop() {
            if mode.is_tree() {
                let deeper = self.directory(id)?.iter().filter_map(|(name, entry)| {
                    let name = std::str::from_utf8(name).ok()?;
                    Some((inside(&path, name), *entry))
                });
                open.extend(deeper);
            } else if mode.is_blob() {
                let content = self.snapshot().blob(&id, &path, limits.file_bytes)?;
                let all = || Error::Limit {
                    path: path.clone(),
                    limit: limits.bytes,
                    what: "bytes",
                };
                left = left.checked_sub(content.len() as u64).ok_or_else(all)?;
                if !visit(&path, &content) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The search for everything that can be read from some paths on.
struct Reach<'a, 'mirror> {
    ids: &'a mut TreeIds<'mirror>,
    limits: &'a CheckoutLimits,
    entries: u64,
    found: BTreeSet<String>,
    /// Directories that were gone through, by path.
    scanned: BTreeSet<String>,
    queue: VecDeque<(String, ObjectId)>,
}

impl Reach<'_, '_> {
    fn take(&mut self, resolved: Resolved) {
        self.found.extend(resolved.links);
        if resolved.mode.is_tree() {
            self.queue.push_back((resolved.path.clone(), resolved.id));
        }
        self.found.insert(resolved.path);
    }

    /// Looks for links in a directory and below.
    fn scan(&mut self, path: &str, id: ObjectId) -> Result<(), Error> {
        if !self.scanned.insert(path.to_owned()) {
            return Ok(());
        }
        let limit = |value: u64, limit: u64, what: &'static str| {
            let path = path.to_owned();
            match value <= limit {
                true => Ok(()),
                false => Err(Error::Limit { path, limit, what }),
            }
        };
        let deepest = self.limits.depth as u64;
        limit(depth(path) as u64, deepest, "nested directories")?;
        let entries = self.ids.directory(id)?;
        self.entries += entries.len() as u64;
        limit(self.entries, self.limits.entries, "entries")?;
        let deeper = entries.iter().filter_map(|(name, (mode, id))| {
            // Names that may not be written are refused with the checkout.
            let name = std::str::from_utf8(name).ok()?;
            names::unsafe_name(name.as_bytes())
                .is_none()
                .then_some(())?;
            let kind = mode.kind();
            matches!(kind, EntryKind::Tree | EntryKind::Link)
                .then(|| (inside(path, name), kind, *id))
        });
        for (path, kind, id) in deeper.collect::<Vec<_>>() {
            if kind == EntryKind::Tree {
                self.scan(&path, id)?;
                continue;
            }
            match self.ids.resolve(&path) {
                Ok(Some(resolved)) => self.take(resolved),
                // Whether somebody reads it is not known here; the checkout says that it is there.
                Ok(None) | Err(Error::LeftOut { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
