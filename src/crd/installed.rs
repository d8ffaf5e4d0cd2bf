//! The CustomResourceDefinition that a cluster has, beside the one of this program.

use serde_json::Value;

use super::names::{DEFINITION_VERSION, VERSION};

/// How the installed definition stands to our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    Absent,
    /// It lacks what this program needs: the API server would drop or refuse these.
    Lacking(Vec<String>),
    /// An older one that lacks nothing.
    Older,
    Same,
    /// Of a newer program, which is never taken back.
    Newer,
}

/// Compares the installed definition with our own.
pub(crate) fn compare(own: &Value, installed: Option<&Value>) -> Installed {
    let Some(installed) = installed else {
        return Installed::Absent;
    };
    let (ours, theirs) = (version(own), version(installed));
    if theirs > ours {
        return Installed::Newer;
    }
    let lacking = lacking(own, installed);
    if !lacking.is_empty() {
        return Installed::Lacking(lacking);
    }
    match theirs < ours {
        true => Installed::Older,
        false => Installed::Same,
    }
}

/// The version of the program that a definition is of; one that does not say so is older than any.
fn version(definition: &Value) -> Option<[u64; 3]> {
    let text = definition["metadata"]["annotations"][DEFINITION_VERSION].as_str()?;
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some([next()?, next()?, next()?])
}

fn lacking(own: &Value, installed: &Value) -> Vec<String> {
    let named = |definition: &Value| {
        let versions = definition["spec"]["versions"].as_array();
        let mut versions = versions.into_iter().flatten();
        let found = versions.find(|it| it["name"] == VERSION).cloned();
        found.unwrap_or_default()
    };
    let (own, installed) = (named(own), named(installed));
    if installed["served"] != true {
        return vec![format!("the version {VERSION}")];
    }
    let mut found = Vec::new();
    if !installed["subresources"]["status"].is_object() {
        found.push("the subresource status".to_owned());
    }
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    fields("", &schema(&own), &schema(&installed), &mut found);
    found
}

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Fields and values of our schema that the other one drops or refuses.
fn fields(path: &str, own: &Value, other: &Value, found: &mut Vec<String>) {
    let open = other[OPEN] == true;
    if own[OPEN] == true && !open && !path.is_empty() {
        found.push(format!("unknown fields of {path}"));
    }
    let known = |value: &Value, list: &str, text: &Value| {
        let list = value[list].as_array();
        list.is_some_and(|list| list.contains(text))
    };
    if other["enum"].is_array() {
        let values = own["enum"].as_array().into_iter().flatten();
        let refused = values.filter(|value| !known(other, "enum", value));
        found.extend(refused.map(|value| format!("{path} = {value}")));
    }
    if own["type"] != other["type"] && !other["type"].is_null() {
        found.push(format!("{path} as {}", own["type"]));
    }
    let demanded = other["required"].as_array().into_iter().flatten();
    let demanded = demanded.filter(|name| !known(own, "required", name));
    let demanded = demanded.filter_map(Value::as_str);
    found.extend(demanded.map(|name| format!("{path} without {name}")));
    for (name, schema) in own["properties"].as_object().into_iter().flatten() {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match other["properties"].get(name) {
            Some(other) => fields(&path, schema, other, found),
            None if open => {}
            None => found.push(path),
        }
    }
    if own["items"].is_object() && other["items"].is_object() {
        fields(&format!("{path}[]"), &own["items"], &other["items"], found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::definition;

    fn changed(change: impl FnOnce(&mut Value)) -> Value {
        let mut definition = definition("trimtab.dev");
        change(&mut definition);
        definition
    }

    const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

    fn remove(definition: &mut Value, pointer: &str, name: &str) {
        let place = definition.pointer_mut(&format!("{SCHEMA}{pointer}"));
        place.unwrap().as_object_mut().unwrap().remove(name);
    }

    #[test]
    fn what_an_installed_definition_lacks_is_named() {
        let own = definition("trimtab.dev");
        let version = |text: &str| {
            let text = text.to_owned();
            changed(|it| it["metadata"]["annotations"][DEFINITION_VERSION] = text.into())
        };
        let lacking = |what: &str| Installed::Lacking(vec![what.to_owned()]);
        for (what, installed, expected) in [
            ("none", None, Installed::Absent),
            ("the same", Some(own.clone()), Installed::Same),
            ("a newer one", Some(version("999.0.1")), Installed::Newer),
            ("an older one", Some(version("0.0.1")), Installed::Older),
            (
                "one that says nothing",
                Some(changed(|it| it["metadata"]["annotations"] = json!({}))),
                Installed::Older,
            ),
            (
                "a field of the status",
                Some(changed(|it| {
                    remove(it, "/properties/status/properties", "inventory");
                })),
                lacking("status.inventory"),
            ),
            (
                "a newer one without a field",
                Some(changed(|it| {
                    it["metadata"]["annotations"][DEFINITION_VERSION] = "999.0.0".into();
                    remove(it, "/properties/status/properties", "inventory");
                })),
                Installed::Newer,
            ),
            (
                "a field of the spec, where unknown ones are kept",
                Some(changed(|it| {
                    remove(it, "/properties/spec/properties", "project");
                })),
                Installed::Same,
            ),
            (
                "unknown fields",
                Some(changed(|it| remove(it, "/properties/spec", OPEN))),
                lacking("unknown fields of spec"),
            ),
            (
                "a demand",
                Some(changed(|it| {
                    let spec = &mut it.pointer_mut(SCHEMA).unwrap()["properties"]["spec"];
                    spec["required"] = json!(["novelty"]);
                })),
                lacking("spec without novelty"),
            ),
            (
                "the status of Argo CD",
                Some(changed(|it| {
                    it["spec"]["versions"][0]["subresources"] = json!({});
                })),
                lacking("the subresource status"),
            ),
            (
                "another version",
                Some(changed(|it| {
                    it["spec"]["versions"][0]["name"] = "v1".into();
                })),
                lacking("the version v1alpha1"),
            ),
        ] {
            assert_eq!(compare(&own, installed.as_ref()), expected, "{what}");
        }
    }
}
