//! A project as `trimtab.yaml` writes it, and what can be wrong with it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::destination::{CLUSTER_NAME, CLUSTER_SERVER};
use super::globs::{Glob, Rules};
use super::projects::{KindGlob, Kinds, Project, Projects};
use super::source_address::canonical_glob;
use super::windows::WindowFile;
use crate::object::is_dns_name;
use crate::text::short;

/// Globs of all projects together: a compiled one takes about 11 KiB.
const MOST_GLOBS: usize = 1_000;
/// Windows of all projects together.
const MOST_WINDOWS: usize = 500;

impl Projects {
    /// The projects that the files describe, beside `default`.
    pub(super) fn check(files: Vec<ProjectFile>) -> Result<Self, String> {
        let sum = |count: fn(&ProjectFile) -> usize| files.iter().map(count).sum::<usize>();
        if sum(ProjectFile::globs) > MOST_GLOBS {
            return Err(format!("projects: more than {MOST_GLOBS} globs"));
        }
        if sum(ProjectFile::windows) > MOST_WINDOWS {
            return Err(format!("projects: more than {MOST_WINDOWS} syncWindows"));
        }
        let mut projects = Self::default();
        let mut given = BTreeMap::new();
        for file in files {
            let name = file.name.clone();
            if !is_dns_name(&name) {
                return Err(format!(
                    "projects: \"{}\" must be named by lower case letters, digits, - and .",
                    short(&name)
                ));
            }
            let project = file
                .check()
                .map_err(|problem| format!("projects: \"{name}\" {problem}"))?;
            if given.insert(name.clone(), project).is_some() {
                return Err(format!("projects: \"{name}\" twice"));
            }
        }
        projects.0.extend(given);
        Ok(projects)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProjectFile {
    pub(super) name: String,
    /// For people who read the file.
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    source_repos: Vec<String>,
    #[serde(default)]
    destinations: Vec<DestinationFile>,
    #[serde(default)]
    cluster_resource_whitelist: Vec<KindFile>,
    #[serde(default)]
    cluster_resource_blacklist: Vec<KindFile>,
    /// Not given is every kind, an empty list is none.
    namespace_resource_whitelist: Option<Vec<KindFile>>,
    #[serde(default)]
    namespace_resource_blacklist: Vec<KindFile>,
    #[serde(default)]
    source_namespaces: Vec<String>,
    service_account_name: Option<String>,
    #[serde(default)]
    sync_windows: Vec<WindowFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationFile {
    namespace: String,
    #[serde(default)]
    server: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    group: String,
    kind: String,
}

impl ProjectFile {
    /// How many globs it has.
    pub(super) fn globs(&self) -> usize {
        let windows: usize = self.sync_windows.iter().map(WindowFile::globs).sum();
        let kinds = self.cluster_resource_whitelist.len()
            + self.cluster_resource_blacklist.len()
            + self
                .namespace_resource_whitelist
                .as_ref()
                .map_or(0, Vec::len)
            + self.namespace_resource_blacklist.len();
        windows
            + self.source_repos.len()
            + self.destinations.len()
            + self.source_namespaces.len()
            + kinds * 2
    }

    /// How many sync windows it has.
    pub(super) fn windows(&self) -> usize {
        self.sync_windows.len()
    }

    pub(super) fn check(self) -> Result<Project, String> {
        let sources = self.source_repos.iter().map(String::as_str);
        let sources = Rules::new(sources, |glob| Glob::of_address(&canonical_glob(glob)))
            .map_err(|problem| format!("sourceRepos: {problem}"))?;
        for (at, destination) in self.destinations.iter().enumerate() {
            destination
                .check()
                .map_err(|problem| format!("destinations[{at}].{problem}"))?;
        }
        let namespaces = self.destinations.iter().map(|to| to.namespace.as_str());
        let destinations = Rules::new(namespaces, Glob::of_name)
            .map_err(|problem| format!("destinations: {problem}"))?;
        let windows = self.sync_windows.into_iter().enumerate();
        let sync_windows = windows
            .map(|(at, window)| {
                let named = |problem| format!("syncWindows[{at}].{problem}");
                window.check().map_err(named)
            })
            .collect::<Result<_, _>>()?;
        let account = self.service_account_name;
        if let Some(account) = account.as_ref().filter(|account| !is_dns_name(account)) {
            return Err(format!(
                "serviceAccountName: \"{}\" is no name of a ServiceAccount",
                short(account)
            ));
        }
        Ok(Project {
            name: self.name,
            service_account_name: account,
            sync_windows,
            sources,
            destinations,
            cluster_kinds: Kinds {
                whitelist: kinds("clusterResourceWhitelist", &self.cluster_resource_whitelist)?,
                blacklist: kinds("clusterResourceBlacklist", &self.cluster_resource_blacklist)?,
            },
            namespaced_kinds: Kinds {
                whitelist: match &self.namespace_resource_whitelist {
                    Some(list) => kinds("namespaceResourceWhitelist", list)?,
                    None => vec![KindGlob::any()],
                },
                blacklist: kinds(
                    "namespaceResourceBlacklist",
                    &self.namespace_resource_blacklist,
                )?,
            },
            application_namespaces: self
                .source_namespaces
                .iter()
                .map(|glob| Glob::positive(glob))
                .collect::<Result<_, _>>()
                .map_err(|problem| format!("sourceNamespaces: {problem}"))?,
        })
    }
}

impl DestinationFile {
    fn check(&self) -> Result<(), String> {
        if !matches!(self.server.as_str(), "" | "*" | CLUSTER_SERVER) {
            let server = short(&self.server);
            return Err(format!(
                "server: \"{server}\" is another cluster, use {CLUSTER_SERVER}"
            ));
        }
        if !matches!(self.name.as_str(), "" | "*" | CLUSTER_NAME) {
            let name = short(&self.name);
            return Err(format!(
                "name: \"{name}\" is another cluster, use \"{CLUSTER_NAME}\""
            ));
        }
        if self.namespace.is_empty() {
            return Err("namespace: is empty; \"*\" is every namespace".to_owned());
        }
        Ok(())
    }
}

fn kinds(field: &str, files: &[KindFile]) -> Result<Vec<KindGlob>, String> {
    let read = |glob: &str| Glob::of_name(glob).map_err(|problem| format!("{field}: {problem}"));
    files
        .iter()
        .map(|file| {
            if file.kind.is_empty() {
                return Err(format!("{field}: a kind is empty; \"*\" is every kind"));
            }
            Ok(KindGlob {
                group: read(&file.group)?,
                kind: read(&file.kind)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::Settings;

    fn fault(project: &Value) -> String {
        let text = json!({"projects": [project]}).to_string();
        Settings::parse(&text).unwrap_err().to_string()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn mistakes_name_the_project_and_the_field() {
        let ok = json!({"name": "team"});
        for (field, value, expected) in [
            ("name", json!("a/b"), "projects: \"a/b\" must be named"),
            ("name", json!(""), "projects: \"\" must be named"),
            ("roles", json!([]), "projects[0].roles: unknown field"),
            (
                "sourceRepos",
                json!("*"),
                "projects[0].sourceRepos: invalid type",
            ),
            (
                "sourceRepos",
                json!(["[a"]),
                "\"team\" sourceRepos: \"[a\" is no glob",
            ),
            (
                "sourceRepos",
                json!(["!x"]),
                "\"team\" sourceRepos: only forbids",
            ),
            (
                "sourceRepos",
                json!(["x".repeat(300)]),
                "more than 256 bytes",
            ),
            (
                "sourceRepos",
                json!(vec!["a"; 1_001]),
                "projects: more than 1000 globs",
            ),
            (
                "destinations",
                json!([{"server": "*"}]),
                "projects[0].destinations[0]",
            ),
            (
                "destinations",
                json!([{"namespace": "a"}, {"namespace": "a", "server": "https://x"}]),
                "\"team\" destinations[1].server: \"https://x\" is another cluster",
            ),
            (
                "destinations",
                json!([{"namespace": "*", "name": "!in-cluster"}]),
                "destinations[0].name",
            ),
            (
                "destinations",
                json!([{"namespace": ""}]),
                "destinations[0].namespace: is empty",
            ),
            (
                "clusterResourceWhitelist",
                json!([{"kind": "*"}]),
                "missing field `group`",
            ),
            (
                "clusterResourceBlacklist",
                json!([{"group": "", "kind": "{a"}]),
                "\"team\" clusterResourceBlacklist: \"{a\" is no glob",
            ),
            (
                "namespaceResourceWhitelist",
                json!([{"group": "*", "kind": ""}]),
                "namespaceResourceWhitelist: a kind is empty",
            ),
            (
                "sourceNamespaces",
                json!(["!a"]),
                "sourceNamespaces: \"!a\" cannot be negated",
            ),
            (
                "serviceAccountName",
                json!("a:b"),
                "\"team\" serviceAccountName: \"a:b\"",
            ),
            (
                "serviceAccountName",
                json!("\n".repeat(999)),
                "serviceAccountName: \"\\n",
            ),
            (
                "syncWindows",
                json!([{"kind": "deny", "schedule": "x", "duration": "1h", "applications": ["*"]}]),
                "\"team\" syncWindows[0].schedule: \"x\" has no five fields",
            ),
            (
                "syncWindows",
                json!([{"kind": "deny", "schedule": "* * * * *", "duration": 1}]),
                "projects[0].syncWindows[0].duration: invalid type",
            ),
        ] {
            let mut project = ok.clone();
            project[field] = value;
            let error = fault(&project);
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.len() < 500 && !error.contains('\n'), "{error}");
        }
        let window = json!({"kind": "deny", "schedule": "* * * * *", "duration": "1h"});
        let many = json!({"name": "team", "syncWindows": vec![window; 501]});
        assert!(fault(&many).contains("more than 500 syncWindows"));
        let text = json!({"projects": [ok, ok]}).to_string();
        let error = Settings::parse(&text).unwrap_err().to_string();
        assert_eq!(error, "trimtab.yaml: projects: \"team\" twice");
    }
}
