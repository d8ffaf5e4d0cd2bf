//! Plain manifests: the YAML and JSON files of a directory, read here without any child.

use std::fs;

use globset::{GlobBuilder, GlobMatcher};

use super::tree::{Found, Missing, walk};
use super::{Error, KUSTOMIZATION_FILES, Request, inside};
use crate::object::{Object, Rendered, YamlError, YamlLimits, read_manifests};
use crate::text::is_lfs_pointer;

/// A file that says so in its first lines is left out.
const SKIP: &str = "+argocd:skip-file-rendering";
/// What the names of manifests end with.
const MANIFESTS: [&str; 3] = [".yaml", ".yml", ".json"];
/// What Argo CD would evaluate, and what that would take in.
const JSONNET: [&str; 2] = [".jsonnet", ".libsonnet"];

/// Reads the files in the order of their paths.
///
/// `include` and `exclude` are globs on the path below the directory; `exclude` wins. Guarantees:
/// every entry below is read, is none of those that are asked for (by its name, the globs or
/// `recurse`), is named as no manifest, or is refused by name.
pub(super) fn render(request: &Request<'_>) -> Result<Rendered, Error> {
    let settings = request.source.directory.clone().unwrap_or_default();
    let globs = Globs::new(&settings.include, &settings.exclude)?;
    let mut rendered = Rendered::default();
    // What may still come.
    let mut left = request.limits;
    let entries = walk(request, settings.recurse)?;
    if request.source.kustomize.is_some() {
        refuse_kustomizations(request, &entries)?;
    }
    for found in entries {
        let path = inside(&request.source.path, &found.below);
        match reader(&found, &globs, settings.recurse) {
            Reader::Nobody => continue,
            Reader::Refused(problem) => return Err(Error::LeftOut { path, problem }),
            Reader::Manifests => {}
        }
        let bytes = fs::read(&found.file).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        if bytes.len() > left.bytes {
            let problem = format!("more than {} bytes of manifests", request.limits.bytes);
            return Err(Error::Refused { path, problem });
        }
        left.bytes -= bytes.len();
        left.nodes -= read(left, request, &path, bytes, &mut rendered)?;
    }
    Ok(rendered)
}

/// The manifests of a file, none when it is something else: other YAML lies beside manifests in
/// many repositories, and Argo CD passes it over as well. A key that is there twice is refused, as
/// is what looks like half a manifest or lies in a file with whole ones.
fn manifests(text: &str, limits: YamlLimits) -> Result<(Option<Vec<Object>>, usize), YamlError> {
    let documents = read_manifests(text, limits)?;
    let nodes = documents.nodes;
    if let Some(key) = documents.repeated.into_iter().next() {
        return Err(YamlError::Repeated(key));
    }
    match documents.other {
        Some(other) if other.is_half || !documents.objects.is_empty() => Err(other.error),
        Some(_) => Ok((None, nodes)),
        None => Ok((Some(documents.objects), nodes)),
    }
}

/// Where kustomizations count as well (`kustomize: {}`) one further below is not taken for a manifest,
/// nor what it is made of.
fn refuse_kustomizations(request: &Request<'_>, found: &[Found]) -> Result<(), Error> {
    let is_one = |found: &&Found| {
        let name = found.below.rsplit('/').next().unwrap_or_default();
        KUSTOMIZATION_FILES.contains(&name)
    };
    match found.iter().find(is_one) {
        None => Ok(()),
        Some(found) => Err(Error::Refused {
            path: inside(&request.source.path, &found.below),
            problem: "a kustomization below a directory of plain manifests: list both in a \
                      kustomization.yaml in spec.source.path"
                .to_owned(),
        }),
    }
}

/// Who reads an entry.
#[derive(Debug, PartialEq)]
enum Reader {
    Manifests,
    /// It was not asked for.
    Nobody,
    /// Nobody can, and the problem says why.
    Refused(String),
}

fn reader(found: &Found, globs: &Globs, recurse: bool) -> Reader {
    let ends = |ends: &[&str]| ends.iter().any(|end| found.below.ends_with(end));
    let is_manifest = ends(&MANIFESTS) && globs.take(&found.below);
    let is_jsonnet = ends(&JSONNET) && globs.take(&found.below);
    match &found.missing {
        Some(Missing { problem, is_file }) => {
            let within = |end: &&str| globs.take(&format!("{}/x{end}", found.below));
            let could_hold = !is_file && recurse && MANIFESTS.iter().any(within);
            match is_manifest || is_jsonnet || could_hold {
                true => Reader::Refused(problem.clone()),
                false => Reader::Nobody,
            }
        }
        None if is_jsonnet => Reader::Refused(
            "is Jsonnet, which is not supported: commit what it evaluates to, and leave it out \
             with spec.source.directory.exclude"
                .to_owned(),
        ),
        None if is_manifest => Reader::Manifests,
        None => Reader::Nobody,
    }
}

/// Reads a file. Returns how many values it has; there may be so many as are left.
fn read(
    left: YamlLimits,
    request: &Request<'_>,
    path: &str,
    bytes: Vec<u8>,
    rendered: &mut Rendered,
) -> Result<usize, Error> {
    let path = path.to_owned();
    if is_lfs_pointer(&bytes) {
        let problem = super::LFS.to_owned();
        return Err(Error::LeftOut { path, problem });
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::Refused {
        path: path.clone(),
        problem: "not UTF-8".to_owned(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text
        .lines()
        .take(10)
        .any(|line| line.starts_with('#') && line.contains(SKIP))
    {
        return Ok(0);
    }
    let limits = YamlLimits {
        bytes: request.limits.bytes,
        ..left
    };
    let (read, nodes) = manifests(text, limits).map_err(|source| Error::Yaml {
        path: path.clone(),
        source,
    })?;
    let Some(read) = read else {
        rendered.notes.skipped_files.push(path);
        return Ok(nodes);
    };
    rendered.objects.extend(read);
    let objects = &rendered.objects;
    if let Some(unnamed) = objects.iter().find(|object: &&Object| object.is_nameless()) {
        let problem = super::nameless(unnamed);
        return Err(Error::Refused { path, problem });
    }
    if objects.len() > request.limits.objects {
        let problem = format!("more than {} objects", request.limits.objects);
        return Err(Error::Refused { path, problem });
    }
    Ok(nodes)
}

/// Which paths are asked for.
struct Globs {
    include: Option<GlobMatcher>,
    exclude: Option<GlobMatcher>,
}

impl Globs {
    fn new(include: &str, exclude: &str) -> Result<Self, Error> {
        Ok(Self {
            include: glob("include", include)?,
            exclude: glob("exclude", exclude)?,
        })
    }

    fn take(&self, below: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|glob| glob.is_match(below))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|glob| glob.is_match(below))
    }
}

/// A glob as Argo CD takes it: on the whole path, and `*`, `**` and `?` match a `/` as well.
fn glob(field: &str, pattern: &str) -> Result<Option<GlobMatcher>, Error> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let refused = |problem: String| Error::Refused {
        path: format!("spec.source.directory.{field}"),
        problem,
    };
    let glob = GlobBuilder::new(&as_one_star(pattern))
        .literal_separator(false)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    Ok(Some(glob.compile_matcher()))
}

/// Several stars in a row are one, as nothing separates: `**` would mean whole directories here.
fn as_one_star(pattern: &str) -> String {
    let mut text = String::new();
    let (mut escaped, mut in_class, mut star) = (false, false, false);
    for c in pattern.chars() {
        let is_star = c == '*' && !escaped && !in_class;
        if !(is_star && star) {
            text.push(c);
        }
        star = is_star;
        in_class = !escaped && (c == '[' || (in_class && c != ']')) || (escaped && in_class);
        escaped = c == '\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn globs_match_as_in_argo_cd() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let glob = glob("include", pattern).unwrap().unwrap();
            assert_eq!(glob.is_match(path), expected, "{pattern} on {path}");
        };
        check("*secret*", "sub/secret.yaml", true);
        check("*secret*", "secret.yaml", true);
        check("*.yaml", "a/b/c.yaml", true);
        check("*.yaml", "a.yml", false);
        check("secret.yaml", "sub/secret.yaml", false);
        check("**/secret.yaml", "sub/deep/secret.yaml", true);
        check("**/secret.yaml", "secret.yaml", false);
        check("sub/**", "sub/deep/a.yaml", true);
        check("sub/*", "sub/deep/a.yaml", true);
        check("sub/*", "other/a.yaml", false);
        check("a**b", "a/x/b", true);
        check("{a,b/*}.yaml", "a.yaml", true);
        check("{a,b/*}.yaml", "b/c/d.yaml", true);
        check("{a,b/*}.yaml", "c.yaml", false);
        check("{*.yaml,{x,y}/*}", "y/z.json", true);
        check("a{,-b}.yaml", "a.yaml", true);
        check("a{,-b}.yaml", "a-b.yaml", true);
        check("a?b.yaml", "a/b.yaml", true);
        check("[a-c].yaml", "b.yaml", true);
        check("[!a-c].yaml", "b.yaml", false);
        check("[!a-c].yaml", "d.yaml", true);
        check("[*].yaml", "*.yaml", true);
        check("[*].yaml", "a.yaml", false);
        check("\\*.yaml", "*.yaml", true);
        check("\\*.yaml", "a.yaml", false);
        assert!(glob("include", "[a").is_err());
        assert!(glob("include", "{a").is_err());
        assert!(glob("include", "").unwrap().is_none());
    }

    /// For every kind of entry there is a reader, nobody asked for it, or it is refused.
    #[test]
    fn no_entry_is_passed_over() {
        let file = |below: &str| Found {
            below: below.to_owned(),
            file: PathBuf::new(),
            missing: None,
        };
        let missing = |below: &str, is_file| Found {
            missing: Some(Missing {
                problem: "is no file".to_owned(),
                is_file,
            }),
            ..file(below)
        };
        let globs = |include: &str, exclude: &str| Globs::new(include, exclude).unwrap();
        let all = globs("", "");
        let check = |found: &Found, globs: &Globs, recurse, expected: &str| {
            let reader = match reader(found, globs, recurse) {
                Reader::Manifests => "read",
                Reader::Nobody => "nobody",
                Reader::Refused(_) => "refused",
            };
            assert_eq!(reader, expected, "{found:?}");
        };
        for (name, expected) in [
            ("a.yaml", "read"),
            ("a.yml", "read"),
            ("sub/a.json", "read"),
            ("README.md", "nobody"),
            ("a.jsonnet", "refused"),
            ("lib/a.libsonnet", "refused"),
        ] {
            check(&file(name), &all, true, expected);
            check(&file(name), &globs("", "*a*"), true, "nobody");
        }
        // Git LFS: one file.
        check(&missing("a.yaml", true), &all, false, "refused");
        check(&missing("a.png", true), &all, true, "nobody");
        check(&missing("a.yaml", true), &globs("", "a.*"), true, "nobody");
        // A submodule, or a link that leads nowhere: a file or a directory.
        check(&missing("sub", false), &all, true, "refused");
        check(&missing("sub", false), &all, false, "nobody");
        check(&missing("sub.yaml", false), &all, false, "refused");
        check(&missing("sub", false), &globs("", "sub/*"), true, "nobody");
        check(&missing("sub", false), &globs("", "*sub*"), true, "nobody");
        check(&missing("sub", false), &globs("a*", ""), true, "nobody");
        check(
            &missing("sub", false),
            &globs("", "*.json"),
            true,
            "refused",
        );
    }
}
