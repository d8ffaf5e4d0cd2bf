//! What is wrong with a spec beyond its types: nonsense and what is not supported yet.

use super::{
    ApplicationSource, ApplicationSpec, Destination, DirectorySource, Guard, HelmSource,
    SyncPolicy, options,
};
use crate::object::{duration, is_dns_label, is_dns_name};

/// Every fault of a spec, each naming its field and what to do. Empty for a good one.
pub(super) fn application_faults(spec: &ApplicationSpec) -> Vec<String> {
    let mut faults = Vec::new();
    // Whether there is such a project only the settings know.
    if !spec.project.is_empty() && !is_dns_name(&spec.project) {
        let project: String = spec.project.chars().take(60).collect();
        faults.push(format!(
            "spec.project: \"{}\" is no name of a project",
            project.escape_debug()
        ));
    }
    match &spec.source {
        None => faults.push("spec.source is missing".to_owned()),
        Some(source) => source_faults(source, &mut faults),
    }
    destination_faults(&spec.destination, &mut faults);
    if let Some(policy) = &spec.sync_policy {
        policy_faults(policy, &spec.destination, &mut faults);
    }
    if spec.depends_on.iter().any(|need| need.name.is_empty()) {
        faults.push("spec.dependsOn: every entry needs a name".to_owned());
    }
    if let Some(guard) = &spec.guard {
        guard_faults(guard, &mut faults);
    }
    if let Some(pause) = &spec.pause
        && let Some(until) = &pause.until
        && pause.end().is_none()
    {
        faults.push(format!(
            "spec.pause.until: \"{until}\" is no time such as 2026-03-10T12:00:00Z"
        ));
    }
    if spec
        .revision_history_limit
        .is_some_and(|limit| !(0..=100).contains(&limit))
    {
        faults.push("spec.revisionHistoryLimit must be from 0 to 100".to_owned());
    }
    faults
}

fn source_faults(source: &ApplicationSource, faults: &mut Vec<String>) {
    if source.repo_url.is_empty() {
        faults.push("spec.source.repoURL is missing".to_owned());
    }
    if !is_inside(&source.path) {
        let path = &source.path;
        faults.push(format!(
            "spec.source.path: \"{path}\" must be a relative path inside the repository"
        ));
    }
    let charts = source.helm.as_ref().is_some_and(HelmSource::says_something);
    let plain = source.directory.as_ref();
    if charts && plain.is_some_and(DirectorySource::says_something) {
        let problem = "spec.source: only one of helm and directory can be given";
        faults.push(problem.to_owned());
    }
}

fn destination_faults(destination: &Destination, faults: &mut Vec<String>) {
    let (server, name) = (destination.server.as_str(), destination.name.as_str());
    if !matches!(server, "" | "https://kubernetes.default.svc") {
        faults.push(format!(
            "spec.destination.server: \"{server}\" is another cluster, \
             use https://kubernetes.default.svc"
        ));
    }
    if !matches!(name, "" | "in-cluster") {
        faults.push(format!(
            "spec.destination.name: \"{name}\" is another cluster, use \"in-cluster\""
        ));
    }
    let namespace = &destination.namespace;
    if !namespace.is_empty() && !is_dns_label(namespace) {
        faults.push(format!(
            "spec.destination.namespace: \"{namespace}\" is no namespace name"
        ));
    }
}

fn policy_faults(policy: &SyncPolicy, destination: &Destination, faults: &mut Vec<String>) {
    const OPTIONS: &str = "spec.syncPolicy.syncOptions";
    for option in policy.sync_options.iter().map(|option| option.trim()) {
        if !options::is_known(option) {
            faults.push(format!(
                "{OPTIONS}: \"{option}\" is not known, see docs/applications.md"
            ));
        }
        if option == "CreateNamespace=true" && destination.namespace.is_empty() {
            faults.push(format!(
                "{OPTIONS}: {option} needs spec.destination.namespace"
            ));
        }
    }
    let timeout = &policy.wave_timeout;
    if !timeout.is_empty() && duration(timeout).is_none_or(|timeout| timeout.is_zero()) {
        faults.push(format!(
            "spec.syncPolicy.waveTimeout: \"{timeout}\" is no duration such as 90s or 10m"
        ));
    }
    let Some(backoff) = policy
        .retry
        .as_ref()
        .and_then(|retry| retry.backoff.as_ref())
    else {
        return;
    };
    for (field, text) in [
        ("duration", &backoff.duration),
        ("maxDuration", &backoff.max_duration),
    ] {
        if !text.is_empty() && duration(text).is_none() {
            faults.push(format!(
                "spec.syncPolicy.retry.backoff.{field}: \"{text}\" is no duration such as 5s or 3m"
            ));
        }
    }
}

fn guard_faults(guard: &Guard, faults: &mut Vec<String>) {
    if guard
        .prune_share
        .is_some_and(|share| !(0..=100).contains(&share))
    {
        faults.push("spec.guard.pruneShare must be from 0 to 100 (percent)".to_owned());
    }
    if guard.prune_objects.is_some_and(|objects| objects < 0) {
        faults.push("spec.guard.pruneObjects must not be negative".to_owned());
    }
    for kind in guard.prune_kinds.iter().flatten() {
        let known = kind
            .split_once('.')
            .map_or((kind.as_str(), None), |(kind, group)| (kind, Some(group)));
        let good = known.0.starts_with(|c: char| c.is_ascii_uppercase())
            && known.0.chars().all(|c| c.is_ascii_alphanumeric())
            && known.1.is_none_or(is_dns_name);
        if !good {
            let kind: String = kind.chars().take(60).collect();
            faults.push(format!(
                "spec.guard.pruneKinds: \"{}\" is no kind such as Namespace or Cluster.example.com",
                kind.escape_debug()
            ));
        }
    }
}

/// Whether a path stays inside its root by its words alone.
fn is_inside(path: &str) -> bool {
    !path.starts_with('/')
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|segment| segment != "..")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_nonsense_is_named() {
        let good =
            json!({"source": {"repoURL": "https://e.com/a"}, "destination": {"namespace": "a"}});
        for (pointer, value, expected) in [
            ("/project", json!("Team\n"), "spec.project"),
            ("/source/path", json!("../up"), "spec.source.path"),
            ("/source/path", json!("/abs"), "spec.source.path"),
            ("/source/path", json!("a\nb"), "spec.source.path"),
            ("/source/repoURL", json!(""), "spec.source.repoURL"),
            (
                "/destination/server",
                json!("https://x"),
                "spec.destination.server",
            ),
            ("/destination/name", json!("x"), "spec.destination.name"),
            (
                "/destination/namespace",
                json!("A_b"),
                "spec.destination.namespace",
            ),
            (
                "/syncPolicy",
                json!({"syncOptions": ["Sparkle=true"]}),
                "spec.syncPolicy.syncOptions",
            ),
            (
                "/syncPolicy",
                json!({"retry": {"backoff": {"duration": "soon"}}}),
                "spec.syncPolicy.retry",
            ),
            (
                "/syncPolicy",
                json!({"waveTimeout": "0s"}),
                "spec.syncPolicy.waveTimeout",
            ),
            (
                "/guard",
                json!({"pruneShare": 101}),
                "spec.guard.pruneShare",
            ),
            (
                "/guard",
                json!({"pruneObjects": -1}),
                "spec.guard.pruneObjects",
            ),
            (
                "/guard",
                json!({"pruneKinds": ["Secret", "secrets"]}),
                "spec.guard.pruneKinds",
            ),
            ("/dependsOn", json!([{"namespace": "a"}]), "spec.dependsOn"),
            ("/pause", json!({"until": "soon"}), "spec.pause.until"),
            (
                "/revisionHistoryLimit",
                json!(-1),
                "spec.revisionHistoryLimit",
            ),
        ] {
            let mut spec = good.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[field] = value;
            let faults = application_faults(&serde_json::from_value(spec).unwrap());
            assert_eq!(faults.len(), 1, "{pointer}: {faults:?}");
            assert!(faults[0].starts_with(expected), "{faults:?}");
        }
        assert!(application_faults(&serde_json::from_value(good).unwrap()).is_empty());
    }
}
