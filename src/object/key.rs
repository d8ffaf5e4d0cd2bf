//! The identity of an object in one cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Group, version and kind of an API, as a manifest names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.api_version(), self.kind)
    }
}

/// What tells two objects of a cluster apart: group, kind, namespace and name.
///
/// The version is left out on purpose: the same object can be read in several versions.
/// `namespace` is empty for cluster-scoped objects, `group` for the core group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ResourceKey {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ResourceKey {
    /// The key of a namespace.
    pub(crate) fn of_namespace(name: &str) -> Self {
        Self {
            group: String::new(),
            kind: "Namespace".to_owned(),
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    /// `group/Kind:namespace/name`, the tail of Argo CD's tracking id, which is also how an
    /// inventory entry is written. The core group is empty: `/ConfigMap:ns/name`.
    pub(crate) fn id(&self) -> String {
        format!(
            "{}/{}:{}/{}",
            self.group, self.kind, self.namespace, self.name
        )
    }

    /// Reads what [`ResourceKey::id`] writes. Names of RBAC objects may contain `:`, so only the
    /// first one separates.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (kind, name) = id.split_once(':')?;
        let (group, kind) = kind.split_once('/')?;
        let (namespace, name) = name.split_once('/')?;
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        Some(Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// `Kind/namespace/name` for people; the group is added where it is not a built-in one.
impl fmt::Display for ResourceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.kind)?;
        let built_in =
            self.group.is_empty() || !self.group.contains('.') || self.group.ends_with(".k8s.io");
        if !built_in {
            write!(formatter, ".{}", self.group)?;
        }
        if !self.namespace.is_empty() {
            write!(formatter, "/{}", self.namespace)?;
        }
        write!(formatter, "/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, kind: &str, namespace: &str, name: &str) -> ResourceKey {
        ResourceKey {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        for key in [
            key("", "ConfigMap", "shop", "settings"),
            key("apps", "Deployment", "shop", "web"),
            key("rbac.authorization.k8s.io", "ClusterRole", "", "system:a:b"),
        ] {
            assert_eq!(ResourceKey::parse(&key.id()), Some(key));
        }
    }

    #[test]
    fn a_broken_id_is_no_key() {
        for id in [
            "",
            "a",
            "a/b",
            "/ConfigMap:",
            "/ConfigMap:ns",
            "/:ns/name",
            "a/B:c/",
        ] {
            assert_eq!(ResourceKey::parse(id), None, "{id}");
        }
    }

    #[test]
    fn people_see_the_group_of_custom_kinds_only() {
        let check = |key: ResourceKey, expected| assert_eq!(key.to_string(), expected);
        check(
            key("", "ConfigMap", "shop", "settings"),
            "ConfigMap/shop/settings",
        );
        check(
            key("apps", "Deployment", "shop", "web"),
            "Deployment/shop/web",
        );
        check(
            key("example.com", "Widget", "", "w"),
            "Widget.example.com/w",
        );
    }
}
