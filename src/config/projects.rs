//! Projects, in the words of Argo CD's AppProject: what the applications of a group may deploy,
//! from where, to where and when.

use std::collections::BTreeMap;

use super::globs::{Glob, Rules};
use super::source_address::canonical;
use super::windows::SyncWindow;
use crate::object::redact_url;

/// The project of an application that names none.
const DEFAULT: &str = "default";
/// All projects. There always is one named `default`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projects(pub(super) BTreeMap<String, Project>);

impl Default for Projects {
    fn default() -> Self {
        Self(BTreeMap::from([(DEFAULT.to_owned(), Project::open())]))
    }
}

/// What the applications of one project may do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Project {
    pub(crate) name: String,
    /// The ServiceAccount that applications without one of their own are applied as.
    pub(crate) service_account_name: Option<String>,
    pub(crate) sync_windows: Vec<SyncWindow>,
    pub(super) sources: Rules,
    pub(super) destinations: Rules,
    pub(super) cluster_kinds: Kinds,
    pub(super) namespaced_kinds: Kinds,
    pub(super) application_namespaces: Vec<Glob>,
}

/// Kinds that are permitted, and those of them that are not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kinds {
    pub(super) whitelist: Vec<KindGlob>,
    pub(super) blacklist: Vec<KindGlob>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct KindGlob {
    pub(super) group: Glob,
    pub(super) kind: Glob,
}

impl Projects {
    /// The project of this name; an application that names none is in `default`.
    pub(crate) fn get(&self, name: &str) -> Option<&Project> {
        let name = if name.is_empty() { DEFAULT } else { name };
        self.0.get(name)
    }
}

impl KindGlob {
    pub(super) fn any() -> Self {
        Self {
            group: Glob::any(),
            kind: Glob::any(),
        }
    }

    fn matches(&self, group: &str, kind: &str) -> bool {
        self.group.matches(group) && self.kind.matches(kind)
    }
}

impl Kinds {
    fn any() -> Self {
        Self {
            whitelist: vec![KindGlob::any()],
            blacklist: Vec::new(),
        }
    }

    fn permit(&self, group: &str, kind: &str) -> bool {
        let any = |globs: &[KindGlob]| globs.iter().any(|glob| glob.matches(group, kind));
        any(&self.whitelist) && !any(&self.blacklist)
    }
}

impl Project {
    /// `default` as it is when nobody describes it: everything is permitted.
    fn open() -> Self {
        Self {
            name: DEFAULT.to_owned(),
            service_account_name: None,
            sync_windows: Vec::new(),
            sources: Rules::any(),
            destinations: Rules::any(),
            cluster_kinds: Kinds::any(),
            namespaced_kinds: Kinds::any(),
            application_namespaces: vec![Glob::any()],
        }
    }

    /// Whether manifests may come from a repository, however its address is written. The open
    /// `default` takes anything: what is no address is refused where it is used.
    pub(crate) fn permits_source(&self, repo_url: &str) -> Result<(), String> {
        let permitted = match canonical(repo_url) {
            Some(address) => self.sources.permit(&address),
            None => self.sources == Rules::any(),
        };
        self.permits(permitted, || {
            let url: String = redact_url(repo_url).chars().take(200).collect();
            format!("the source {}, see sourceRepos", url.escape_debug())
        })
    }

    /// Whether objects may go to a namespace. The empty one is that of an application that names
    /// none, which only a glob such as `*` permits.
    pub(crate) fn permits_destination(&self, namespace: &str) -> Result<(), String> {
        self.permits(self.destinations.permit(namespace), || {
            let where_to = match namespace {
                "" => "a destination without a namespace".to_owned(),
                _ => format!("the namespace {namespace}"),
            };
            format!("{where_to}, see destinations")
        })
    }

    /// Whether objects of a kind may be there. As in Argo CD every namespaced kind may unless
    /// there is a whitelist, and no cluster-scoped one.
    pub(crate) fn permits_kind(
        &self,
        group: &str,
        kind: &str,
        namespaced: bool,
    ) -> Result<(), String> {
        let (kinds, scope, list) = if namespaced {
            (&self.namespaced_kinds, "namespaced", "namespace")
        } else {
            (&self.cluster_kinds, "cluster-scoped", "cluster")
        };
        self.permits(kinds.permit(group, kind), || {
            let dot = if group.is_empty() { "" } else { "." };
            format!(
                "the {scope} kind {kind}{dot}{group}, see {list}ResourceWhitelist and \
                 {list}ResourceBlacklist"
            )
        })
    }

    /// Whether Applications of a namespace may be in this project. As in Argo CD those of the
    /// agent's own namespace always may.
    pub(crate) fn permits_application_namespace(
        &self,
        namespace: &str,
        agent_namespace: &str,
    ) -> Result<(), String> {
        let mut globs = self.application_namespaces.iter();
        let permitted = namespace == agent_namespace || globs.any(|glob| glob.matches(namespace));
        self.permits(permitted, || {
            format!("Applications in the namespace {namespace}, see sourceNamespaces")
        })
    }

    fn permits(&self, permitted: bool, what: impl FnOnce() -> String) -> Result<(), String> {
        if permitted {
            return Ok(());
        }
        Err(format!(
            "project \"{}\" does not permit {}",
            self.name,
            what()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn projects(text: &str) -> Projects {
        Settings::parse(text).unwrap().projects
    }

    fn team(fields: &str) -> Project {
        let text = format!("projects:\n- name: team\n  {fields}\n");
        projects(&text).get("team").unwrap().clone()
    }

    #[test]
    fn default_is_open_until_it_is_described() {
        let open = projects("");
        for name in ["", "default"] {
            let project = open.get(name).unwrap();
            assert_eq!(project.permits_source("https://any/where"), Ok(()));
            assert_eq!(project.permits_source("no address?"), Ok(()));
            assert_eq!(project.permits_destination(""), Ok(()));
            assert_eq!(project.permits_kind("", "Namespace", false), Ok(()));
            assert_eq!(project.permits_kind("apps", "Deployment", true), Ok(()));
            assert_eq!(project.permits_application_namespace("any", "own"), Ok(()));
        }
        assert_eq!(open.get("team"), None);
        let described = projects("projects: [{name: default}, {name: team}]");
        assert_eq!(described.get("team").unwrap().name, "team");
        let project = described.get("").unwrap();
        assert!(project.permits_source("https://any/where").is_err());
        assert!(project.permits_destination("a").is_err());
        assert!(project.permits_kind("", "Namespace", false).is_err());
        // As in Argo CD: without a whitelist every namespaced kind is permitted.
        assert_eq!(project.permits_kind("apps", "Deployment", true), Ok(()));
        assert!(project.permits_application_namespace("any", "own").is_err());
        assert_eq!(project.permits_application_namespace("own", "own"), Ok(()));
    }

    #[test]
    fn sources() {
        const TEAM: &str = "['https://Forge.example/Team/*', '!https://forge.example/team/secret*',
            'git@forge.example:team/**']";
        for (globs, url, expected) in [
            (TEAM, "https://forge.example/team/shop.git", true),
            (TEAM, "https://forge.example/TEAM/shop", true),
            (TEAM, "https://forge.example/team/deep/shop", false),
            (TEAM, "https://forge.example/team", false),
            (TEAM, "http://forge.example/team/shop", false),
            (TEAM, "https://forge.example:8443/team/shop", false),
            (TEAM, "https://forge.example.evil.example/team/shop", false),
            (TEAM, "https://forge.example@evil.example/team/shop", false),
            (TEAM, "https://forge.example/team/..%2fother", false),
            (TEAM, "https://forge.example/team/secret", false),
            (TEAM, "https://forge.example:443//team/%73ecret.git/", false),
            (TEAM, "ssh://git@forge.example/team/deep/shop", true),
            (TEAM, "git@forge.example:team/shop", true),
            (TEAM, "git@forge.example:other/shop", false),
            (TEAM, "", false),
            ("['*']", "https://any/where", true),
            ("['*']", "https://any@where/a", true),
            ("['*', '!https://bad/**']", "https://any/where", true),
            ("['*', '!https://bad/**']", "https://bad/where", false),
            ("['*', '!https://bad/**']", "https://any@bad/where", false),
            (
                "['https://charts.example']",
                "https://charts.example/",
                true,
            ),
            ("[]", "https://any/where", false),
        ] {
            let project = team(&format!("sourceRepos: {globs}"));
            let found = project.permits_source(url);
            assert_eq!(found.is_ok(), expected, "{globs} {url}: {found:?}");
        }
        let found = team("sourceRepos: []").permits_source("https://user:hunter2@h/a\nb");
        assert_eq!(
            found.unwrap_err(),
            "project \"team\" does not permit the source https://h/a\\nb, see sourceRepos"
        );
    }

    #[test]
    fn destinations() {
        for (globs, namespace, expected) in [
            ("[{namespace: team-*}]", "team-a", true),
            ("[{namespace: team-*}]", "kube-system", false),
            ("[{namespace: team-*}]", "", false),
            ("[{namespace: '*'}]", "", true),
            (
                "[{namespace: a, server: 'https://kubernetes.default.svc'}]",
                "a",
                true,
            ),
            ("[{namespace: a, name: in-cluster, server: '*'}]", "a", true),
            (
                "[{namespace: '*'}, {namespace: '!kube-*'}]",
                "kube-system",
                false,
            ),
            ("[{namespace: '*'}, {namespace: '!kube-*'}]", "team", true),
            ("[]", "team", false),
        ] {
            let found = team(&format!("destinations: {globs}")).permits_destination(namespace);
            assert_eq!(found.is_ok(), expected, "{globs} {namespace}: {found:?}");
        }
    }

    #[test]
    fn kinds() {
        for (fields, group, kind, namespaced, expected) in [
            ("", "apps", "Deployment", true, true),
            ("", "", "Namespace", false, false),
            (
                "namespaceResourceWhitelist: []",
                "apps",
                "Deployment",
                true,
                false,
            ),
            (
                "namespaceResourceWhitelist: [{group: apps, kind: '*'}]",
                "apps",
                "Deployment",
                true,
                true,
            ),
            (
                "namespaceResourceWhitelist: [{group: apps, kind: '*'}]",
                "",
                "Pod",
                true,
                false,
            ),
            (
                "namespaceResourceBlacklist: [{group: '', kind: ResourceQuota}]",
                "",
                "ResourceQuota",
                true,
                false,
            ),
            (
                "namespaceResourceBlacklist: [{group: '', kind: ResourceQuota}]",
                "apps",
                "ResourceQuota",
                true,
                true,
            ),
            (
                "clusterResourceWhitelist: [{group: '*', kind: '*'}]",
                "",
                "Namespace",
                false,
                true,
            ),
            (
                "clusterResourceWhitelist: [{group: '*', kind: '*'}]\n  \
                 clusterResourceBlacklist: [{group: '*.k8s.io', kind: ClusterRole*}]",
                "rbac.authorization.k8s.io",
                "ClusterRoleBinding",
                false,
                false,
            ),
            // A list is for its scope only.
            (
                "clusterResourceBlacklist: [{group: '*', kind: '*'}]",
                "",
                "Pod",
                true,
                true,
            ),
        ] {
            let found = team(fields).permits_kind(group, kind, namespaced);
            assert_eq!(found.is_ok(), expected, "{fields} {kind}: {found:?}");
        }
        assert_eq!(
            team("").permits_kind("a.io", "Widget", false).unwrap_err(),
            "project \"team\" does not permit the cluster-scoped kind Widget.a.io, \
             see clusterResourceWhitelist and clusterResourceBlacklist"
        );
    }

    #[test]
    fn application_namespaces_and_the_account() {
        let project = team("sourceNamespaces: [team-*]\n  serviceAccountName: deployer");
        assert_eq!(project.service_account_name.as_deref(), Some("deployer"));
        for (namespace, expected) in [("team-a", true), ("trimtab", true), ("other", false)] {
            let found = project.permits_application_namespace(namespace, "trimtab");
            assert_eq!(found.is_ok(), expected, "{namespace}");
        }
    }
}
