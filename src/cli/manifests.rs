//! Manifests from a file or standard input, with the caps of the agent.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::object::{Object, YamlLimits, parse_manifests};

/// Reads `-`, standard input, or a file; the objects of a `List` one by one.
pub(super) fn read(path: &Path) -> Result<Vec<Object>> {
    let limits = YamlLimits::default();
    let most = u64::try_from(limits.bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let text = text(path, most)?;
    let objects = parse_manifests(&text, limits)
        .with_context(|| format!("{} holds no manifests", path.display()))?;
    Ok(objects.into_iter().flat_map(members).collect())
}

/// The text of a file, or of standard input for `-`: so many bytes of it at most.
pub(super) fn text(path: &Path, most: u64) -> Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        let mut stdin = std::io::stdin().take(most);
        stdin
            .read_to_string(&mut text)
            .context("could not read standard input")?;
    } else {
        let reading = || format!("could not read {}", path.display());
        let mut file = File::open(path).with_context(reading)?.take(most);
        file.read_to_string(&mut text).with_context(reading)?;
    }
    Ok(text)
}

/// The objects of a list, or the object itself.
fn members(object: Object) -> Vec<Object> {
    let is_list = object.kind().ends_with("List");
    match object.get("/items").and_then(Value::as_array) {
        Some(items) if is_list => items
            .iter()
            .filter_map(|item| Object::new(item.clone()).ok())
            .collect(),
        _ => vec![object],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n---\n\
                    {apiVersion: v1, kind: Secret, metadata: {name: c}}\n";
        std::fs::write(&file, text).unwrap();
        let names: Vec<_> = read(&file)
            .unwrap()
            .iter()
            .map(|it| it.name().to_owned())
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        std::fs::write(&file, "a: [").unwrap();
        assert!(
            read(&file)
                .unwrap_err()
                .to_string()
                .contains("holds no manifests")
        );
        read(&directory.path().join("none")).unwrap_err();
    }
}
