//! What a renderer printed, read back.

use super::Error;
use crate::object::{Notes, Rendered, YamlError, YamlLimits, read_manifests};

/// The comment by which helm says which template a document comes from.
const SOURCE: &str = "# Source: ";

/// Reads what helm or kustomize printed for the source at `path`. Of several values of one key the
/// last counts, as for kubectl, and a note names the template and the object.
pub(super) fn read(text: &str, path: &str, limits: YamlLimits) -> Result<Rendered, Error> {
    let failed = |source: YamlError| Error::Yaml {
        path: template(text, source.line()).unwrap_or(path).to_owned(),
        source,
    };
    let documents = read_manifests(text, limits).map_err(failed)?;
    if let Some(other) = documents.other {
        return Err(failed(other.error));
    }
    let repeated = documents.repeated.into_iter().map(|mut key| {
        let template = template(text, key.line).unwrap_or(path);
        // The line is one of the output, which nobody sees.
        key.line = 0;
        format!("{template}: {key}")
    });
    Ok(Rendered {
        notes: Notes {
            repeated_keys: repeated.collect(),
            ..Notes::default()
        },
        objects: documents.objects,
    })
}

/// The template that a line of helm's output comes from.
fn template(text: &str, line: u64) -> Option<&str> {
    let line = usize::try_from(line).ok()?;
    // The comment comes before the content of its document, or is its first line.
    let before = text.lines().take(line);
    let last = before.filter_map(|line| line.strip_prefix(SOURCE)).last();
    last.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "---\n# Source: c/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\n\
        metadata: {name: first}\n---\n# Source: c/templates/b.yaml\napiVersion: v1\n\
        kind: ConfigMap\nmetadata:\n  name: second\n  labels:\n    x: a\n    x: b\n";

    #[test]
    fn a_repeated_key_is_named_with_template_and_object() {
        let rendered = read(OUTPUT, "chart", YamlLimits::default()).unwrap();
        assert_eq!(rendered.objects[1].label("x"), Some("b"));
        assert_eq!(
            rendered.notes.repeated_keys,
            ["c/templates/b.yaml: the key `x` is there twice in ConfigMap/second"]
        );
    }

    #[test]
    fn a_fault_is_named_with_its_template() {
        for (more, expected) in [
            (
                "---\n# Source: c/templates/c.yaml\na: [\n",
                "c/templates/c.yaml: document 3 does not",
            ),
            (
                "---\n# Source: c/templates/c.yaml\na: b\n",
                "c/templates/c.yaml: document 3: a manifest",
            ),
        ] {
            let error = read(&format!("{OUTPUT}{more}"), "chart", YamlLimits::default());
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = read("a: b", "overlay", YamlLimits::default()).unwrap_err();
        assert!(
            error.to_string().starts_with("overlay: document 1"),
            "{error}"
        );
    }
}
