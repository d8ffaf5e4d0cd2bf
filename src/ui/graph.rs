//! The objects of an application as a tree (SVG) and as a list.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::words;
use crate::api::Node;
use crate::crd::SyncCode;

/// Sizes of the drawing, in pixels at its natural size.
const WIDTH: usize = 230;
const HEIGHT: usize = 46;
const GAP_X: usize = 46;
const GAP_Y: usize = 12;
/// Characters of a name that fit into a node.
const NAME: usize = 28;
/// Nodes of one drawing; more are a list.
const MOST: usize = 800;

/// The address of the page of one object.
fn page_of(base: &str, node: &Node) -> String {
    let query = serde_urlencoded::to_string([
        ("group", &node.group),
        ("version", &node.version),
        ("kind", &node.kind),
        ("resourceNamespace", &node.namespace),
        ("resource", &node.name),
    ]);
    format!("{base}/resource?{}", query.unwrap_or_default())
}

pub(super) fn list(base: &str, nodes: &[Node]) -> Markup {
    html! {
        div .scroll { table {
            thead { tr { th scope="col" { "Kind" } th scope="col" { "Namespace" }
                th scope="col" { "Name" } th scope="col" { "Sync" } th scope="col" { "Health" }
                th scope="col" { "Wave" } } }
            tbody { @for node in nodes {
                tr {
                    td { (node.kind) } td { (node.namespace) }
                    td { a href=(page_of(base, node)) { (node.name) } }
                    td { @if let Some(sync) = node.sync { (words::sync(sync)) }
                        @if node.requires_pruning { " to be pruned" }
                        @if !node.message.is_empty() { div .message { (node.message) } } }
                    td { @if let Some(health) = &node.health {
                        (words::health_of(Some(health)))
                        @if !health.message.is_empty() { div .message { (health.message) } }
                    } }
                    td { @if node.wave != 0 { (node.wave) } }
                }
            } }
        } }
    }
}

/// Where a node is drawn.
struct Place {
    column: usize,
    row: usize,
}

/// Nodes without what is below the folded ones, and how many each of these hides.
fn folded<'a>(nodes: &'a [Node], fold: &str) -> (Vec<Node>, BTreeMap<&'a str, usize>) {
    let fold: BTreeSet<&str> = fold.split(',').filter(|id| !id.is_empty()).collect();
    let mut hidden: BTreeMap<&str, &str> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shown = Vec::new();
    // Parents come before their children.
    for node in nodes {
        let parent = node.parent.as_deref();
        let by = parent.and_then(|parent| {
            let folded = nodes
                .iter()
                .find(|it| it.id == parent && fold.contains(parent));
            hidden
                .get(parent)
                .copied()
                .or(folded.map(|it| it.id.as_str()))
        });
        match by {
            Some(by) => {
                hidden.insert(&node.id, by);
                *counts.entry(by).or_default() += 1;
            }
            None => shown.push(node.clone()),
        }
    }
    (shown, counts)
}

/// The address with one more node folded, or one less, and the same search.
fn fold_address(base: &str, fold: &str, search: &str, id: &str) -> String {
    let mut ids: Vec<&str> = fold.split(',').filter(|it| !it.is_empty()).collect();
    match ids.iter().position(|it| *it == id) {
        Some(at) => drop(ids.remove(at)),
        None => ids.push(id),
    }
    let query = [("q", search.to_owned()), ("fold", ids.join(","))];
    let query: Vec<_> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    match query.is_empty() {
        true => base.to_owned(),
        false => format!(
            "{base}?{}",
            serde_urlencoded::to_string(query).unwrap_or_default()
        ),
    }
}

pub(super) fn tree(base: &str, root: &str, nodes: &[Node], fold: &str, search: &str) -> Markup {
    let parents: BTreeSet<&str> = nodes.iter().filter_map(|it| it.parent.as_deref()).collect();
    let (shown, counts) = folded(nodes, fold);
    let nodes = shown.as_slice();
    if nodes.len() > MOST {
        return html! {
            p .dim { "A tree of " (nodes.len()) " objects is too large to read; this is the list." }
            (list(base, nodes))
        };
    }
    let places = layout(nodes);
    let columns = places.iter().map(|place| place.column).max().unwrap_or(0) + 1;
    let rows = places.iter().map(|place| place.row).max().unwrap_or(0) + 1;
    let (width, height) = (columns * (WIDTH + GAP_X) + WIDTH, rows * (HEIGHT + GAP_Y));
    let index: BTreeMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(position, node)| (node.id.as_str(), position))
        .collect();
    let x = |place: &Place| (place.column + 1) * (WIDTH + GAP_X) - GAP_X;
    let y = |place: &Place| place.row * (HEIGHT + GAP_Y);
    html! {
        div .graph tabindex="0" role="region" aria-label="Tree of objects" {
            svg data-width=(width) width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) }
                role="group" aria-label={ "Objects of " (root) } {
                @for (node, place) in nodes.iter().zip(&places) {
                    @let parent = node.parent.as_deref().and_then(|parent| index.get(parent));
                    @let from = parent.map_or((WIDTH - GAP_X, HEIGHT / 2),
                        |parent| (x(&places[*parent]) + WIDTH, y(&places[*parent]) + HEIGHT / 2));
                    @let to = (x(place), y(place) + HEIGHT / 2);
                    @let middle = usize::midpoint(from.0, to.0);
                    path .edge d={ "M" (from.0) " " (from.1) " C" (middle) " " (from.1) " "
                        (middle) " " (to.1) " " (to.0) " " (to.1) } {}
                }
                g .node .root {
                    rect x="0" y="0" width=(WIDTH - GAP_X) height=(HEIGHT) rx="6" {}
                    text x="12" y="28" { (cut(root)) }
                }
                @for (node, place) in nodes.iter().zip(&places) {
                    (drawn(base, node, x(place), y(place)))
                    @if parents.contains(node.id.as_str()) {
                        (fold_sign(&fold_address(base, fold, search, &node.id), counts.get(node.id.as_str()),
                            &node.name, x(place) + WIDTH + 14, y(place) + HEIGHT / 2))
                    }
                }
            }
        }
    }
}

fn drawn(base: &str, node: &Node, x: usize, y: usize) -> Markup {
    let health = node.health.as_ref();
    let (tone, sign) = health.map_or(("dim", ""), |health| words::health_sign(health.status));
    let sync = match node.sync {
        Some(SyncCode::OutOfSync) => " ≠",
        Some(SyncCode::Unknown) => " ?",
        Some(SyncCode::Synced) | None => "",
    };
    let mut title = format!("{} {}", node.kind, node.name);
    if let Some(sync) = node.sync {
        title.push_str(&format!(", {sync}"));
    }
    if !node.message.is_empty() {
        title.push_str(&format!(": {}", node.message));
    }
    if let Some(health) = health {
        title.push_str(&format!(", {}", health.status));
        if !health.message.is_empty() {
            title.push_str(&format!(": {}", health.message));
        }
    }
    html! {
        a href=(page_of(base, node)) {
            g class={ "node " (tone) } {
                title { (title) }
                rect x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="6" {}
                text .kind x=(x + 12) y=(y + 18) {
                    (node.kind) @if node.wave != 0 { " · wave " (node.wave) } (sync) }
                text x=(x + 12) y=(y + 36) { (cut(&node.name)) }
                text .sign x=(x + WIDTH - 22) y=(y + 29) { (sign) }
            }
        }
    }
}

/// Folds what is below a node, or unfolds it.
fn fold_sign(to: &str, hidden: Option<&usize>, name: &str, x: usize, y: usize) -> Markup {
    let text = hidden.map_or_else(|| "−".to_owned(), |count| format!("+{count}"));
    let what = if hidden.is_some() { "Unfold" } else { "Fold" };
    html! {
        a .fold href=(to) aria-label={ (what) " " (name) } {
            rect x=(x - 14) y=(y - 11) width="28" height="22" rx="11" {}
            text x=(x) y=(y + 4) text-anchor="middle" { (text) }
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= NAME {
        return text.to_owned();
    }
    let kept: String = text.chars().take(NAME - 1).collect();
    format!("{kept}…")
}

/// Depth first: a child is in the next column, the first one beside its parent.
fn layout(nodes: &[Node]) -> Vec<Place> {
    let mut children: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    let known: BTreeMap<&str, ()> = nodes.iter().map(|node| (node.id.as_str(), ())).collect();
    for (position, node) in nodes.iter().enumerate() {
        // A filter can leave a child without its parent.
        let parent = node
            .parent
            .as_deref()
            .filter(|parent| known.contains_key(parent));
        children.entry(parent).or_default().push(position);
    }
    let mut places: Vec<Place> = nodes.iter().map(|_| Place { column: 0, row: 0 }).collect();
    let mut row = 0;
    let mut open: Vec<(usize, usize)> = Vec::new();
    let roots = children.get(&None).cloned().unwrap_or_default();
    open.extend(roots.into_iter().rev().map(|position| (position, 0)));
    while let Some((position, column)) = open.pop() {
        places[position] = Place { column, row };
        let below = children.get(&Some(nodes[position].id.as_str()));
        match below {
            Some(below) => open.extend(below.iter().rev().map(|child| (*child, column + 1))),
            None => row += 1,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, parent: Option<&str>) -> Node {
        Node {
            id: id.into(),
            parent: parent.map(str::to_owned),
            group: String::new(),
            version: "v1".into(),
            kind: "Kind".into(),
            namespace: "shop".into(),
            name: format!("<script>{id}"),
            sync: None,
            health: None,
            wave: 0,
            requires_pruning: false,
            message: String::new(),
            created: String::new(),
        }
    }

    #[test]
    fn nodes_do_not_overlap_and_names_are_text() {
        let nodes = [
            node("a", None),
            node("b", None),
            node("a1", Some("a")),
            node("a2", Some("a")),
            node("a1x", Some("a1")),
            node("lost", Some("filtered")),
        ];
        let mut places: Vec<_> = layout(&nodes)
            .iter()
            .map(|place| (place.column, place.row))
            .collect();
        assert_eq!(places[0], (0, 0));
        assert_eq!(places[3], (1, 1));
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), nodes.len());
        let text = tree("/applications/a/b", "root", &nodes, "", "").into_string();
        assert!(!text.contains("<script>"), "{text}");
    }

    #[test]
    fn what_is_folded_is_counted_and_can_be_unfolded() {
        let nodes = [
            node("a", None),
            node("a1", Some("a")),
            node("a1x", Some("a1")),
            node("b", None),
        ];
        let (shown, counts) = folded(&nodes, "a,gone");
        let ids: Vec<_> = shown.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(counts, BTreeMap::from([("a", 2)]));
        assert_eq!(
            fold_address("/x", "", "", "a/K:n/m"),
            "/x?fold=a%2FK%3An%2Fm"
        );
        assert_eq!(fold_address("/x", "a", "", "a"), "/x");
        assert_eq!(fold_address("/x", "a", "web", "b"), "/x?q=web&fold=a%2Cb");
    }
}
