//! What the API server says about a Secret, without what it quotes: the key and the kind of fault.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use kube::core::Status;
use serde_json::Value;

use crate::object::Object;

/// Faults that the API server, the client's own schema and admission know, as they are worded.
const FAULTS: [&str; 29] = [
    "failed to create typed patch object",
    "illegal base64 data",
    "field not declared in schema",
    "duplicate entries for key",
    "expected string, got",
    "expected map, got",
    "expected boolean, got",
    "cannot unmarshal number",
    "cannot unmarshal bool",
    "cannot unmarshal object",
    "cannot unmarshal array",
    "cannot unmarshal string",
    "unknown field",
    "field is immutable",
    "immutable",
    "may not be changed",
    "Forbidden: updates to",
    "a valid config key must consist of alphanumeric characters",
    "must be no more than",
    "Too long",
    "Invalid value",
    "Required value",
    "Unsupported value",
    "Duplicate value",
    "request is too large",
    "exceeded quota",
    "is being terminated",
    "denied the request",
    "denied request",
];

/// Before these names of policies and webhooks stand, in quotes.
const DENIERS: [&str; 2] = ["admission webhook ", "ValidatingAdmissionPolicy "];

/// What can be said of an answer about a Secret.
pub(super) fn without_values(status: &Status) -> String {
    let message = status.message.as_str();
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut fields: Vec<&str> = causes
        .map(|cause| cause.field.as_str())
        .filter(|field| !field.is_empty())
        .chain(path(message))
        .collect();
    fields.dedup();
    let mut faults: Vec<String> = Vec::new();
    for fault in FAULTS {
        // A longer wording says what a shorter one says.
        let is_new = !faults.iter().any(|known| known.contains(fault));
        if is_new && message.contains(fault) {
            faults.push(fault.trim_end_matches(", got").to_owned());
        }
    }
    faults.extend(DENIERS.iter().filter_map(|denier| {
        let (_, rest) = message.split_once(denier)?;
        let name = rest.get(1..)?.split(['"', '\'']).next()?;
        let is_name = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        is_name.then(|| format!("by {}{name}", denier.to_lowercase()))
    }));
    let faults = match faults.is_empty() {
        true => "the rest of the answer may quote the Secret and is left out".to_owned(),
        false => faults.join(", "),
    };
    match fields.is_empty() {
        true => faults,
        false => format!("{}: {faults}", fields.join(", ")),
    }
}

/// Keys of one object that are named.
const MOST_KEYS: usize = 10;

/// The paths of the values of a manifest that should be base64 and are not.
pub(super) fn without_base64(manifest: &Object) -> Vec<String> {
    // The API server takes any rest of bits.
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let reader = GeneralPurpose::new(&STANDARD, lenient);
    let is_base64 = |value: &Value| {
        value.as_str().is_none_or(|text| {
            let text: String = text.chars().filter(|c| !"\r\n".contains(*c)).collect();
            reader.decode(text).is_ok()
        })
    };
    // What is no name of a key may be a value in its place.
    let is_name = |name: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        name.len() <= 253 && name.chars().all(known)
    };
    let field = match (manifest.group(), manifest.kind()) {
        ("", "Secret") => "data",
        ("", "ConfigMap") => "binaryData",
        _ => return Vec::new(),
    };
    let values = manifest.fields().get(field).and_then(Value::as_object);
    let wrong = values
        .into_iter()
        .flatten()
        .filter(|(_, value)| !is_base64(value))
        .map(|(name, _)| match is_name(name) {
            true => format!("{field}.{name}"),
            false => format!("a key of {field} that is no name"),
        });
    let mut wrong: Vec<_> = wrong.collect();
    let more = wrong.len().saturating_sub(MOST_KEYS);
    wrong.truncate(MOST_KEYS);
    if more > 0 {
        wrong.push(format!("{more} more keys"));
    }
    wrong
}

/// The path of the field that a refusal of an apply begins with, such as `.data.password`.
fn path(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("): ")?;
    let end = rest.find(": ")?;
    let path = rest.get(..end).filter(|path| path.starts_with('.'))?;
    let is_path = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/[]\"".contains(c));
    is_path.then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_base64_is_named_by_its_key() {
        let data = || {
            json!({
                "good": "aGk=", "lines": "aGk=\n", "bits": "aGl=", "empty": "", "number": 1,
                "password": "hunter2!", "short": "aGk", "hunter 2": "hunter2!",
            })
        };
        for (kind, field, expected) in [
            (
                "Secret",
                "data",
                vec![
                    "a key of data that is no name",
                    "data.password",
                    "data.short",
                ],
            ),
            (
                "ConfigMap",
                "binaryData",
                vec![
                    "a key of binaryData that is no name",
                    "binaryData.password",
                    "binaryData.short",
                ],
            ),
            ("ConfigMap", "data", vec![]),
        ] {
            let mut manifest = json!({"apiVersion": "v1", "kind": kind});
            manifest[field] = data();
            let mut found = without_base64(&Object::new(manifest).unwrap());
            found.sort_unstable();
            assert_eq!(found, expected);
        }
        let many: serde_json::Map<_, _> = (0..12).map(|n| (format!("k{n}"), json!("-"))).collect();
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "data": many});
        let found = without_base64(&Object::new(manifest).unwrap());
        assert_eq!((found.len(), found[10].as_str()), (11, "2 more keys"));
    }

    #[test]
    fn key_and_fault_stay_and_values_go() {
        let typed = "failed to create typed patch object (a/b; /v1, Kind=Secret): ";
        for (message, field, expected) in [
            (
                format!("{typed}.data.password: expected string, got &value.valueUnstructured{{Value:hunter2}}"),
                "",
                ".data.password: failed to create typed patch object, expected string",
            ),
            (
                format!("{typed}.hunter: field not declared in schema"),
                "",
                ".hunter: failed to create typed patch object, field not declared in schema",
            ),
            (
                "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 7: hunter2".to_owned(),
                "",
                "illegal base64 data",
            ),
            (
                "Secret \"b\" is invalid: data[hunter2 x]: Invalid value: \"hunter2 x\": a valid config key must consist of alphanumeric characters, '-', '_' or '.'".to_owned(),
                "data[key]",
                "data[key]: a valid config key must consist of alphanumeric characters, Invalid value",
            ),
            (
                "Secret \"b\" is invalid: data: Forbidden: field is immutable when `immutable` is set".to_owned(),
                "data",
                "data: field is immutable",
            ),
            (
                "admission webhook \"check.example.com\" denied the request: hunter2 is weak".to_owned(),
                "",
                "denied the request, by admission webhook check.example.com",
            ),
            (
                "hunter2".to_owned(),
                "",
                "the rest of the answer may quote the Secret and is left out",
            ),
        ] {
            let causes = match field {
                "" => json!([]),
                field => json!([{"field": field, "message": "hunter2", "reason": ""}]),
            };
            let status = json!({"code": 422, "message": message, "details": {"causes": causes}});
            let status: Status = serde_json::from_value(status).unwrap();
            let text = without_values(&status);
            assert_eq!(text, expected);
            assert!(!text.contains("hunter2"));
        }
    }
}
