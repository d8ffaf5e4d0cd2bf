//! What of a live object excludes what the manifest declares: items of others that carry a value
//! which must be unique, and members of which only one may be set. The API server's own words say
//! which field is at fault; nothing outside of what the manifest declares is found.

use serde_json::{Map, Value};

use super::adopt::{APPLIED, TOOLS};
use super::overlay::{Path, child, is_same, item_step, key_names};
use super::owned::{entries, is_by_kubectl};
use super::refusal::Cause;
use crate::object::Object;

/// Members of which one excludes the others, where the API server does not name both.
const UNIONS: [&[&str]; 8] = [
    &["exec", "httpGet", "tcpSocket", "grpc", "sleep"],
    &["value", "valueFrom"],
    &[
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ],
    &["configMapRef", "secretRef"],
    &["ipBlock", "podSelector", "namespaceSelector"],
    &["service", "resource"],
    &["name", "number"],
    &[
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "gitRepo",
        "glusterfs",
        "hostPath",
        "image",
        "iscsi",
        "local",
        "nfs",
        "persistentVolumeClaim",
        "photonPersistentDisk",
        "portworxVolume",
        "projected",
        "quobyte",
        "rbd",
        "scaleIO",
        "secret",
        "storageos",
        "vsphereVolume",
    ],
];

/// One step of a path as the API server writes it in a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Item,
}

/// A place that both the live object and the manifest have.
#[derive(Clone)]
struct Node<'a> {
    path: Path,
    live: &'a Value,
    declared: &'a Value,
    owned: &'a Map<String, Value>,
}

/// Finds what stands in the way, as paths of the managed fields.
struct Search<'a> {
    live: &'a Object,
    manager: &'a str,
    cause: &'a Cause,
    found: Vec<Path>,
}

/// What of the live object is in the way of the manifest, given one cause of its refusal.
pub(super) fn in_the_way(
    live: &Object,
    manifest: &Object,
    owned: &Map<String, Value>,
    manager: &str,
    cause: &Cause,
) -> Vec<Path> {
    let mut search = Search {
        live,
        manager,
        cause,
        found: Vec::new(),
    };
    let path = segments(&cause.field);
    let Some((Segment::Field(top), rest)) = path.split_first() else {
        return Vec::new();
    };
    // The metadata is everybody's.
    if top == "metadata" || is_about_change(&cause.message) {
        return Vec::new();
    }
    let step = format!("f:{top}");
    let (live, declared) = (live.fields().get(top), manifest.fields().get(top));
    if let (Some(live), Some(declared)) = (live, declared) {
        let empty = Map::new();
        search.walk(
            &Node {
                owned: child(owned, &step).unwrap_or(&empty),
                path: vec![step],
                live,
                declared,
            },
            rest,
        );
    }
    search.found
}

impl Search<'_> {
    fn walk(&mut self, node: &Node<'_>, rest: &[Segment]) {
        match rest {
            [] => self.members_below(node),
            [Segment::Item, below @ ..] => self.items(node, below),
            [Segment::Field(name), below @ ..] => {
                if below.iter().all(|segment| *segment == Segment::Item) {
                    self.members_beside(node, name);
                }
                let (live, declared) = (node.live.get(name), node.declared.get(name));
                if let (Some(live), Some(declared)) = (live, declared) {
                    self.walk(&step_to(node, format!("f:{name}"), live, declared), below);
                }
            }
        }
    }

    /// Items that nobody declares and that carry the same value as one that is declared.
    fn items(&mut self, node: &Node<'_>, below: &[Segment]) {
        let names = key_names(node.owned);
        let (Some(live), Some(declared)) = (node.live.as_array(), node.declared.as_array()) else {
            return;
        };
        if names.is_empty() {
            return;
        }
        for item in live {
            let Some(step) = item_step(item, &names) else {
                continue;
            };
            match declared.iter().find(|ours| is_same(item, ours, &names)) {
                Some(ours) => self.walk(&step_to(node, step, item, ours), below),
                None if is_duplicate(self.cause) => {
                    let value = value_at(item, below);
                    let twice = |ours: &Value| value_at(ours, below) == value;
                    if value.is_some() && declared.iter().any(twice) {
                        self.found.push(joined(&node.path, step));
                    }
                }
                None => {}
            }
        }
    }

    /// The field at fault, where it is not declared; else the members beside it that exclude it.
    fn members_beside(&mut self, node: &Node<'_>, name: &str) {
        let Some(live) = node.live.as_object() else {
            return;
        };
        if !is_excluded(self.cause) {
            return;
        }
        if node.declared.get(name).is_none() {
            if live.contains_key(name) {
                self.found.push(joined(&node.path, format!("f:{name}")));
            }
            return;
        }
        for other in undeclared(live, node.declared) {
            let one_of = UNIONS
                .iter()
                .any(|union| union.contains(&name) && union.contains(&other.as_str()));
            if one_of || mentions(&self.cause.message, other) {
                self.found.push(joined(&node.path, format!("f:{other}")));
            }
        }
    }

    /// Members of the struct at fault that exclude one that is declared.
    fn members_below(&mut self, node: &Node<'_>) {
        let Some(live) = node.live.as_object() else {
            return;
        };
        let Some(declared) = node.declared.as_object() else {
            return;
        };
        let message = &self.cause.message;
        let exclusive = [
            "both",
            "one of",
            "only one",
            "at most one",
            "more than one",
            "exclusive",
            "oneOf",
        ];
        if !exclusive.iter().any(|words| message.contains(words)) {
            return;
        }
        let ours = declared.keys().any(|name| mentions(message, name));
        // A schema that lets one alternative through names none of them.
        let unnamed = message.contains("oneOf");
        let found: Vec<_> = undeclared(live, node.declared)
            .filter(|name| ours && mentions(message, name) || unnamed)
            .map(|name| joined(&node.path, format!("f:{name}")))
            .filter(|path| !unnamed || !self.is_of_a_controller(path))
            .collect();
        self.found.extend(found);
    }

    /// Whether somebody owns a path who is neither a person, nor a tool, nor us.
    fn is_of_a_controller(&self, path: &Path) -> bool {
        entries(self.live).into_iter().flatten().any(|entry| {
            let name = entry["manager"].as_str().unwrap_or_default();
            let known = name == self.manager
                || TOOLS.contains(&name)
                || APPLIED.contains(&name)
                || is_by_kubectl(entry);
            !known && owns(&entry["fieldsV1"], path)
        })
    }
}

/// Whether a trie holds a path.
pub(super) fn owns(fields: &Value, path: &[String]) -> bool {
    let mut fields = fields;
    path.iter().all(|step| match fields.get(step) {
        Some(below) => {
            fields = below;
            true
        }
        None => false,
    })
}

fn step_to<'a>(node: &Node<'a>, step: String, live: &'a Value, declared: &'a Value) -> Node<'a> {
    static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    Node {
        owned: child(node.owned, &step).unwrap_or(&NOTHING),
        path: joined(&node.path, step),
        live,
        declared,
    }
}

fn joined(path: &Path, step: String) -> Path {
    let mut path = path.clone();
    path.push(step);
    path
}

fn undeclared<'a>(
    live: &'a Map<String, Value>,
    declared: &'a Value,
) -> impl Iterator<Item = &'a String> {
    live.keys().filter(|name| declared.get(*name).is_none())
}

fn value_at<'a>(item: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter()
        .try_fold(item, |value, segment| match segment {
            Segment::Field(name) => value.get(name),
            Segment::Item => None,
        })
        .filter(|_| !path.is_empty())
}

/// `spec.ports[1].name`; what stands in brackets and is no number is the key of a map.
fn segments(path: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    for part in path.split('[') {
        let (inside, after) = part.split_once(']').unwrap_or(("", part));
        if !inside.is_empty() {
            segments.push(match inside.parse::<usize>() {
                Ok(_) => Segment::Item,
                Err(_) => Segment::Field(inside.to_owned()),
            });
        }
        let names = after.split('.').filter(|name| !name.is_empty());
        segments.extend(names.map(|name| Segment::Field(name.to_owned())));
    }
    segments
}

fn is_duplicate(cause: &Cause) -> bool {
    let words = ["uplicate", "already allocated", "must be unique"];
    cause.reason == "FieldValueDuplicate" || words.iter().any(|words| cause.message.contains(words))
}

/// Whether something is refused because of what is beside it.
fn is_excluded(cause: &Cause) -> bool {
    let words = [
        "may not",
        "must not",
        "cannot",
        "can not",
        "only",
        "not allowed",
        "both",
        "more than",
    ];
    cause.reason == "FieldValueForbidden" || words.iter().any(|words| cause.message.contains(words))
}

/// Whether the change is at fault and not what stands beside each other.
fn is_about_change(message: &str) -> bool {
    let words = [
        "immutable",
        "may not change",
        "may not be changed",
        "updates to",
        "cannot change",
    ];
    words.iter().any(|words| message.contains(words))
}

fn mentions(message: &str, name: &str) -> bool {
    let mut words = message.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word == name)
}

#[cfg(test)]
mod tests;
