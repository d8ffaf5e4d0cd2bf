//! What a kustomization names, and what the generators and transformers that it names are told to
//! read: nothing of that may lie outside of the repository. Pure.
//!
//! kustomize takes the names of fields in any case, as Go's JSON decoder does; here they are in
//! lower case (see [`folded`]).

use serde_json::{Map, Value};

use super::Error;
use crate::object::redact_url;

/// What kustomize takes an entry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Manifests, patches, files: what they say is not obeyed.
    Input,
    /// The configuration of a generator, transformer or validator, or a kustomization of such.
    Plugin,
}

/// What a kustomization names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A path, from the directory of the kustomization.
    Path(String, Role),
    /// The configuration of a plugin, written into the kustomization itself.
    Inline(String),
}

/// Lists of paths in a kustomization: files and, where kustomize takes one, directories.
const PATHS: [(&str, Role); 10] = [
    ("resources", Role::Input),
    ("bases", Role::Input),
    ("components", Role::Input),
    ("crds", Role::Input),
    ("configurations", Role::Input),
    ("transformers", Role::Plugin),
    ("generators", Role::Plugin),
    ("validators", Role::Plugin),
    ("patchesstrategicmerge", Role::Input),
    ("replacements", Role::Input),
];
/// Fields that fetch charts.
const CHARTS: [&str; 3] = ["helmcharts", "helmglobals", "helmchartinflationgenerator"];
/// Other fields that name something, also of plugins.
const NAMING: [&str; 9] = [
    "patches",
    "patchesjson6902",
    "openapi",
    "configmapgenerator",
    "secretgenerator",
    "files",
    "envs",
    "env",
    "path",
];

/// The same with field names in lower case, the two letters from outside ASCII that Go folds
/// included. A field that names something and is there in two spellings is refused: kustomize takes
/// one of them and says nothing of the other.
pub(super) fn folded(file: &str, value: Value) -> Result<Value, Error> {
    match value {
        Value::Object(map) => {
            let mut all = Map::new();
            for (name, value) in map {
                let low = fold(&name);
                if all.contains_key(&low) && names_something(&low) {
                    let problem = format!("{low} is there in two spellings; keep one of them");
                    return Err(refused(file, problem));
                }
                all.insert(low, folded(file, value)?);
            }
            Ok(Value::Object(all))
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| folded(file, item));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        value => Ok(value),
    }
}

fn fold(name: &str) -> String {
    let plain = name.chars().map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    plain.collect()
}

fn names_something(field: &str) -> bool {
    let paths = PATHS.iter().map(|(name, _)| *name);
    let mut all = paths.chain(CHARTS).chain(NAMING);
    all.any(|name| name == field)
}

/// Everything that a kustomization names, folded as it is. In one that is part of a plugin's
/// configuration the resources are configurations too.
pub(super) fn entries(file: &str, kustomization: &Value, of: Role) -> Result<Vec<Entry>, Error> {
    for field in CHARTS {
        if !kustomization[field].is_null() {
            let problem =
                format!("{field} is not supported: use a Helm application, or vendor the output");
            return Err(refused(file, problem));
        }
    }
    let mut found = Found::default();
    for (field, role) in PATHS {
        for entry in list(&kustomization[field]) {
            found.take(entry, role.max(of));
            found.take(&entry["path"], Role::Input);
        }
    }
    for field in ["patches", "patchesjson6902"] {
        for entry in list(&kustomization[field]) {
            found.take(&entry["path"], Role::Input);
        }
    }
    found.take(&kustomization["openapi"]["path"], Role::Input);
    for field in ["configmapgenerator", "secretgenerator"] {
        for generator in list(&kustomization[field]) {
            found.take_sources(generator);
        }
    }
    found.checked(file)
}

/// Everything that the configuration of a plugin names, folded as it is.
pub(super) fn plugin_entries(file: &str, plugin: &Value) -> Result<Vec<Entry>, Error> {
    let kind = plugin["kind"].as_str().map(fold).unwrap_or_default();
    if CHARTS.contains(&kind.as_str()) {
        let problem = "it configures a HelmChartInflationGenerator, which is not supported: use a \
                       Helm application, or vendor the output";
        return Err(refused(file, problem.to_owned()));
    }
    let mut found = Found::default();
    found.take(&plugin["path"], Role::Input);
    for entry in list(&plugin["paths"]) {
        found.take(entry, Role::Input);
    }
    for entry in list(&plugin["replacements"]) {
        found.take(&entry["path"], Role::Input);
    }
    found.take_sources(plugin);
    found.checked(file)
}

#[derive(Default)]
struct Found(Vec<Entry>);

impl Found {
    /// Some fields take content inline where others give a path: a text with a line end is one.
    fn take(&mut self, value: &Value, role: Role) {
        match value.as_str() {
            None | Some("") => {}
            Some(text) if !text.contains('\n') => self.0.push(Entry::Path(text.to_owned(), role)),
            Some(text) if role == Role::Plugin => self.0.push(Entry::Inline(text.to_owned())),
            Some(_) => {}
        }
    }

    /// The files that a generator of ConfigMaps or Secrets reads.
    fn take_sources(&mut self, generator: &Value) {
        for entry in list(&generator["files"]) {
            let text = entry.as_str().unwrap_or_default();
            let path = text.split_once('=').map_or(text, |(_, path)| path);
            self.take(&path.into(), Role::Input);
        }
        for entry in list(&generator["envs"]) {
            self.take(entry, Role::Input);
        }
        self.take(&generator["env"], Role::Input);
    }

    fn checked(self, file: &str) -> Result<Vec<Entry>, Error> {
        for entry in &self.0 {
            if let Entry::Path(path, _) = entry {
                refuse_remote(file, path)?;
            }
        }
        Ok(self.0)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Refuses what kustomize or helm would fetch from elsewhere.
pub(super) fn refuse_remote(file: &str, entry: &str) -> Result<(), Error> {
    let host_like = entry.split('/').next().is_some_and(|first| {
        let known = ["github.com", "gitlab.com", "bitbucket.org", "dev.azure.com"];
        known.iter().any(|host| first.eq_ignore_ascii_case(host))
    });
    let remote = entry.contains("://")
        || entry.contains("::")
        || entry.starts_with("git@")
        || entry.contains("?ref=")
        || entry.contains("//")
        || (entry.contains('@') && entry.contains(':'))
        || host_like;
    if remote {
        let entry = redact_url(entry);
        let problem = format!(
            "\"{entry}\" is a remote base, which is not fetched: vendor it into the repository"
        );
        return Err(refused(file, problem));
    }
    Ok(())
}

pub(super) fn refused(path: &str, problem: String) -> Error {
    Error::Refused {
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value, role: Role) -> Result<Vec<Entry>, String> {
        let folded = folded("k", value);
        let entries = folded.and_then(|value| entries("k", &value, role));
        entries.map_err(|error| error.to_string())
    }

    #[test]
    fn every_entry_has_its_role() {
        let path = |path: &str, role| Entry::Path(path.to_owned(), role);
        let named = json!({
            "Resources": ["a.yaml"],
            "generators": ["g.yaml", "kind: ConfigMapGenerator\nfiles: [a]\n"],
            "transformers": ["t"],
            "patches": [{"path": "p.yaml"}, {"patch": "- op: x\n"}],
            "secretGenerator": [{"files": ["k=f", "g"], "envs": ["e"], "env": "h"}],
        });
        let inputs = ["a.yaml", "p.yaml", "f", "g", "e", "h"];
        let found = of(named.clone(), Role::Input).unwrap();
        for entry in inputs {
            assert!(found.contains(&path(entry, Role::Input)), "{entry}");
        }
        for entry in ["g.yaml", "t"] {
            assert!(found.contains(&path(entry, Role::Plugin)), "{entry}");
        }
        assert!(found.iter().any(|entry| matches!(entry, Entry::Inline(_))));
        let found = of(named, Role::Plugin).unwrap();
        assert!(found.contains(&path("a.yaml", Role::Plugin)));
        assert!(found.contains(&path("p.yaml", Role::Input)));
    }

    #[test]
    fn two_spellings_of_what_names_something_are_refused() {
        for named in [
            json!({"Resources": [], "resources": []}),
            json!({"resources": [], "re\u{17f}ources": []}),
            json!({"HELMCharts": [], "helmCharts": []}),
            json!({"configMapGenerator": [{"files": [], "Files": []}]}),
            json!({"patches": [{"path": "a", "PATH": "b"}]}),
        ] {
            let error = of(named.clone(), Role::Input).unwrap_err();
            assert!(error.contains("two spellings"), "{named}: {error}");
        }
        let labels = json!({"commonLabels": {"app": "a", "App": "b"}});
        assert_eq!(of(labels, Role::Input), Ok(Vec::new()));
    }

    #[test]
    fn a_plugin_reads_nothing_from_elsewhere() {
        let plugin = |value: Value| {
            let value = folded("g.yaml", value).unwrap();
            plugin_entries("g.yaml", &value).map_err(|error| error.to_string())
        };
        let read = plugin(json!({"kind": "PatchTransformer", "path": "../p.yaml"})).unwrap();
        assert_eq!(read, [Entry::Path("../p.yaml".to_owned(), Role::Input)]);
        for elsewhere in [
            json!({"kind": "ConfigMapGenerator", "files": ["k=https://example.com/x"]}),
            json!({"kind": "SecretGenerator", "envs": ["https://example.com/x"]}),
            json!({"kind": "SecretGenerator", "Env": "https://example.com/x"}),
            json!({"kind": "PatchTransformer", "path": "https://example.com/x"}),
            json!({"kind": "PatchStrategicMergeTransformer", "paths": ["https://example.com/x"]}),
            json!({"kind": "ReplacementTransformer", "replacements": [{"path": "git::https://h/r"}]}),
        ] {
            let error = plugin(elsewhere.clone()).unwrap_err();
            assert!(error.contains("remote base"), "{elsewhere}: {error}");
        }
        let chart = json!({"kind": "HelmChartInflationGenerator", "name": "x"});
        assert!(plugin(chart).unwrap_err().contains("not supported"));
    }
}
