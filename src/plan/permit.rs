//! Whether a project lets an application do what its spec and its manifests say.

use std::collections::BTreeMap;

use crate::config::Project;
use crate::crd::{ApplicationKey, ApplicationSpec};
use crate::object::ResourceKey;

/// Faults that are told; more than a person reads at once are counted.
const TOLD: usize = 20;

/// The application that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    pub(crate) key: &'a ApplicationKey,
    pub(crate) spec: &'a ApplicationSpec,
    /// The namespace of the agent: its Applications may be in any project.
    pub(crate) agent_namespace: &'a str,
}

/// What of an application its project does not permit, each naming it and the project. Empty when
/// all is permitted. The objects are those to apply, with whether they are namespaced; without
/// objects the spec alone is judged.
pub(crate) fn permit<'a>(
    project: Option<&Project>,
    applicant: &Applicant<'_>,
    objects: impl IntoIterator<Item = (&'a ResourceKey, bool)>,
) -> Vec<String> {
    let spec = applicant.spec;
    let Some(project) = project else {
        let name = &spec.project;
        return vec![format!("spec.project: there is no project \"{name}\"")];
    };
    let mut faults = Vec::new();
    let mut check = |field: &str, permitted: Result<(), String>| {
        if let Err(problem) = permitted {
            faults.push(format!("{field}: {problem}"));
        }
    };
    let from = &applicant.key.namespace;
    let own = project.permits_application_namespace(from, applicant.agent_namespace);
    check("spec.project", own);
    if let Some(source) = &spec.source {
        check(
            "spec.source.repoURL",
            project.permits_source(&source.repo_url),
        );
    }
    let namespace = &spec.destination.namespace;
    check(
        "spec.destination.namespace",
        project.permits_destination(namespace),
    );
    faults.extend(permit_objects(project, objects));
    if faults.len() > TOLD {
        let more = faults.len() - TOLD;
        faults.truncate(TOLD);
        faults.push(format!("and {more} more"));
    }
    faults
}

/// What of the objects, to apply or to delete, a project does not permit, whatever the spec says.
/// One fault for all objects that share it: each kind and each namespace is judged once.
pub(crate) fn permit_objects<'a>(
    project: &Project,
    objects: impl IntoIterator<Item = (&'a ResourceKey, bool)>,
) -> Vec<String> {
    let mut kinds: BTreeMap<(&str, &str, bool), Judged<'a>> = BTreeMap::new();
    let mut namespaces: BTreeMap<&str, Judged<'a>> = BTreeMap::new();
    for (key, namespaced) in objects {
        kinds
            .entry((&key.group, &key.kind, namespaced))
            .or_insert_with(|| Judged::new(project.permits_kind(&key.group, &key.kind, namespaced)))
            .count(key);
        if namespaced {
            namespaces
                .entry(&key.namespace)
                .or_insert_with(|| Judged::new(project.permits_destination(&key.namespace)))
                .count(key);
        }
    }
    let judged = kinds.into_values().chain(namespaces.into_values());
    judged.filter_map(Judged::fault).collect()
}

/// A verdict, and on what.
struct Judged<'a> {
    problem: Option<String>,
    first: Option<&'a ResourceKey>,
    objects: usize,
}

impl<'a> Judged<'a> {
    fn new(permitted: Result<(), String>) -> Self {
        Self {
            problem: permitted.err(),
            first: None,
            objects: 0,
        }
    }

    fn count(&mut self, key: &'a ResourceKey) {
        self.first.get_or_insert(key);
        self.objects += 1;
    }

    fn fault(self) -> Option<String> {
        let (problem, first) = (self.problem?, self.first?);
        Some(match self.objects {
            1 => format!("{first}: {problem}"),
            more => format!("{first} and {} more: {problem}", more - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Settings;

    const TEAM: &str = "
projects:
- name: team
  sourceRepos: ['https://forge.example/team/*']
  destinations: [{namespace: 'team-*'}]
  clusterResourceWhitelist: [{group: '', kind: Namespace}]
  namespaceResourceBlacklist: [{group: '', kind: ResourceQuota}]
  sourceNamespaces: [team-apps]
";

    fn key(kind: &str, namespace: &str, name: &str) -> (ResourceKey, bool) {
        let key = ResourceKey {
            group: String::new(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        (key, !namespace.is_empty())
    }

    fn check(
        project: &str,
        url: &str,
        to: &str,
        from: &str,
        objects: &[(ResourceKey, bool)],
    ) -> Vec<String> {
        let settings = Settings::parse(TEAM).unwrap();
        let spec = json!({
            "project": project,
            "source": {"repoURL": url},
            "destination": {"namespace": to},
        });
        let application = ApplicationKey {
            namespace: from.into(),
            name: "shop".into(),
        };
        let applicant = Applicant {
            key: &application,
            spec: &serde_json::from_value(spec).unwrap(),
            agent_namespace: "trimtab",
        };
        let objects = objects.iter().map(|(key, namespaced)| (key, *namespaced));
        permit(settings.projects.get(project), &applicant, objects)
    }

    #[test]
    fn what_is_not_permitted_is_named() {
        const URL: &str = "https://forge.example/team/shop";
        let good = [
            key("Namespace", "", "team-a"),
            key("ConfigMap", "team-a", "a"),
        ];
        for (project, url, to, from, expected) in [
            ("team", URL, "team-a", "trimtab", &[][..]),
            ("team", URL, "team-a", "team-apps", &[]),
            ("default", "https://any/where", "any", "any", &[]),
            ("", "https://any/where", "", "any", &[]),
            (
                "gone",
                URL,
                "team-a",
                "trimtab",
                &["spec.project: there is no project \"gone\""],
            ),
            (
                "team",
                URL,
                "team-a",
                "other",
                &[
                    "spec.project: project \"team\" does not permit Applications in the namespace other",
                ],
            ),
            (
                "team",
                "https://forge.example/other/shop",
                "kube-system",
                "trimtab",
                &[
                    "spec.source.repoURL: project \"team\" does not permit the source https://forge",
                    "spec.destination.namespace: project \"team\" does not permit the namespace kube",
                ],
            ),
        ] {
            let found = check(project, url, to, from, &good);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found}");
            }
        }
    }

    #[test]
    fn objects_are_judged_by_kind_and_by_namespace() {
        let objects = [
            key("ConfigMap", "team-a", "a"),
            key("ConfigMap", "kube-system", "a"),
            key("Secret", "kube-system", "b"),
            key("ResourceQuota", "team-a", "q"),
            key("ClusterRole", "", "admin"),
            key("Namespace", "", "kube-public"),
        ];
        let found = check(
            "team",
            "https://forge.example/team/a",
            "team-a",
            "trimtab",
            &objects,
        );
        let expected = [
            "ClusterRole/admin: project \"team\" does not permit the cluster-scoped kind ClusterRole,",
            "ResourceQuota/team-a/q: project \"team\" does not permit the namespaced kind",
            "ConfigMap/kube-system/a and 1 more: project \"team\" does not permit the namespace",
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn many_faults_are_few_lines() {
        let objects: Vec<_> = (0..10_000)
            .map(|n| key("ConfigMap", &format!("other-{n}"), "a"))
            .collect();
        let found = check(
            "team",
            "https://forge.example/team/a",
            "team-a",
            "trimtab",
            &objects,
        );
        assert_eq!(found.len(), TOLD + 1);
        assert_eq!(found[TOLD], "and 9980 more");
    }
}
