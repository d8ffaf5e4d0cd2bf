//! Values that the API server keeps without a word when they leave the manifest, and that it would
//! never choose itself: only a new object is without them.

use serde_json::Value;

use super::overlay::all_owned;
use super::union::owns;
use crate::object::Object;

/// Group, kind, the steps to the field, and the value that is never a default.
const KEPT: [(&str, &str, [&str; 2], &str); 1] = [("", "Service", ["spec", "clusterIP"], "None")];

/// The field that an applied object still has though the manifest does not declare it and nobody
/// owns it; none for nearly every object.
pub(crate) fn kept(answer: &Object, manifest: &Object) -> Option<String> {
    let (.., steps, _) = KEPT.iter().find(|(group, kind, [above, name], value)| {
        let at = |object: &Object| object.get(&format!("/{above}/{name}")).cloned();
        let path = [format!("f:{above}"), format!("f:{name}")];
        answer.group() == *group
            && answer.kind() == *kind
            && at(answer).is_some_and(|live| live == *value)
            && at(manifest).is_none()
            && !owns(&Value::Object(all_owned(answer)), &path)
    })?;
    Some(steps.join("."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_stays_headless() {
        let service = |spec: Value, fields: Value| {
            let entries = json!([{"manager": "any", "fieldsV1": {"f:spec": fields}}]);
            Object::new(json!({
                "apiVersion": "v1", "kind": "Service", "spec": spec,
                "metadata": {"managedFields": entries},
            }))
            .unwrap()
        };
        let headless = || json!({"clusterIP": "None"});
        let plain = service(json!({"ports": []}), json!({}));
        let stays = service(headless(), json!({"f:ports": {}}));
        assert_eq!(kept(&stays, &plain).as_deref(), Some("spec.clusterIP"));
        // Declared, owned by somebody, or chosen by the API server.
        assert_eq!(kept(&stays, &stays), None);
        let owned = service(headless(), json!({"f:clusterIP": {}}));
        assert_eq!(kept(&owned, &plain), None);
        let chosen = service(json!({"clusterIP": "10.0.0.1"}), json!({}));
        assert_eq!(kept(&chosen, &plain), None);
    }
}
