//! Secret data and URL credentials masked before anything is shown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Object;

const MASK: char = '+';
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Masks the values of a Secret so that equal values stay equal and different ones stay
/// different within the given objects: the first value becomes 8 marks, each further one 4 more
/// (Argo CD does the same). The copy in the last-applied annotation is masked whole.
pub(crate) fn mask_secret(objects: &mut [&mut Object]) {
    let mut masks: BTreeMap<String, String> = BTreeMap::new();
    for object in objects.iter_mut() {
        if object.kind() != "Secret" || !object.group().is_empty() {
            continue;
        }
        for field in ["data", "stringData"] {
            if let Some(Value::Object(entries)) = object.fields_mut().get_mut(field) {
                for value in entries.values_mut() {
                    let next = MASK.to_string().repeat(8 + 4 * masks.len());
                    *value = masks
                        .entry(value.to_string())
                        .or_insert(next)
                        .clone()
                        .into();
                }
            }
        }
        if object.annotation(LAST_APPLIED).is_some() {
            object.set_annotation(LAST_APPLIED, &MASK.to_string().repeat(8));
        }
    }
}

/// A URL without user and password. Text that is no URL comes back as it is.
pub(crate) fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_stay_equal_and_none_is_shown() {
        let secret = |a: &str, b: &str| {
            Object::new(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"annotations": {LAST_APPLIED: "{\"a\":\"hunter2\"}"}},
                "data": {"a": a, "b": b},
            }))
            .unwrap()
        };
        let (mut desired, mut live) = (secret("hunter2", "x"), secret("hunter2", "y"));
        mask_secret(&mut [&mut desired, &mut live]);
        assert_eq!(desired.get("/data/a"), live.get("/data/a"));
        assert_ne!(desired.get("/data/b"), live.get("/data/b"));
        assert!(!serde_json::to_string(&desired).unwrap().contains("hunter2"));
    }

    #[test]
    fn other_kinds_keep_their_values() {
        let mut map =
            Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}))
                .unwrap();
        mask_secret(&mut [&mut map]);
        assert_eq!(map.get("/data/a"), Some(&json!("b")));
    }

    #[test]
    fn a_url_loses_user_and_password() {
        let check = |url, expected| assert_eq!(redact_url(url), expected);
        check("https://u:p@host/a@b", "https://host/a@b");
        check("https://u:p@q@host?x", "https://host?x");
        check("https://host/a", "https://host/a");
        check("not a url", "not a url");
    }
}
