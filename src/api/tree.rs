//! The objects of an application and what they own, down to the pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Api, Identity, Problem};
use crate::crd::{Application, ApplicationKey, Health, SyncCode};
use crate::health::assess;
use crate::object::{Kind, Object, ResourceKey};

/// Children of one application that are shown.
const MOST: usize = 5000;

/// The objects of an application.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tree {
    /// Parents before their children.
    pub(crate) nodes: Vec<Node>,
    /// Kinds of children that the caller may not list, or the agent cannot.
    pub(crate) hidden: Vec<String>,
    /// How many objects of its own are not among the nodes, as the status of a large application does
    /// not list all. What differs or does badly is listed first.
    pub(crate) left_out: usize,
}

/// One object.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// `group/Kind:namespace/name`.
    pub(crate) id: String,
    /// The id of its owner; none for what the application itself desires.
    pub(crate) parent: Option<String>,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// None for a child: only what is desired is compared.
    pub(crate) sync: Option<SyncCode>,
    pub(crate) health: Option<Health>,
    pub(crate) wave: i32,
    pub(crate) requires_pruning: bool,
    /// Why it is there and not desired, or stays so, where there is something to say.
    pub(crate) message: String,
    /// When it was created (RFC 3339); empty where it was not read.
    pub(crate) created: String,
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Tree>, Problem> {
    let key = ApplicationKey { namespace, name };
    let application = api.application(&key).await?;
    api.tree(&identity, &application).await.map(Json)
}

/// Which kinds of children a kind has, and those of these.
fn children_of(group: &str, kind: &str) -> &'static [(&'static str, &'static str)] {
    const POD: (&str, &str) = ("", "Pod");
    match (group, kind) {
        ("apps", "Deployment") => &[("apps", "ReplicaSet"), POD],
        ("apps", "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => &[POD],
        ("batch", "CronJob") => &[("batch", "Job"), POD],
        _ => &[],
    }
}

impl Api {
    /// The objects of an application and, as far as somebody may list them, what they own.
    pub(crate) async fn tree(
        &self,
        identity: &Identity,
        application: &Application,
    ) -> Result<Tree, Problem> {
        let mut nodes = managed(application);
        let mut wanted: BTreeSet<(&str, &str, String)> = BTreeSet::new();
        for node in &nodes {
            for (group, kind) in children_of(&node.group, &node.kind) {
                wanted.insert((group, kind, node.namespace.clone()));
            }
        }
        let mut hidden = BTreeSet::new();
        let mut found = Vec::new();
        for (group, kind, namespace) in wanted {
            let kind = Kind {
                group: group.to_owned(),
                version: "v1".to_owned(),
                kind: kind.to_owned(),
            };
            let served = self.cluster.served(&kind).await?;
            let all = ResourceKey {
                group: kind.group.clone(),
                kind: kind.kind.clone(),
                namespace: namespace.clone(),
                name: String::new(),
            };
            let may = self.permissions.live(identity, "list", &served, &all, "");
            if !may.await? {
                hidden.insert(kind.kind);
                continue;
            }
            match self.cluster.list(&served, &namespace, "").await {
                Ok(objects) => found.extend(objects),
                // The rest of the tree is worth as much without them.
                Err(error) => {
                    tracing::debug!(%error, "children are not shown");
                    hidden.insert(kind.kind);
                }
            }
        }
        adopt(&mut nodes, found);
        Ok(Tree {
            nodes,
            hidden: hidden.into_iter().collect(),
            left_out: application.status.unlisted(),
        })
    }
}

/// What the application itself desires, or has left over.
fn managed(application: &Application) -> Vec<Node> {
    let status = &application.status;
    let waves: BTreeMap<&str, i32> = status
        .inventory
        .entries
        .iter()
        .map(|entry| (entry.id.as_str(), entry.w))
        .collect();
    let rows = status.resources.iter().map(|row| {
        let id = row.key().id();
        Node {
            wave: waves.get(id.as_str()).copied().unwrap_or_default(),
            id,
            parent: None,
            group: row.group.clone(),
            version: row.version.clone(),
            kind: row.kind.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            sync: Some(row.status),
            health: row.health.clone(),
            requires_pruning: row.goes(),
            message: row.message.clone(),
            created: String::new(),
        }
    });
    rows.collect()
}

/// Adds the objects that belong to one of the nodes, or to one that was added.
fn adopt(nodes: &mut Vec<Node>, mut found: Vec<Object>) {
    let mut known: BTreeSet<String> = nodes.iter().map(|node| node.id.clone()).collect();
    // A child can come before its owner: as long as one is placed, another look may place more.
    loop {
        let before = found.len();
        let mut left = Vec::new();
        for object in found {
            let id = object.key().id();
            if known.contains(&id) {
                continue;
            }
            match owner(&object) {
                Some(parent) if known.contains(&parent) && nodes.len() < MOST => {
                    if !is_retired(&object) {
                        known.insert(id.clone());
                        nodes.push(child(&object, id, parent));
                    }
                }
                _ => left.push(object),
            }
        }
        found = left;
        if found.is_empty() || found.len() == before {
            return;
        }
    }
}

/// The id of the object that controls this one.
fn owner(object: &Object) -> Option<String> {
    let owners = object.get("/metadata/ownerReferences")?.as_array()?;
    let owner = owners
        .iter()
        .find(|owner| owner["controller"] == Value::Bool(true))?;
    let api_version = owner["apiVersion"].as_str()?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let key = ResourceKey {
        group: group.to_owned(),
        kind: owner["kind"].as_str()?.to_owned(),
        namespace: object.namespace().unwrap_or_default().to_owned(),
        name: owner["name"].as_str()?.to_owned(),
    };
    Some(key.id())
}

/// A ReplicaSet of an earlier revision, kept by its Deployment for a way back.
fn is_retired(object: &Object) -> bool {
    let none = |pointer: &str| object.get(pointer).and_then(Value::as_i64).unwrap_or(0) == 0;
    object.kind() == "ReplicaSet" && none("/spec/replicas") && none("/status/replicas")
}

fn child(object: &Object, id: String, parent: String) -> Node {
    let created = object.get("/metadata/creationTimestamp");
    Node {
        id,
        parent: Some(parent),
        group: object.group().to_owned(),
        version: object.version().to_owned(),
        kind: object.kind().to_owned(),
        namespace: object.namespace().unwrap_or_default().to_owned(),
        name: object.name().to_owned(),
        sync: None,
        health: assess(object),
        wave: 0,
        requires_pruning: false,
        message: String::new(),
        created: created
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, owner: (&str, &str), replicas: i64) -> Object {
        let api_version = if kind == "Pod" { "v1" } else { "apps/v1" };
        Object::new(json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"namespace": "shop", "name": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "controller": true},
            ]},
            "spec": {"replicas": replicas},
        }))
        .unwrap()
    }

    #[test]
    fn children_find_their_owner_in_any_order() {
        let mut nodes = vec![child(
            &object("Deployment", "web", ("X", "x"), 1),
            "apps/Deployment:shop/web".into(),
            String::new(),
        )];
        adopt(
            &mut nodes,
            vec![
                object("Pod", "web-1-a", ("ReplicaSet", "web-1"), 0),
                object("Pod", "stranger", ("ReplicaSet", "other"), 0),
                object("ReplicaSet", "web-1", ("Deployment", "web"), 1),
                object("ReplicaSet", "web-0", ("Deployment", "web"), 0),
            ],
        );
        let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "apps/Deployment:shop/web",
                "apps/ReplicaSet:shop/web-1",
                "/Pod:shop/web-1-a"
            ]
        );
        assert_eq!(
            nodes[2].parent.as_deref(),
            Some("apps/ReplicaSet:shop/web-1")
        );
    }
}
