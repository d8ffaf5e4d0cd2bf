//! Differences that are left alone: in the comparison, and in what is applied.

use std::sync::Arc;

use globset::{Glob, GlobMatcher};
use serde_json::{Map, Value};

use super::canonical::Digest;
use super::handover::Path;
use super::jq::Expression;
use crate::object::{IgnoreDifferences, Object, ResourceKey};

/// Compiled rules. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct IgnoreRules {
    rules: Arc<[Rule]>,
    /// Of the rules as they are written.
    digest: Option<Digest>,
    /// The rules before: a manager that they did not name is named just now.
    before: Option<Arc<[Rule]>>,
}

#[derive(Debug)]
struct Rule {
    group: GlobMatcher,
    kind: GlobMatcher,
    /// None for any.
    name: Option<GlobMatcher>,
    namespace: Option<GlobMatcher>,
    pointers: Vec<Vec<String>>,
    expressions: Vec<Expression>,
    managers: Vec<String>,
}

impl IgnoreRules {
    /// Compiles rules: those of the settings, for all applications, and those of one. What is
    /// wrong with them names the rule by its place.
    pub(crate) fn compile(
        general: &[IgnoreDifferences],
        own: &[IgnoreDifferences],
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut compiled = Vec::new();
        for (place, rules) in [
            ("ignoreDifferences of the settings", general),
            ("spec.ignoreDifferences", own),
        ] {
            for (index, rule) in rules.iter().enumerate() {
                match compile(rule) {
                    Ok(rule) => compiled.push(rule),
                    Err(why) => faults.push(format!("{place}[{index}]: {why}")),
                }
            }
        }
        let written: Vec<_> = general
            .iter()
            .chain(own)
            .map(|rule| format!("{rule:?}"))
            .collect();
        let written: Vec<_> = written.iter().map(String::as_str).collect();
        match faults.is_empty() {
            true => Ok(Self {
                rules: compiled.into(),
                digest: (!written.is_empty()).then(|| Digest::of_texts(&written)),
                before: None,
            }),
            false => Err(faults),
        }
    }

    /// Whether other rules say the same.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Notes which rules these take the place of: a manager that those do not name is named just now,
    /// until [`Self::settle`].
    pub(crate) fn replace(&mut self, before: &Self) {
        let earlier = before.before.as_ref();
        self.before = Some(Arc::clone(earlier.unwrap_or(&before.rules)));
    }

    /// Nobody is named just now any more.
    pub(crate) fn settle(&mut self) {
        self.before = None;
    }

    /// What is ignored of an object; none when no rule is about it.
    pub(crate) fn of(&self, key: &ResourceKey) -> Option<Ignored<'_>> {
        let rules = about(&self.rules, key);
        let names_anew = self.before.as_ref().is_some_and(|before| {
            let known = about(before, key);
            let mut named = rules.iter().flat_map(|rule| &rule.managers);
            named.any(|manager| !known.iter().any(|rule| rule.managers.contains(manager)))
        });
        (!rules.is_empty()).then_some(Ignored { rules, names_anew })
    }
}

fn about<'a>(rules: &'a [Rule], key: &ResourceKey) -> Vec<&'a Rule> {
    rules.iter().filter(|rule| rule.is_about(key)).collect()
}

fn compile(rule: &IgnoreDifferences) -> Result<Rule, String> {
    if rule.kind.is_empty() {
        return Err("kind is missing; `*` is every kind".to_owned());
    }
    let nothing = rule.json_pointers.is_empty() && rule.jq_path_expressions.is_empty();
    if nothing && rule.managed_fields_managers.is_empty() {
        let ways = "jsonPointers, jqPathExpressions or managedFieldsManagers";
        return Err(format!("none of {ways} says what to ignore"));
    }
    let glob = |text: &str| {
        let glob = Glob::new(text).map_err(|error| error.to_string())?;
        Ok::<_, String>(glob.compile_matcher())
    };
    let any = |text: &str| match text {
        "" => Ok(None),
        text => glob(text).map(Some),
    };
    let pointers = rule.json_pointers.iter().map(|pointer| {
        let segments = pointer.strip_prefix('/').filter(|rest| !rest.is_empty());
        let segments = segments.ok_or_else(|| {
            format!("\"{pointer}\" is no JSON pointer to a field, such as /spec/replicas")
        })?;
        let unescape = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
        Ok::<_, String>(segments.split('/').map(unescape).collect())
    });
    Ok(Rule {
        group: glob(&rule.group)?,
        kind: glob(&rule.kind)?,
        name: any(&rule.name)?,
        namespace: any(&rule.namespace)?,
        pointers: pointers.collect::<Result<_, _>>()?,
        expressions: rule
            .jq_path_expressions
            .iter()
            .map(|expression| Expression::parse(expression))
            .collect::<Result<_, _>>()?,
        managers: rule.managed_fields_managers.clone(),
    })
}

impl Rule {
    fn is_about(&self, key: &ResourceKey) -> bool {
        let is = |wanted: &Option<GlobMatcher>, given: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.is_match(given))
        };
        self.group.is_match(&key.group)
            && self.kind.is_match(&key.kind)
            && is(&self.name, &key.name)
            && is(&self.namespace, &key.namespace)
    }
}

/// What is ignored of one object.
pub(crate) struct Ignored<'a> {
    rules: Vec<&'a Rule>,
    names_anew: bool,
}

impl Ignored<'_> {
    /// The places in a live object that are left to others, to hand over what leaves the manifest
    /// there. What named managers own has an owner already.
    ///
    /// Which fields a manager goes on with that was named just now is not known, as it owns none yet:
    /// it is all that leaves the manifest with that, which [`Self::claims_to_leave`] says.
    pub(crate) fn claims(&self, manifest: &Object, live: &Object) -> Vec<Path> {
        let value = |object: &Object| Value::Object(object.fields().clone());
        let (manifest, live) = (value(manifest), value(live));
        let mut claims = Vec::new();
        for rule in &self.rules {
            let pointers = rule.pointers.iter();
            claims.extend(pointers.filter_map(|it| in_live(it, Some(&manifest), &live)));
            let expressions = rule.expressions.iter();
            claims.extend(expressions.flat_map(|it| it.paths(&live).unwrap_or_default()));
        }
        claims
    }

    /// The same before an apply that gives fields up.
    pub(crate) fn claims_to_leave(&self, manifest: &Object, live: &Object) -> Vec<Path> {
        match self.names_anew {
            true => vec![Path::new()],
            false => self.claims(manifest, live),
        }
    }

    /// Makes the manifest that is applied to an object that exists: what is ignored takes the value
    /// that is live, or is left out where there is none. Nothing is ignored on creation.
    pub(crate) fn respect(&self, desired: &mut Object, live: &Object) {
        let before = Value::Object(live.fields().clone());
        let mut changed = Value::Object(std::mem::take(desired.fields_mut()));
        for rule in &self.rules {
            for pointer in &rule.pointers {
                take_over(&mut changed, Some(&before), pointer);
            }
            for expression in &rule.expressions {
                // The last first: taking an item out of a list moves those behind it.
                let paths = expression.paths(&changed).unwrap_or_default();
                for path in paths.iter().rev() {
                    take_over(&mut changed, Some(&before), path);
                }
            }
            for trie in owned(live, &rule.managers) {
                take_over_owned(&mut changed, &before, trie);
            }
        }
        if let Value::Object(fields) = changed {
            *desired.fields_mut() = fields;
        }
    }
}

/// Where in the live object a pointer into the manifest leads; a place in a list may be another one
/// there.
fn in_live(pointer: &[String], manifest: Option<&Value>, live: &Value) -> Option<Path> {
    let (mut manifest, mut live) = (manifest, live);
    let mut path = Path::new();
    for step in pointer {
        let index = live.as_array().and_then(|_| step.parse::<usize>().ok());
        let Some(index) = index else {
            manifest = manifest.and_then(|it| it.get(step));
            live = live.get(step)?;
            path.push(step.clone());
            continue;
        };
        let item = manifest.and_then(|it| it.get(index));
        let items = live.as_array()?;
        let index = match item.and_then(|item| item.get("name")) {
            Some(name) => items.iter().position(|it| it.get("name") == Some(name))?,
            None => index,
        };
        manifest = item;
        live = items.get(index)?;
        path.push(index.to_string());
    }
    Some(path)
}

/// Gives the value at a pointer the one that is live, or takes it away. A step into a list goes to
/// the live item of the same name, else of the same place.
fn take_over(desired: &mut Value, live: Option<&Value>, pointer: &[String]) {
    let Some((step, rest)) = pointer.split_first() else {
        return;
    };
    match desired {
        Value::Object(fields) if rest.is_empty() => settle(fields, live, step),
        Value::Object(fields) => {
            if let Some(below) = fields.get_mut(step) {
                take_over(below, live.and_then(|live| live.get(step)), rest);
            }
        }
        Value::Array(items) => {
            let Some(index) = step.parse::<usize>().ok().filter(|it| *it < items.len()) else {
                return;
            };
            let live = live.and_then(|live| same_item(live, &items[index], index));
            match (rest.is_empty(), live) {
                (false, live) => take_over(&mut items[index], live, rest),
                (true, Some(live)) => items[index] = live.clone(),
                (true, None) => drop(items.remove(index)),
            }
        }
        _ => {}
    }
}

/// A field that is desired takes the live value. One that only is live stays nobody's of ours.
fn settle(desired: &mut Map<String, Value>, live: Option<&Value>, field: &str) {
    if !desired.contains_key(field) {
        return;
    }
    match live.and_then(|live| live.get(field)) {
        Some(value) => drop(desired.insert(field.to_owned(), value.clone())),
        None => drop(desired.remove(field)),
    }
}

fn same_item<'a>(live: &'a Value, item: &Value, index: usize) -> Option<&'a Value> {
    let items = live.as_array()?;
    match item.get("name") {
        Some(name) => items.iter().find(|live| live.get("name") == Some(name)),
        None => items.get(index),
    }
}

/// The fields that some managers own.
fn owned<'a>(
    live: &'a Object,
    managers: &'a [String],
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let entries = live
        .get("/metadata/managedFields")
        .and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter(|entry| {
            let manager = entry["manager"].as_str();
            manager.is_some_and(|manager| managers.iter().any(|it| it == manager))
        })
        .filter_map(|entry| entry["fieldsV1"].as_object())
}

/// As [`take_over`], for every leaf of a trie of managed fields.
fn take_over_owned(desired: &mut Value, live: &Value, trie: &Map<String, Value>) {
    let empty = Map::new();
    for (step, below) in trie {
        let below = below.as_object().unwrap_or(&empty);
        let leaf = below.keys().all(|step| step == ".");
        match (step.split_once(':'), &mut *desired) {
            (Some(("f", field)), Value::Object(fields)) if leaf => {
                settle(fields, Some(live), field);
            }
            (Some(("f", field)), Value::Object(fields)) => {
                if let (Some(desired), Some(live)) = (fields.get_mut(field), live.get(field)) {
                    take_over_owned(desired, live, below);
                }
            }
            (Some(("k", keys)), Value::Array(items)) => {
                let Ok(Value::Object(keys)) = serde_json::from_str(keys) else {
                    continue;
                };
                let has = |item: &Value| {
                    keys.iter()
                        .all(|(name, value)| item.get(name) == Some(value))
                };
                let live = live
                    .as_array()
                    .and_then(|items| items.iter().find(|it| has(it)));
                if let (Some(item), Some(live)) = (items.iter_mut().find(|it| has(it)), live) {
                    take_over_owned(item, live, below);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(rules: Value) -> Result<IgnoreRules, Vec<String>> {
        let rules: Vec<IgnoreDifferences> = serde_json::from_value(rules).unwrap();
        IgnoreRules::compile(&[], &rules)
    }

    fn deployment(spec: Value, managed_fields: Value) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "managedFields": managed_fields},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_manager_is_named_just_now_until_all_was_applied() {
        let key = ResourceKey::parse("apps/Deployment:shop/web").unwrap();
        let rule = |kind: &str, names: Value| {
            rules(json!([{"group": "*", "kind": kind, "managedFieldsManagers": names}])).unwrap()
        };
        let any = |names: Value| rule("*", names);
        let anew = |rules: &IgnoreRules| rules.of(&key).map(|it| it.names_anew);
        for (before, now, expected) in [
            (IgnoreRules::default(), any(json!(["a"])), Some(true)),
            (any(json!(["a"])), any(json!(["a"])), Some(false)),
            (any(json!(["a"])), any(json!(["a", "b"])), Some(true)),
            (any(json!(["a", "b"])), any(json!(["b"])), Some(false)),
            (rule("Secret", json!(["a"])), any(json!(["a"])), Some(true)),
            (any(json!(["a"])), rule("Secret", json!(["a"])), None),
        ] {
            let mut next = now.clone();
            next.replace(&before);
            assert_eq!(anew(&next), expected, "{before:?} {now:?}");
            // Changed once more before anything was applied.
            let mut again = now.clone();
            again.replace(&next);
            assert_eq!(anew(&again), expected);
            again.settle();
            assert_ne!(anew(&again), Some(true));
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (rule, expected) in [
            (json!({"jsonPointers": ["/a"]}), "kind is missing"),
            (json!({"kind": "A"}), "what to ignore"),
            (
                json!({"kind": "A", "jsonPointers": ["spec"]}),
                "no JSON pointer",
            ),
            (
                json!({"kind": "A", "jsonPointers": [""]}),
                "no JSON pointer",
            ),
            (
                json!({"kind": "A", "jsonPointers": ["/"]}),
                "no JSON pointer",
            ),
            (
                json!({"kind": "A", "jqPathExpressions": ["repeat(.)"]}),
                "uses `repeat`",
            ),
            (
                json!({"kind": "{", "jsonPointers": ["/a"]}),
                "error parsing glob",
            ),
        ] {
            let faults = rules(json!([rule])).unwrap_err();
            assert!(
                faults[0].starts_with("spec.ignoreDifferences[0]: "),
                "{faults:?}"
            );
            assert!(faults[0].contains(expected), "{faults:?}");
        }
    }

    #[test]
    fn rules_are_about_what_they_name() {
        let key = ResourceKey::parse("apps/Deployment:shop/web").unwrap();
        for (rule, expected) in [
            (json!({"group": "apps", "kind": "Deployment"}), true),
            (json!({"group": "*", "kind": "*"}), true),
            (json!({"group": "ap*", "kind": "Deploy*"}), true),
            (json!({"kind": "Deployment"}), false),
            (
                json!({"group": "apps", "kind": "Deployment", "name": "web"}),
                true,
            ),
            (
                json!({"group": "apps", "kind": "Deployment", "name": "other"}),
                false,
            ),
            (
                json!({"group": "apps", "kind": "Deployment", "namespace": "other"}),
                false,
            ),
        ] {
            let mut full = rule.clone();
            full["jsonPointers"] = json!(["/spec/replicas"]);
            let found = rules(json!([full])).unwrap().of(&key).is_some();
            assert_eq!(found, expected, "{rule}");
        }
    }

    #[test]
    fn what_is_ignored_takes_the_live_value() {
        let container = |name: &str, image: &str| json!({"name": name, "image": image});
        for (pointer, desired, live, expected) in [
            (
                "/spec/replicas",
                json!({"replicas": 2}),
                json!({"replicas": 5}),
                json!({"replicas": 5}),
            ),
            (
                "/spec/replicas",
                json!({"replicas": 2}),
                json!({}),
                json!({}),
            ),
            (
                "/spec/replicas",
                json!({"a": 1}),
                json!({"replicas": 5}),
                json!({"a": 1}),
            ),
            (
                "/spec/a~1b",
                json!({"a/b": 1}),
                json!({"a/b": 2}),
                json!({"a/b": 2}),
            ),
            (
                "/spec/containers/0/image",
                json!({"containers": [container("web", "1"), container("log", "1")]}),
                json!({"containers": [container("sidecar", "9"), container("web", "2")]}),
                json!({"containers": [container("web", "2"), container("log", "1")]}),
            ),
            (
                "/spec/list/1",
                json!({"list": [1, 2]}),
                json!({"list": [3, 4]}),
                json!({"list": [1, 4]}),
            ),
            (
                "/spec/list/1",
                json!({"list": [1, 2]}),
                json!({"list": [3]}),
                json!({"list": [1]}),
            ),
            (
                "/spec/list/7",
                json!({"list": [1]}),
                json!({}),
                json!({"list": [1]}),
            ),
            (
                "/spec/a/b",
                json!({"a": 1}),
                json!({"a": {"b": 2}}),
                json!({"a": 1}),
            ),
        ] {
            let rules =
                rules(json!([{"group": "apps", "kind": "Deployment", "jsonPointers": [pointer]}]));
            let rules = rules.unwrap();
            let mut manifest = deployment(desired, json!([]));
            let ignored = rules.of(&manifest.key()).unwrap();
            ignored.respect(&mut manifest, &deployment(live, json!([])));
            assert_eq!(manifest.fields()["spec"], expected, "{pointer}");
        }
    }

    #[test]
    fn what_is_left_to_others_is_found_in_the_live_object() {
        let container = |name: &str| json!({"name": name, "image": "1"});
        let manifest = deployment(json!({"containers": [container("web")]}), json!([]));
        let live = json!({"replicas": 3, "containers": [container("sidecar"), container("web")]});
        let live = deployment(live, json!([]));
        for (rule, expected) in [
            (json!({"jsonPointers": ["/spec/replicas"]}), "spec.replicas"),
            (json!({"jsonPointers": ["/spec/gone/below"]}), ""),
            (
                json!({"jsonPointers": ["/spec/containers/0/image"]}),
                "spec.containers.1.image",
            ),
            (
                json!({"jqPathExpressions": [".spec.containers[] | select(.name == \"web\") | .image"]}),
                "spec.containers.1.image",
            ),
            (json!({"managedFieldsManagers": ["scaler"]}), ""),
        ] {
            let mut full = rule.clone();
            full["kind"] = json!("*");
            full["group"] = json!("*");
            let rules = rules(json!([full])).unwrap();
            let claims = rules.of(&live.key()).unwrap().claims(&manifest, &live);
            let found: Vec<_> = claims.iter().map(|path| path.join(".")).collect();
            assert_eq!(found.join(" "), expected, "{rule}");
        }
    }

    #[test]
    fn what_an_expression_points_at_takes_the_live_value() {
        let env = |items: &[(&str, &str)]| -> Value {
            let item = |(name, value): &(&str, &str)| json!({"name": name, "value": value});
            json!({"env": items.iter().map(item).collect::<Vec<_>>()})
        };
        let rules = rules(json!([{
            "group": "apps", "kind": "*", "name": "w*",
            "jqPathExpressions": [".spec.env[] | select(.name | startswith(\"TMP_\"))"],
        }]));
        let rules = rules.unwrap();
        let desired = env(&[("TMP_A", "1"), ("B", "1"), ("TMP_C", "1"), ("TMP_D", "1")]);
        let live = env(&[("B", "2"), ("TMP_C", "2")]);
        let mut manifest = deployment(desired, json!([]));
        let live = deployment(live, json!([]));
        rules.of(&live.key()).unwrap().respect(&mut manifest, &live);
        let expected = env(&[("B", "1"), ("TMP_C", "2")]);
        assert_eq!(manifest.fields()["spec"], expected);
    }

    #[test]
    fn what_a_manager_owns_is_its_own() {
        let rules = rules(json!([
            {"group": "apps", "kind": "Deployment", "managedFieldsManagers": ["scaler"]},
        ]));
        let rules = rules.unwrap();
        let managed_fields = json!([
            {"manager": "scaler", "fieldsV1": {"f:spec": {
                "f:replicas": {}, "f:only-live": {},
                "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}},
            }}},
            {"manager": "other", "fieldsV1": {"f:spec": {"f:paused": {}}}},
        ]);
        let image = |image: &str| json!([{"name": "web", "image": image, "tty": true}]);
        let live = deployment(
            json!({"replicas": 5, "paused": true, "only-live": 1, "containers": image("2")}),
            managed_fields,
        );
        let mut manifest = deployment(
            json!({"replicas": 2, "paused": false, "containers": image("1")}),
            json!([]),
        );
        rules.of(&live.key()).unwrap().respect(&mut manifest, &live);
        let expected = json!({"replicas": 5, "paused": false, "containers": image("2")});
        assert_eq!(manifest.fields()["spec"], expected);
    }
}
