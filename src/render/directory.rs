//! Plain manifests: the YAML and JSON files of a directory, read here without any child.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{Error, KUSTOMIZATION_FILES, Request};
use crate::object::{Object, parse_manifests};

/// A file that says so in its first lines is left out.
const SKIP: &str = "+argocd:skip-file-rendering";

/// Reads the files in the order of their paths.
///
/// `include` and `exclude` are globs on the path below the directory in which `*` does not cross
/// a `/`; `exclude` wins. Links are not followed: what they could lead to is not staged.
pub(super) fn render(request: &Request<'_>) -> Result<Vec<Object>, Error> {
    let settings = request.source.directory.clone().unwrap_or_default();
    let include = glob("include", &settings.include)?;
    let exclude = glob("exclude", &settings.exclude)?;
    let root = request.stage.join(&request.source.path);
    let mut files = Vec::new();
    walk(request, &root, settings.recurse, &mut files)?;
    files.sort();
    if request.source.kustomize.is_some() {
        refuse_kustomizations(request, &files)?;
    }
    let mut objects = Vec::new();
    let mut left = request.limits.bytes;
    for file in files {
        let below = file.strip_prefix(&root).unwrap_or(&file);
        let taken = include.as_ref().is_none_or(|glob| glob.is_match(below))
            && !exclude.as_ref().is_some_and(|glob| glob.is_match(below));
        if !taken {
            continue;
        }
        let path = shown(request, &file);
        let bytes = fs::read(&file).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            let problem = format!("more than {} bytes of manifests", request.limits.bytes);
            Error::Refused {
                path: path.clone(),
                problem,
            }
        })?;
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
            continue;
        }
        let parsed = parse_manifests(text, request.limits);
        objects.extend(parsed.map_err(|source| Error::Yaml {
            path: path.clone(),
            source,
        })?);
        if let Some(unnamed) = objects.iter().find(|object: &&Object| object.is_nameless()) {
            let problem = format!("a {} without metadata.name", unnamed.kind());
            return Err(Error::Refused { path, problem });
        }
        if objects.len() > request.limits.objects {
            let problem = format!("more than {} objects", request.limits.objects);
            return Err(Error::Refused { path, problem });
        }
    }
    Ok(objects)
}

/// Where kustomizations count as well (`kustomize: {}`) one further below is not taken for a manifest,
/// nor what it is made of.
fn refuse_kustomizations(request: &Request<'_>, files: &[PathBuf]) -> Result<(), Error> {
    let directories: BTreeSet<_> = files.iter().filter_map(|file| file.parent()).collect();
    let candidates = directories
        .iter()
        .flat_map(|directory| KUSTOMIZATION_FILES.map(|name| directory.join(name)));
    match candidates.into_iter().find(|file| file.is_file()) {
        None => Ok(()),
        Some(file) => Err(Error::Refused {
            path: shown(request, &file),
            problem: "a kustomization below a directory of plain manifests: list both in a \
                      kustomization.yaml in spec.source.path"
                .to_owned(),
        }),
    }
}

fn glob(field: &str, pattern: &str) -> Result<Option<GlobMatcher>, Error> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| {
            let path = format!("spec.source.directory.{field}");
            Error::Refused {
                path,
                problem: error.to_string(),
            }
        })?;
    Ok(Some(glob.compile_matcher()))
}

fn walk(
    request: &Request<'_>,
    directory: &Path,
    recurse: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let failed = |source| Error::Io {
        path: shown(request, directory),
        source,
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_dir() && recurse {
            walk(request, &path, recurse, files)?;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if kind.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    Ok(())
}

fn shown(request: &Request<'_>, path: &Path) -> String {
    path.strip_prefix(request.stage)
        .unwrap_or(path)
        .display()
        .to_string()
}
