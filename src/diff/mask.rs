//! Secret values, masked: whether two are equal can be seen, what they are cannot.

use std::sync::OnceLock;

use hmac::{Hmac, Mac as _};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::object::Object;

/// What `kubectl apply` leaves behind: the whole manifest, as text.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object with every value of a Secret replaced by a mask. Equal values have equal masks for as
/// long as this process runs; the key of the masks never leaves it, so that nobody can try values.
pub(crate) fn masked(mut object: Object) -> Object {
    if object.kind() != "Secret" || !object.group().is_empty() {
        return object;
    }
    for field in ["data", "stringData"] {
        match object.fields_mut().get_mut(field) {
            Some(Value::Object(values)) => mask_all(values),
            Some(other) => *other = mask(other),
            None => {}
        }
    }
    let annotations = object.metadata_mut().get_mut("annotations");
    if let Some(text) = annotations.and_then(|map| map.get_mut(LAST_APPLIED)) {
        *text = mask(text);
    }
    object
}

fn mask_all(values: &mut Map<String, Value>) {
    for value in values.values_mut() {
        *value = mask(value);
    }
}

fn mask(value: &Value) -> Value {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        // Without a random key nothing of a value may show: then all masks are equal.
        let random = ring::rand::SystemRandom::new();
        let _ = ring::rand::SecureRandom::fill(&random, &mut key);
        key
    });
    let hidden = |mark: &str| Value::String(format!("(hidden{mark})"));
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key).map_err(drop) else {
        return hidden("");
    };
    if *key == [0; 32] {
        return hidden("");
    }
    mac.update(value.to_string().as_bytes());
    hidden(&format!(
        " {}",
        hex::encode(&mac.finalize().into_bytes()[..4])
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(data: Value) -> Object {
        let annotations = json!({LAST_APPLIED: "{\"data\":{\"a\":\"c2VjcmV0\"}}", "team": "shop"});
        Object::new(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "a", "annotations": annotations},
            "data": data, "stringData": {"plain": "secret"},
        }))
        .unwrap()
    }

    #[test]
    fn nothing_of_a_value_is_left() {
        let object = masked(secret(json!({"a": "c2VjcmV0"})));
        let text = serde_json::to_string(object.fields()).unwrap();
        assert!(
            !text.contains("c2VjcmV0") && !text.contains("\"secret\""),
            "{text}"
        );
        assert!(text.contains("Opaque") && text.contains("shop"), "{text}");
    }

    #[test]
    fn equal_values_have_equal_masks_and_others_do_not() {
        let data = |value: &str| masked(secret(json!({"a": value}))).fields()["data"].clone();
        assert_eq!(data("x"), data("x"));
        assert_ne!(data("x"), data("y"));
    }

    #[test]
    fn what_is_no_map_is_masked_as_a_whole() {
        let object = masked(secret(json!("c2VjcmV0")));
        assert!(
            object.fields()["data"]
                .as_str()
                .unwrap()
                .starts_with("(hidden")
        );
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let map = Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}));
        let map = map.unwrap();
        assert_eq!(masked(map.clone()), map);
    }
}
