//! Which words of a staged source are no secrets: paths, keys, names, code of templates. Read only
//! when a tool failed, to say why without its values.

use std::collections::HashSet;
use std::{fs, path::Path};

use serde_json::Value;

use super::Request;
use crate::object::read_values;

/// Files of a source that are read for this, and bytes of each.
const MOST_FILES: usize = 2_000;
const MOST_BYTES: u64 = 1 << 20;
/// Texts that are remembered as secret.
const MOST_SECRETS: usize = 20_000;

/// Fields whose values name things.
const NAMES: [&str; 14] = [
    "apiVersion",
    "group",
    "kind",
    "name",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "path",
    "resources",
    "version",
    // References to other objects.
    "claimName",
    "secretName",
    "serviceAccountName",
    "serviceName",
];
/// Fields whose values are labels: as public as the names that they mostly repeat.
const LABELS: [&str; 4] = ["commonLabels", "labels", "matchLabels", "selector"];

/// Fields of a kustomization whose texts are paths of files or of fields, or lists of such.
const PATHS: [&str; 15] = [
    "bases",
    "components",
    "configurations",
    "crds",
    "env",
    "envs",
    "fieldPath",
    "fieldPaths",
    "files",
    "generators",
    "patchesStrategicMerge",
    "resources",
    "transformers",
    "validators",
    "valuesFile",
];
/// Fields of a kustomization whose texts can be manifests or parts of such.
const PATCHES: [&str; 2] = ["patch", "patchesStrategicMerge"];

/// What may be said of a source, and what may not.
#[derive(Debug, Default)]
pub(super) struct Public {
    /// Words that are no secrets.
    pub(super) words: HashSet<String>,
    /// Texts of several words that may be.
    pub(super) secrets: Vec<String>,
    /// What is read just now is a kustomization.
    pub(super) in_kustomization: bool,
}

impl Public {
    /// Reads a staged source.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut public = Self::default();
        public.learn(request.name);
        public.learn(request.namespace);
        public.learn(request.kube_version);
        public.learn(&request.source.path);
        if let Some(helm) = &request.source.helm {
            public.learn(&helm.release_name);
            public.learn(&helm.namespace);
            helm.value_files.iter().for_each(|file| public.learn(file));
            for parameter in &helm.parameters {
                public.learn(&parameter.name);
                public.hide(&parameter.value);
            }
            public.read_yaml(&helm.values);
            if let Some(values) = &helm.values_object {
                public.take(&serde_json::json!(values), false);
            }
        }
        let mut left = MOST_FILES;
        public.walk(request.stage, &mut left);
        public
            .secrets
            .sort_by_key(|text| std::cmp::Reverse(text.len()));
        public.secrets.dedup();
        public
    }

    fn learn(&mut self, text: &str) {
        self.words
            .extend(words(text).map(|(_, word)| word.to_owned()));
    }

    /// Remembers a text that may be secret, line by line as tools fold it. Single words need no
    /// remembering: they are masked unless they are known.
    fn hide(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let is_several = words(line).nth(1).is_some();
            if is_several && self.secrets.len() < MOST_SECRETS {
                self.secrets.push(line.to_owned());
            }
        }
    }

    fn walk(&mut self, directory: &Path, left: &mut usize) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            let Some(fewer) = left.checked_sub(1) else {
                return;
            };
            *left = fewer;
            self.learn(&entry.file_name().to_string_lossy());
            let path = entry.path();
            match entry.metadata() {
                Ok(kind) if kind.is_dir() => self.walk(&path, left),
                Ok(kind) if kind.is_file() && kind.len() <= MOST_BYTES => self.file(&path),
                _ => {}
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let Ok(text) = fs::read_to_string(path) else {
            return;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().and_then(|it| it.to_str());
        let is_template = text.contains("{{");
        match extension {
            _ if name.starts_with("Chart.") || name == "values.schema.json" => self.learn(&text),
            Some("yaml" | "yml" | "tpl" | "txt" | "json") if is_template => {
                self.read_template(&text);
            }
            Some("yaml" | "yml" | "json") => {
                self.in_kustomization = name.starts_with("kustomization.");
                self.read_yaml(&text);
            }
            _ if name == "Kustomization" => {
                self.in_kustomization = true;
                self.read_yaml(&text);
            }
            Some("env") => self.assignments(&text),
            _ => {}
        }
    }

    /// `name=value`, as in files of environments.
    fn assignments(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((_, value)) = line.split_once('=') {
                self.hide(value);
            }
        }
    }

    /// Keys are public, values are not, but those that name things.
    fn read_yaml(&mut self, text: &str) {
        match read_values(text) {
            Ok(values) => values.iter().for_each(|value| self.take(value, false)),
            Err(_) => self.keys_by_line(text),
        }
    }

    /// What the patches of a kustomization are about: not what they set.
    fn take_patches(&mut self, value: &Value) {
        let texts = match value {
            Value::Array(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        for text in texts.iter().filter_map(Value::as_str) {
            // What does not parse is read line by line.
            let values = read_values(text).unwrap_or_default();
            let manifests = values.iter().filter(|value| !value.is_string());
            manifests.for_each(|value| self.take(value, false));
        }
    }

    fn take(&mut self, value: &Value, is_name: bool) {
        match value {
            Value::String(text) if is_name && !text.contains('\n') => self.learn(text),
            Value::String(text) if text.contains('\n') => {
                self.hide(text);
                self.keys_by_line(text);
            }
            Value::String(text) => match text.split_once('=') {
                // A literal of a generator: what it is called is no secret.
                Some((name, value)) => {
                    if !name.contains(char::is_whitespace) {
                        self.learn(name);
                    }
                    self.hide(value);
                    self.hide(text);
                }
                None => self.hide(text),
            },
            Value::Array(items) => items.iter().for_each(|item| self.take(item, is_name)),
            Value::Object(map) => {
                for (key, value) in map {
                    self.learn(key);
                    let is_data = key == "data" || key == "stringData";
                    let key = key.as_str();
                    let is_name = NAMES.contains(&key)
                        || (self.in_kustomization && PATHS.contains(&key) && are_paths(value));
                    if self.in_kustomization && PATCHES.contains(&key) {
                        self.take_patches(value);
                    }
                    if LABELS.contains(&key)
                        && let Value::Object(labels) = value
                    {
                        for (label, value) in labels {
                            self.learn(label);
                            self.take(value, true);
                        }
                    } else if is_data && let Value::Object(data) = value {
                        for (key, value) in data {
                            self.learn(key);
                            self.take(value, false);
                        }
                    } else {
                        self.take(value, is_name);
                    }
                }
            }
            _ => {}
        }
    }

    /// The keys of a text that is no YAML, or not quite: what stands before a colon at the start
    /// of a line.
    fn keys_by_line(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim_start_matches([' ', '-', '\t']);
            let Some((key, rest)) = line.split_once(':') else {
                continue;
            };
            let is_key = key.len() <= 100
                && !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
            if is_key && (rest.is_empty() || rest.starts_with(' ')) {
                self.learn(key);
                if NAMES.contains(&key) {
                    self.learn(rest);
                } else {
                    self.hide(rest);
                }
            }
        }
    }

    /// The code of a template is public, and so are the texts that it fails with.
    fn read_template(&mut self, text: &str) {
        self.keys_by_line(text);
        for action in text.split("{{").skip(1) {
            let action = action.split("}}").next().unwrap_or_default();
            if action.contains("fail") || action.contains("required") {
                self.learn(action);
                continue;
            }
            // Every second part is between quotes.
            let mut parts = action.split(['"', '`']);
            while let Some(code) = parts.next() {
                self.learn(code);
                let quoted = parts.next().unwrap_or_default();
                let last = code.split([' ', '\t', '\n', '(', '-']);
                let last = last.rev().find(|word| !word.is_empty());
                if last.is_some_and(|word| NAMING.contains(&word)) {
                    self.learn(quoted);
                }
            }
        }
    }
}

/// What names of templates stand behind.
const NAMING: [&str; 4] = ["include", "define", "template", "block"];

/// Whether a field holds paths and nothing else.
fn are_paths(value: &Value) -> bool {
    match value {
        Value::String(text) => is_path(text),
        Value::Array(items) => items.iter().all(are_paths),
        _ => false,
    }
}

/// Whether a text is made as paths are: one that is no patch, and none that a value is likely to be.
fn is_path(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/=".contains(c);
    text.len() <= 200 && text.chars().all(known) && text.contains(['.', '/'])
}

/// The words of a text, and where each begins.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(is_word)?;
        let after = &rest[start..];
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let at = text.len() - after.len();
        rest = &after[end..];
        Some((at, &after[..end]))
    })
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
