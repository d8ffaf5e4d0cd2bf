//! A staged chart before helm sees it: what helm would pass over without a word is found here.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tree::{Found, Missing, walk};
use super::{Error, LFS, Request, inside};
use crate::object::parse_document;
use crate::text::is_lfs_pointer;

/// What helm reads of a chart by itself; everything else only by `.Files`.
const DIRECTORIES: [&str; 3] = ["templates", "crds", "charts"];
const FILES: [&str; 7] = [
    "Chart.yaml",
    "Chart.lock",
    "requirements.yaml",
    "requirements.lock",
    "values.yaml",
    "values.schema.json",
    ".helmignore",
];
/// The most that is read of a file that says what a chart is.
const CHART_BYTES: u64 = 1 << 20;
/// How the chart that stands in for a missing one is called in what helm says.
const STAND_IN: &str = "trimtab-missing-";

/// A dependency of a subchart that is not in the repository. Helm checks those of the chart itself
/// only, and passes over the others.
#[derive(Debug, PartialEq)]
pub(super) struct Absent {
    /// The chart that needs it, below the whole chart.
    root: String,
    name: String,
    /// The name under which the values know it.
    alias: String,
}

/// What a chart asks of the cluster by `.Capabilities`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Asks {
    #[default]
    Nothing,
    /// Which version of Kubernetes it is.
    Version,
    /// Which versions and kinds it serves.
    Versions,
}

/// What a file of a chart, or what a spec gives to it, asks.
pub(crate) fn asks(path: &str, text: &[u8]) -> Asks {
    if path.ends_with(".tgz") {
        // It is not opened.
        return Asks::Versions;
    }
    let text = String::from_utf8_lossy(text);
    let version = [".KubeVersion", ".HelmVersion"];
    let mut asked = text.split("Capabilities").skip(1);
    if text.contains("APIVersions")
        || asked.any(|rest| !version.iter().any(|field| rest.starts_with(field)))
    {
        Asks::Versions
    } else if text.contains("Capabilities") {
        Asks::Version
    } else {
        Asks::Nothing
    }
}

/// Judges every file of the chart. Returns the dependencies that helm would not miss.
pub(super) fn check(request: &Request<'_>) -> Result<(Vec<Found>, Vec<Absent>), Error> {
    let mut files = walk(request, true)?;
    for found in &mut files {
        let is_pointer = found.missing.is_none()
            && fs::metadata(&found.file).is_ok_and(|file| file.len() < 1024)
            && fs::read(&found.file).is_ok_and(|bytes| is_lfs_pointer(&bytes));
        if is_pointer {
            found.missing = Some(Missing {
                problem: LFS.to_owned(),
                is_file: true,
            });
        }
    }
    let mut reads_files = None;
    for found in &files {
        let Some(missing) = &found.missing else {
            continue;
        };
        let is_needed = is_read_by_itself(&found.below)
            || *reads_files.get_or_insert_with(|| reads_files_of(request, &files));
        if is_needed {
            return Err(Error::LeftOut {
                path: inside(&request.source.path, &found.below),
                problem: missing.problem.clone(),
            });
        }
    }
    let absent = absent(&files);
    Ok((files, absent))
}

/// A path as the innermost chart that it is in, and the path below that.
pub(super) fn split(below: &str) -> (&str, &str) {
    let mut rest = below;
    while let Some((_, deeper)) = rest
        .strip_prefix("charts/")
        .and_then(|rest| rest.split_once('/'))
    {
        rest = deeper;
    }
    let root = &below[..below.len() - rest.len()];
    (root.trim_end_matches('/'), rest)
}

fn is_read_by_itself(below: &str) -> bool {
    let (_, below) = split(below);
    let first = below.split('/').next().unwrap_or_default();
    DIRECTORIES.contains(&first) || FILES.contains(&below)
}

/// Whether some template, or a value that may be one, reads other files of the chart.
fn reads_files_of(request: &Request<'_>, files: &[Found]) -> bool {
    let mentions = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("Files");
    let spec = serde_json::to_vec(&request.source.helm).unwrap_or_default();
    mentions(&spec)
        || files
            .iter()
            .filter(|found| found.missing.is_none() && is_read_by_itself(&found.below))
            .any(|found| {
                found.below.ends_with(".tgz")
                    || fs::read(&found.file).is_ok_and(|bytes| mentions(&bytes))
            })
}

fn absent(files: &[Found]) -> Vec<Absent> {
    let roots: BTreeSet<&str> = files
        .iter()
        .map(|found| split(&found.below))
        .filter(|(_, rest)| *rest == "Chart.yaml")
        .map(|(root, _)| root)
        .collect();
    let mut absent = Vec::new();
    for root in roots.iter().filter(|root| !root.is_empty()) {
        let read = |name: &str| read_yaml(files, &inside(root, name));
        let mut needed = read("Chart.yaml")["dependencies"].take();
        if needed.is_null() {
            needed = read("requirements.yaml")["dependencies"].take();
        }
        let present = present(files, root, &roots);
        for dependency in needed.as_array().into_iter().flatten() {
            let text = |field: &str| dependency[field].as_str().unwrap_or_default().to_owned();
            let (name, alias) = (text("name"), text("alias"));
            let is_present = present.iter().any(|there| is_chart(there, &name));
            if !name.is_empty() && !is_present {
                let alias = if alias.is_empty() { &name } else { &alias }.clone();
                absent.push(Absent {
                    root: (*root).to_owned(),
                    name,
                    alias,
                });
            }
        }
    }
    absent
}

/// The names of the charts that a chart brings with it, and of its packaged ones.
fn present(files: &[Found], root: &str, roots: &BTreeSet<&str>) -> Vec<String> {
    let within = format!("{}/", inside(root, "charts"));
    let charts = roots.iter().filter(|it| {
        it.strip_prefix(within.as_str())
            .is_some_and(|name| !name.contains('/'))
    });
    let names = charts.map(|chart| {
        let name = read_yaml(files, &inside(chart, "Chart.yaml"))["name"].take();
        name.as_str().unwrap_or_default().to_owned()
    });
    let packaged = files.iter().filter_map(|found| {
        let name = found.below.strip_prefix(within.as_str())?;
        (!name.contains('/') && name.ends_with(".tgz")).then(|| name.to_owned())
    });
    names.chain(packaged).collect()
}

/// Whether a chart, or a package by the name of its file, is the chart of this name.
fn is_chart(there: &str, name: &str) -> bool {
    let version = there
        .strip_suffix(".tgz")
        .and_then(|there| there.strip_prefix(name)?.strip_prefix('-'));
    there == name
        || version
            .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit() || c == 'v'))
}

fn read_yaml(files: &[Found], below: &str) -> Value {
    let found = files.iter().find(|found| found.below == below);
    let file =
        found.filter(|found| fs::metadata(&found.file).is_ok_and(|file| file.len() <= CHART_BYTES));
    // What cannot be read is for helm to say.
    file.and_then(|found| fs::read_to_string(&found.file).ok())
        .and_then(|text| parse_document(&text).ok())
        .unwrap_or_default()
}

/// Copies the chart to a place of its own, with a chart in the place of each absent one that fails
/// the render when helm, after all conditions and tags, takes it in.
pub(super) fn stand_in(chart: &Path, files: &[Found], absent: &[Absent]) -> Result<(), Error> {
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let create = |path: &Path| {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path)
    };
    for found in files.iter().filter(|found| found.missing.is_none()) {
        let place = chart.join(&found.below);
        let copied = create(place.parent().unwrap_or(chart));
        copied
            .and_then(|()| fs::copy(&found.file, &place).map(drop))
            .map_err(failed(&found.below))?;
    }
    for (number, it) in absent.iter().enumerate() {
        let place = chart.join(inside(&it.root, "charts"));
        let place = place.join(format!("{STAND_IN}{number}"));
        create(&place.join("templates")).map_err(failed(&it.root))?;
        // Under this name the conditions of the chart that needs it are about this one.
        let text = format!(
            "apiVersion: v2\nversion: 0.0.0\nname: {}\n",
            serde_json::json!(it.alias)
        );
        write_private(&place.join("Chart.yaml"), &text)?;
        let template = format!("{{{{ fail \"{STAND_IN}{number}\" }}}}\n");
        write_private(&place.join("templates/missing.yaml"), &template)?;
    }
    Ok(())
}

/// What helm's failure over a stand-in means; none when it failed over something else.
pub(super) fn explain(request: &Request<'_>, absent: &[Absent], text: &str) -> Option<Error> {
    let number = text.split(STAND_IN).last().unwrap_or_default();
    let digits = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    let index: Option<usize> = number[..digits].parse().ok();
    let absent = index.and_then(|index| absent.get(index));
    let it = absent.filter(|_| text.contains(STAND_IN))?;
    Some(Error::LeftOut {
        path: inside(&request.source.path, &it.root),
        problem: format!(
            "needs the chart {}, which is not in its directory charts: run helm dependency build \
             there, and commit what it fetches",
            it.name
        ),
    })
}

/// Values can be secret: nobody else reads them.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    write().map_err(|source| Error::Io {
        path: "values".to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_the_innermost_chart() {
        for (below, expected) in [
            ("Chart.yaml", ("", "Chart.yaml")),
            ("charts/a/Chart.yaml", ("charts/a", "Chart.yaml")),
            ("charts/a/charts/b/x/y", ("charts/a/charts/b", "x/y")),
            ("charts/a", ("", "charts/a")),
            ("charts/a.tgz", ("", "charts/a.tgz")),
            ("files/charts/a/x", ("", "files/charts/a/x")),
        ] {
            assert_eq!(split(below), expected, "{below}");
        }
        for (below, expected) in [
            ("Chart.yaml", true),
            ("values.yaml", true),
            ("templates/a.yaml", true),
            ("crds/a.yaml", true),
            ("charts/a.tgz", true),
            ("charts/a", true),
            ("charts/a/templates/x.tpl", true),
            ("charts/a/docs/x.png", false),
            ("docs/x.png", false),
            ("README.md", false),
            ("values-prod.yaml", false),
        ] {
            assert_eq!(is_read_by_itself(below), expected, "{below}");
        }
    }

    #[test]
    fn packages_are_known_by_their_file() {
        assert!(is_chart("redis", "redis"));
        assert!(is_chart("redis-1.2.3.tgz", "redis"));
        assert!(is_chart("redis-v1.tgz", "redis"));
        assert!(!is_chart("redis-cluster-1.2.3.tgz", "redis"));
        assert!(!is_chart("redis-cluster", "redis"));
    }

    #[test]
    fn questions_about_the_cluster_are_seen() {
        for (text, expected) in [
            (
                "{{ .Capabilities.APIVersions.Has \"a/v1\" }}",
                Asks::Versions,
            ),
            (
                "{{ $c := .Capabilities }}{{ $c.KubeVersion }}",
                Asks::Versions,
            ),
            ("{{ .Capabilities | toYaml }}", Asks::Versions),
            ("{{ .Capabilities.KubeVersion.Version }}", Asks::Version),
            (
                "{{ $.Capabilities.KubeVersion.Minor }}{{ .Capabilities.HelmVersion }}",
                Asks::Version,
            ),
            ("kind: ConfigMap", Asks::Nothing),
        ] {
            assert_eq!(asks("a.yaml", text.as_bytes()), expected, "{text}");
        }
        assert_eq!(asks("charts/a-1.0.0.tgz", b""), Asks::Versions);
    }
}
