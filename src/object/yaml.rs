//! YAML into manifests: the only file that names the YAML crate.

use serde_json::{Map, Number, Value};
use serde_yaml::Error as CrateError;

use super::{NotAnObject, Object};

/// Caps on what is taken as manifests of one application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct YamlLimits {
    /// Bytes of one text.
    pub(crate) bytes: usize,
    /// Objects of one text, after Lists are opened.
    pub(crate) objects: usize,
}

impl Default for YamlLimits {
    /// 64 MiB as for a child's output, and 10,000 objects.
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            objects: 10_000,
        }
    }
}

/// Why a text is no list of manifests. Never quotes the text: it may hold a Secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("{size} bytes of YAML where at most {limit} are taken")]
    TooLarge { size: usize, limit: usize },
    #[error("more than {limit} objects")]
    TooMany { limit: usize },
    #[error("document {document} does not parse: {message}")]
    Syntax { document: usize, message: String },
    #[error("document {document}: {source}")]
    NotAnObject {
        document: usize,
        source: NotAnObject,
    },
}

/// Reads every document of a text, skips empty ones and opens Lists one level deep.
///
/// Scalars resolve as in kubectl (YAML 1.1: `yes` is true, `0644` is octal), duplicate keys and
/// alias bombs are errors.
pub(crate) fn parse_manifests(text: &str, limits: YamlLimits) -> Result<Vec<Object>, YamlError> {
    if text.len() > limits.bytes {
        return Err(YamlError::TooLarge {
            size: text.len(),
            limit: limits.bytes,
        });
    }
    let mut objects = Vec::new();
    let mut bytes = text.as_bytes();
    let documents = serde_yaml::read_with_options::<_, Value>(&mut bytes, options());
    for (document, value) in (1..).zip(documents) {
        let value = value.map_err(|error| syntax(document, &error))?;
        let value = integers(value);
        if value.is_null() {
            continue;
        }
        let not_an_object = |source| YamlError::NotAnObject { document, source };
        match list_items(value) {
            Ok(items) => {
                for item in items {
                    objects.push(Object::new(item).map_err(not_an_object)?);
                }
            }
            Err(value) => objects.push(Object::new(value).map_err(not_an_object)?),
        }
        if objects.len() > limits.objects {
            return Err(YamlError::TooMany {
                limit: limits.objects,
            });
        }
    }
    Ok(objects)
}

/// Reads a text of exactly one document, such as a settings or values file.
pub(crate) fn parse_document(text: &str) -> Result<Value, YamlError> {
    serde_yaml::from_str_with_options(text, options())
        .map(integers)
        .map_err(|error| syntax(1, &error))
}

/// Writes a value as YAML.
pub(crate) fn to_yaml(value: &impl serde::Serialize) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(|error| YamlError::Syntax {
        document: 1,
        message: error.to_string(),
    })
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        legacy_octal_numbers: true,
        strict_booleans: false,
        // Snippets would print Secret data into conditions and logs.
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_nodes: 2_000_000,
            max_events: 5_000_000,
            max_documents: 20_000,
        },
    }
}

/// The parser's first line, which says what and where; the rest may quote the text.
fn syntax(document: usize, error: &CrateError) -> YamlError {
    let message = error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    YamlError::Syntax { document, message }
}

/// The items of a `List` (any kind of it with `items`), or the value back.
fn list_items(value: Value) -> Result<Vec<Value>, Value> {
    let is_list = value["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"))
        && value["items"].is_array();
    match value {
        Value::Object(mut map) if is_list => match map.remove("items") {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        },
        value => Err(value),
    }
}

/// Integral floats below 2^53 become integers: `8.0` from `08` is `8` for kubectl as well.
fn integers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                #[expect(clippy::cast_possible_truncation, reason = "checked to be integral")]
                Value::Number(Number::from(float as i64))
            } else {
                Value::Number(number)
            }
        }
        Value::Array(items) => Value::Array(items.into_iter().map(integers).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(name, value)| (name, integers(value)))
                .collect::<Map<_, _>>(),
        ),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Object>, YamlError> {
        parse_manifests(text, YamlLimits::default())
    }

    fn data(text: &str) -> Value {
        let text = format!("apiVersion: v1\nkind: ConfigMap\ndata: {{a: {text}}}");
        parse(&text).unwrap()[0].get("/data/a").cloned().unwrap()
    }

    #[test]
    fn scalars_resolve_as_in_kubectl() {
        for (text, expected) in [
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("08", json!(8)),
            ("1.5", json!(1.5)),
            ("1.0", json!(1)),
            ("\"yes\"", json!("yes")),
            ("~", json!(null)),
        ] {
            assert_eq!(data(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_are_opened_and_empty_documents_skipped() {
        let text = "---\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: B}\n---\n\
                    {apiVersion: v1, kind: C}\n";
        let kinds: Vec<_> = parse(text)
            .unwrap()
            .iter()
            .map(|o| o.kind().to_owned())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn errors_say_where_and_quote_nothing() {
        for text in [
            "apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2\n bad",
            "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2, password: hunter2}",
            "apiVersion: v1\nkind: Secret\nstringData: [hunter2",
            "- hunter2",
            "hunter2",
            "kind: hunter2",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("document 1"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let items = [below.as_str(); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(matches!(parse(&text), Err(YamlError::Syntax { .. })));
    }

    #[test]
    fn caps_hold() {
        let limits = YamlLimits {
            bytes: 40,
            objects: 1,
        };
        let two = "{apiVersion: v, kind: A}\n---\n{apiVersion: v, kind: B}";
        assert!(matches!(
            parse_manifests(two, limits),
            Err(YamlError::TooLarge { .. })
        ));
        let limits = YamlLimits {
            bytes: 400,
            objects: 1,
        };
        assert!(matches!(
            parse_manifests(two, limits),
            Err(YamlError::TooMany { .. })
        ));
    }
}
