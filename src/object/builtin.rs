//! Kinds that come with Kubernetes.

/// API groups of the API server itself. Custom resources live in others, also below `k8s.io`.
const GROUPS: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Whether the kinds of this API group come with the API server.
pub(crate) fn is_built_in(group: &str) -> bool {
    GROUPS.contains(&group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_resources_are_not_built_in() {
        for (group, expected) in [
            ("", true),
            ("apps", true),
            ("networking.k8s.io", true),
            ("gateway.networking.k8s.io", false),
            ("example.com", false),
        ] {
            assert_eq!(is_built_in(group), expected, "{group}");
        }
    }
}
