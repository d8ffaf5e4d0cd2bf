//! Which paths of the repository a render reads, found before anything is staged.
//!
//! Only these are staged, and their ids say whether a commit concerns the application. What a
//! render could fetch from elsewhere is refused here, before any tool sees it.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use super::kustomization::{Entry, Role, entries, folded, plugin_entries, refuse_remote, refused};
use super::{Error, KUSTOMIZATION_FILES, LFS, Tool, detect};
use crate::crd::ApplicationSource;
use crate::object::{parse_first, read_values};
use crate::text::is_lfs_pointer;

/// A commit of a repository, or a checkout of one. Links are followed; what a path that cannot be
/// followed stands for is refused by name.
pub(crate) trait Repository {
    fn place(&self, path: &str) -> Result<Option<Place>, Error>;
    /// The content of a file, none when there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error>;
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it really is, without any link on the way.
    pub(crate) path: String,
    pub(crate) is_directory: bool,
}

/// What a render is about to read, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) tool: Tool,
    /// The application's own path among them; links may be on their way.
    pub(crate) paths: Vec<String>,
    /// Paths through links to directories at which kustomize is to find something without a link: it
    /// takes no file from outside of a kustomization's directory.
    pub(crate) through: Vec<String>,
    /// Keys that the kustomizations have twice, with their files.
    pub(crate) repeated_keys: Vec<String>,
}

/// How many kustomizations one application may be made of.
const KUSTOMIZATIONS: usize = 256;
/// Bytes of one kustomization.
const KUSTOMIZATION_BYTES: usize = 1 << 20;

/// Bytes of all kustomizations and configurations of one application together.
const SCANNED: usize = 8 << 20;

/// The paths that a render of this source reads.
pub(crate) fn inputs(
    source: &ApplicationSource,
    application: &str,
    repository: &dyn Repository,
) -> Result<Reading, Error> {
    let own = join("", &source.path)?;
    refuse_overrides(&own, application, repository)?;
    let mut failure = None;
    let has_file = |name: &str| {
        let place = join(&own, name).and_then(|path| repository.place(&path));
        match place {
            Ok(place) => place.is_some_and(|place| !place.is_directory),
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        }
    };
    let tool = detect(source, has_file);
    if let Some(error) = failure {
        return Err(error);
    }
    let mut walk = Walk {
        repository,
        paths: BTreeSet::from([own.clone()]),
        through: BTreeSet::new(),
        repeated_keys: Vec::new(),
        queue: VecDeque::new(),
        seen: BTreeSet::new(),
        left: SCANNED,
    };
    match tool {
        Tool::Directory => {}
        Tool::Helm => {
            for file in source.helm.iter().flat_map(|helm| &helm.value_files) {
                refuse_remote("spec.source.helm.valueFiles", file)?;
                let path = value_file(&own, file)?;
                repository.place(&path)?;
                walk.paths.insert(path);
            }
        }
        Tool::Kustomize => walk.follow(&own)?,
    }
    Ok(Reading {
        tool,
        paths: outermost(&walk.paths),
        through: walk.through.into_iter().collect(),
        repeated_keys: walk.repeated_keys,
    })
}

/// Argo CD lets these files change the Application's source.
fn refuse_overrides(
    own: &str,
    application: &str,
    repository: &dyn Repository,
) -> Result<(), Error> {
    for name in [
        ".argocd-source.yaml".to_owned(),
        format!(".argocd-source-{application}.yaml"),
    ] {
        let path = join(own, &name)?;
        if repository.place(&path)?.is_some() {
            let problem = "changes the Application in Argo CD, which is not supported: put what \
                           it says into spec.source, and delete it";
            return Err(Error::LeftOut {
                path,
                problem: problem.to_owned(),
            });
        }
    }
    Ok(())
}

/// Follows what kustomizations name, from one to the next.
struct Walk<'a> {
    repository: &'a dyn Repository,
    paths: BTreeSet<String>,
    through: BTreeSet<String>,
    repeated_keys: Vec<String>,
    /// Directories that are still to be read.
    queue: VecDeque<(String, Role)>,
    seen: BTreeSet<(String, Role)>,
    /// Bytes that may still be read.
    left: usize,
}

impl Walk<'_> {
    fn follow(&mut self, own: &str) -> Result<(), Error> {
        let Some(own) = self.repository.place(own)?.map(|place| place.path) else {
            return Ok(());
        };
        self.enter(own.clone(), Role::Input);
        while let Some((directory, role)) = self.queue.pop_front() {
            if self.seen.len() > KUSTOMIZATIONS {
                let problem = format!("more than {KUSTOMIZATIONS} kustomizations");
                return Err(Error::Refused { path: own, problem });
            }
            if let Some((file, kustomization)) = self.kustomization(&directory)? {
                for entry in entries(&file, &kustomization, role)? {
                    self.take(&directory, &file, entry)?;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, directory: String, role: Role) {
        if self.seen.insert((directory.clone(), role)) {
            self.queue.push_back((directory, role));
        }
    }

    /// Notes an entry of a file in a directory, and reads it where it says what is read.
    fn take(&mut self, directory: &str, file: &str, entry: Entry) -> Result<(), Error> {
        let (entry, role) = match entry {
            Entry::Inline(text) => return self.plugins(directory, file, &text),
            Entry::Path(path, role) => (path, role),
        };
        let path = join(directory, &entry)
            .map_err(|_| refused(file, format!("\"{entry}\" leaves the repository")))?;
        if let Some(place) = self.repository.place(&path)? {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let real = self.repository.place(parent)?;
            if real.is_some_and(|real| real.path != parent) {
                self.through.insert(path.clone());
            }
            if place.is_directory {
                self.enter(place.path, role);
            } else if role == Role::Plugin
                && let Some(text) = self.text(&path)?
            {
                self.plugins(directory, &path, &text)?;
            }
        }
        self.paths.insert(path);
        Ok(())
    }

    /// Notes what the configuration of plugins names, from the directory of the kustomization.
    fn plugins(&mut self, directory: &str, file: &str, text: &str) -> Result<(), Error> {
        let documents = read_values(text).map_err(|source| Error::Yaml {
            path: file.to_owned(),
            source,
        })?;
        for document in documents {
            let document = folded(file, document)?;
            for entry in plugin_entries(file, &document)? {
                self.take(directory, file, entry)?;
            }
        }
        Ok(())
    }

    /// The kustomization of a directory, with the path of its file; notes keys that it has twice.
    fn kustomization(&mut self, directory: &str) -> Result<Option<(String, Value)>, Error> {
        for name in KUSTOMIZATION_FILES {
            let path = join(directory, name)?;
            let Some(text) = self.text(&path)? else {
                continue;
            };
            // What comes after the first document is nothing to kustomize.
            let (value, repeated) = parse_first(&text).map_err(|source| Error::Yaml {
                path: path.clone(),
                source,
            })?;
            let repeated = repeated.iter().map(|key| format!("{path}: {key}"));
            self.repeated_keys.extend(repeated);
            let value = folded(&path, value)?;
            return Ok(Some((path, value)));
        }
        Ok(None)
    }

    fn text(&mut self, path: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.repository.read(path)? else {
            return Ok(None);
        };
        if is_lfs_pointer(&bytes) {
            return Err(Error::LeftOut {
                path: path.to_owned(),
                problem: LFS.to_owned(),
            });
        }
        if bytes.len() > KUSTOMIZATION_BYTES {
            return Err(refused(path, "larger than 1 MiB".to_owned()));
        }
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or_else(|| {
            let problem = format!("all kustomizations are larger than {} MiB", SCANNED >> 20);
            refused(path, problem)
        })?;
        let text = String::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| refused(path, "not UTF-8".to_owned()))
    }
}

/// A path relative to a directory of the repository, without `.` and `..`. The root is empty.
pub(super) fn join(directory: &str, path: &str) -> Result<String, Error> {
    let leaves = || refused(path, "leaves the repository".to_owned());
    if path.starts_with('/') {
        return Err(leaves());
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in directory.split('/').chain(path.split('/')) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop().ok_or_else(leaves)?;
            }
            segment => segments.push(segment),
        }
    }
    Ok(segments.join("/"))
}

/// Where a value file of a chart is. As in Argo CD a path that begins with `/` begins at the root of
/// the repository.
pub(super) fn value_file(chart: &str, file: &str) -> Result<String, Error> {
    match file.strip_prefix('/') {
        Some(file) => join("", file),
        None => join(chart, file),
    }
}

/// Drops what lies below another path of the set.
fn outermost(paths: &BTreeSet<String>) -> Vec<String> {
    let is_below = |path: &str, other: &str| {
        path != other
            && (other.is_empty()
                || path
                    .strip_prefix(other)
                    .is_some_and(|rest| rest.starts_with('/')))
    };
    paths
        .iter()
        .filter(|path| !paths.iter().any(|other| is_below(path, other)))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Repository for Files {
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
            let place = self.place(path)?;
            let text = place.and_then(|place| self.0.get(place.path.as_str()));
            Ok(text.map(|text| text.as_bytes().to_vec()))
        }
        /// A file whose text is `-> path` is a link to that path.
        fn place(&self, path: &str) -> Result<Option<Place>, Error> {
            let link = self.0.iter().find_map(|(link, text)| {
                let rest = path.strip_prefix(link)?;
                let target = text.strip_prefix("-> ")?;
                (rest.is_empty() || rest.starts_with('/')).then(|| format!("{target}{rest}"))
            });
            if let Some(path) = link {
                return self.place(&path);
            }
            let within = format!("{path}/");
            let is_directory =
                path.is_empty() || self.0.keys().any(|file| file.starts_with(&within));
            let there = is_directory || self.0.contains_key(path);
            let path = path.to_owned();
            Ok(there.then_some(Place { path, is_directory }))
        }
    }

    fn found(files: &[(&'static str, &'static str)], source: Value) -> Result<Vec<String>, String> {
        let source: ApplicationSource = serde_json::from_value(source).unwrap();
        let files = Files(files.iter().copied().collect());
        let reading = inputs(&source, "app", &files).map_err(|error| error.to_string())?;
        Ok(reading.paths)
    }

    #[test]
    fn bases_and_files_elsewhere_are_read_too() {
        let files = [
            (
                "apps/a/kustomization.yaml",
                "resources: [../../base, local.yaml]\npatches: [{path: ../../patches/p.yaml}]\nconfigMapGenerator: [{name: m, files: [key=../../files/f.txt], envs: [e.env]}]\n",
            ),
            (
                "base/kustomization.yml",
                "resources: [d.yaml, ../apps/a]\ncomponents: [../component]\n",
            ),
            ("component/Kustomization", "patches: [{patch: \"a\\nb\"}]\n"),
        ];
        let paths = found(&files, json!({"repoURL": "x", "path": "apps/a"})).unwrap();
        assert_eq!(
            paths,
            [
                "apps/a",
                "base",
                "component",
                "files/f.txt",
                "patches/p.yaml"
            ]
        );
    }

    #[test]
    fn kustomizations_behind_links_are_read_from_where_they_are() {
        let files = [
            ("app/kustomization.yaml", "resources: [base, map.yaml]\n"),
            ("app/base", "-> deep/er/base"),
            ("app/map.yaml", "-> shared/map.yaml"),
            (
                "deep/er/base/kustomization.yaml",
                "resources: [../common]\n",
            ),
            ("deep/er/common/kustomization.yaml", "resources: []\n"),
            ("shared/map.yaml", ""),
        ];
        let paths = found(&files, json!({"path": "app"})).unwrap();
        assert_eq!(paths, ["app", "deep/er/common"]);
        // What lies behind a link to a directory is found there without the link.
        let files = [
            (
                "app/kustomization.yaml",
                "resources: [all/map.yaml, all/base, base]\n",
            ),
            ("app/all", "-> shared"),
            ("app/base", "-> shared/base"),
            ("shared/map.yaml", ""),
            ("shared/base/kustomization.yaml", ""),
        ];
        let source = serde_json::from_value(json!({"path": "app"})).unwrap();
        let reading = inputs(&source, "app", &Files(files.into())).unwrap();
        assert_eq!(reading.through, ["app/all/base", "app/all/map.yaml"]);
        // The application's own path may be a link as well.
        let files = [
            ("current", "-> releases/v2"),
            ("releases/v2/kustomization.yaml", "resources: [../base]\n"),
        ];
        let paths = found(&files, json!({"path": "current"})).unwrap();
        assert_eq!(paths, ["current", "releases/base"]);
    }

    #[test]
    fn files_that_change_the_source_are_refused() {
        for (name, is_refused) in [
            (".argocd-source.yaml", true),
            (".argocd-source-app.yaml", true),
            (".argocd-source-other.yaml", false),
        ] {
            let path = format!("a/{name}");
            let result = found(&[(path.leak(), "helm: {}")], json!({"path": "a"}));
            assert_eq!(result.is_err(), is_refused, "{name}: {result:?}");
        }
    }

    #[test]
    fn the_root_covers_all() {
        assert_eq!(
            found(
                &[("kustomization.yaml", "resources: [a]\n")],
                json!({"path": "."})
            )
            .unwrap(),
            [""]
        );
    }

    #[test]
    fn values_files_may_lie_elsewhere_in_the_repository() {
        let source = json!({"path": "chart", "helm": {"valueFiles": ["a.yaml", "../values/b.yaml", "/c.yaml"]}});
        assert_eq!(
            found(&[], source).unwrap(),
            ["c.yaml", "chart", "values/b.yaml"]
        );
        for outside in [
            "../../b.yaml",
            "/../etc/passwd",
            "https://e.com/v.yaml",
            "file:///etc/passwd",
        ] {
            let source = json!({"path": "chart", "helm": {"valueFiles": [outside]}});
            assert!(found(&[], source).is_err(), "{outside}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_is_refused() {
        for entry in [
            "https://example.com/base",
            "github.com/o/r",
            "git@example.com:o/r",
            "ssh://h/r",
            "git::https://h/r",
            "../base?ref=main",
            "example.com/o/r//base",
            "u@h:r",
            "file:///a?ref=--upload-pack=x",
        ] {
            for field in [
                "resources",
                "components",
                "bases",
                "crds",
                "transformers",
                "Resources",
                "re\u{17f}ources",
            ] {
                let text = format!("{field}: ['{entry}']\n");
                let error = found(
                    &[("a/kustomization.yaml", text.leak())],
                    json!({"path": "a"}),
                );
                let error = error.unwrap_err();
                assert!(
                    error.contains("remote base") && error.contains(entry),
                    "{error}"
                );
            }
        }
        let files = [("a/kustomization.yaml", "helmCharts: [{name: x}]\n")];
        assert!(
            found(&files, json!({"path": "a"}))
                .unwrap_err()
                .contains("helmcharts")
        );
        let files = [("a/kustomization.yaml", "resources: [../../x]\n")];
        assert!(
            found(&files, json!({"path": "a"}))
                .unwrap_err()
                .contains("leaves the repository")
        );
    }
}
