//! Values as texts that kubectl, kustomize and helm read as those values.

use std::fmt;

use serde_json::Value;

use super::{YamlError, read_values};

/// JSON as every reader of YAML takes it for the same: YAML 1.1 knows more line ends than JSON,
/// and takes no control characters. What is written with [`to_flow_yaml`] has neither.
pub(crate) fn flow_yaml(json: String) -> String {
    // The first bytes of what may need it.
    let may_need = |byte| matches!(byte, 0x7f | 0xc2 | 0xe2 | 0xef);
    if !json.bytes().any(may_need) {
        return json;
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let is_unsafe = matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        );
        if is_unsafe || (c.is_control() && c != '\n') {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Writes a value as JSON that is YAML as well.
pub(crate) fn to_flow_yaml(value: &Value) -> String {
    flow_yaml(value.to_string())
}

/// Writes a value as YAML that kubectl, kustomize and helm read as that value: it is read back to
/// be sure, and written in a plainer style where the fine one has another meaning to them.
pub(crate) fn to_yaml(value: &impl serde::Serialize) -> Result<String, YamlError> {
    let failed = |error: &dyn fmt::Display| YamlError::Write(error.to_string());
    let json = serde_json::to_value(value).map_err(|error| failed(&error))?;
    let text = serde_yaml::to_string(value).map_err(|error| failed(&error))?;
    if says(&text, &json) {
        return Ok(text);
    }
    let quoted = serde_yaml::ser_options! {
        quote_all: true,
        prefer_block_scalars: false,
    };
    let text = serde_yaml::to_string_with_options(value, quoted).map_err(|error| failed(&error))?;
    match says(&text, &json) {
        true => Ok(text),
        false => Ok(format!("{}\n", to_flow_yaml(&json))),
    }
}

/// Whether a text is read as this value and nothing else.
fn says(text: &str, value: &Value) -> bool {
    match read_values(text).as_deref() {
        Ok([read]) => is_same(read, value),
        Ok([]) => value.is_null(),
        _ => false,
    }
}

/// Whether two values are the same, however their numbers are spelled.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| is_same(one, other)))
        }
        _ => one == other,
    }
}
