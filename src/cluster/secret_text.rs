//! What the API server says about a Secret, without what it quotes: the key and the kind of fault.

use kube::core::Status;

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
