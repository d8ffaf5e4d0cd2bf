//! Whether a refusal comes from what leaves the source with the same commit: then that is deleted
//! first, where it may be deleted at all.

use serde_json::Value;

use super::{has_webhook, is, is_named, serves, text};
use crate::diff::{By, Refusal};
use crate::object::{Object, ResourceKey};

/// What may hold other things or data is never deleted early; it decides about no other object.
const HOLDS_OTHERS: [&str; 2] = ["Namespace", "CustomResourceDefinition"];

/// Whether an object that is no longer desired stands in the way of another, as far as the refusal
/// of that one says. A Service and a webhook configuration are judged by what is live of them, all
/// others by their kind and name alone.
pub(crate) fn stands_in_the_way(refusal: &Refusal, key: &ResourceKey, leaving: &Object) -> bool {
    let here = leaving.namespace() == Some(key.namespace.as_str());
    if HOLDS_OTHERS.contains(&leaving.kind()) || leaving.key() == *key {
        return false;
    }
    match refusal.by() {
        By::Policy => decides(refusal, leaving) || is_named(refusal, key, leaving),
        By::Unreachable => {
            has_webhook(refusal, leaving)
                || is(leaving, "apiregistration.k8s.io", "APIService")
                    && serves(leaving, &key.group, &key.kind)
        }
        By::Admission if refusal.says("already been marked as default") => {
            is(leaving, "scheduling.k8s.io", "PriorityClass") && refusal.names(leaving.name())
        }
        By::Admission => here && limits(refusal, key, leaving),
        By::Validation => {
            key.kind == "Service" && is(leaving, "", "Service") && holds(refusal, leaving)
        }
        By::Authoriser | By::Missing | By::Ownership | By::Other => false,
    }
}

/// Whether it takes what is live of an object to judge it.
pub(crate) fn is_judged_by_content(key: &ResourceKey) -> bool {
    key.kind == "Service" || key.kind.ends_with("WebhookConfiguration") || key.kind == "APIService"
}

/// The policy, binding or webhook that said no.
fn decides(refusal: &Refusal, leaving: &Object) -> bool {
    let name = leaving.name();
    match leaving.kind() {
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            refusal.says(&format!("AdmissionPolicy '{name}'"))
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            refusal.says(&format!("binding '{name}'"))
        }
        _ => has_webhook(refusal, leaving),
    }
}

/// The quota that is exceeded or the limits that are not kept, and what uses up that quota.
fn limits(refusal: &Refusal, key: &ResourceKey, leaving: &Object) -> bool {
    let quota = refusal.says("exceeded quota: ") || refusal.says("failed quota: ");
    match leaving.kind() {
        "ResourceQuota" => quota && refusal.names(leaving.name()),
        "LimitRange" => ["usage per ", "limit to request ratio"]
            .iter()
            .any(|words| refusal.says(words)),
        kind => {
            refusal.says("exceeded quota: ") && kind == key.kind && leaving.group() == key.group
        }
    }
}

/// Whether a Service has the port or the address that is taken.
fn holds(refusal: &Refusal, service: &Object) -> bool {
    let ports = service.get("/spec/ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain(service.get("/spec/healthCheckNodePort"));
    let addresses = service.get("/spec/clusterIPs").and_then(Value::as_array);
    let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
    let address = text(service, "/spec/clusterIP");
    let named = |value: &str| value != "None" && refusal.names(value);
    let taken = ports
        .filter_map(Value::as_i64)
        .any(|port| named(&port.to_string()))
        || addresses.chain([address]).any(named);
    refusal.says("already allocated") && taken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, namespace: &str, more: &Value) -> Object {
        let group = match kind {
            "PriorityClass" => "scheduling.k8s.io/v1",
            "Ingress" => "networking.k8s.io/v1",
            "APIService" => "apiregistration.k8s.io/v1",
            kind if kind.contains("Admission") || kind.contains("Webhook") => {
                "admissionregistration.k8s.io/v1"
            }
            _ => "v1",
        };
        let mut value = json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}});
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = namespace.into();
        }
        for (field, below) in more.as_object().into_iter().flatten() {
            value[field] = below.clone();
        }
        Object::new(value).unwrap()
    }

    fn plain(kind: &str, name: &str) -> Object {
        object(kind, name, "shop", &json!({}))
    }

    fn wide(kind: &str, name: &str) -> Object {
        object(kind, name, "", &json!({}))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_leaves_may_be_what_refuses() {
        let port = "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: \
                    provided port is already allocated";
        let address = "Service \"web\" is invalid: spec.clusterIPs: Invalid value: \
                       []string{\"10.96.0.50\"}: failed to allocate IP 10.96.0.50: provided IP is \
                       already allocated";
        let wrong = "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: \
                     provided port is not in the valid range";
        let policy = "configmaps \"web\" is forbidden: ValidatingAdmissionPolicy 'house' with \
                      binding 'all' denied request: no";
        let webhook = "admission webhook \"w.a.io\" denied the request: host \"a.b\" and path \"/\" \
                       is already defined in ingress shop/old";
        let silent = "Internal error occurred: failed calling webhook \"w.a.io\": failed to call";
        let quota = "configmaps \"web\" is forbidden: exceeded quota: few, requested: \
                     count/configmaps=1, used: count/configmaps=9, limited: count/configmaps=9";
        let unset = "pods \"web\" is forbidden: failed quota: few: must specify limits.cpu";
        let limit = "pods \"web\" is forbidden: maximum cpu usage per Container is 1";
        let default = "priorityclasses.scheduling.k8s.io \"web\" is forbidden: PriorityClass old has \
                       already been marked as default. Only one default can exist";
        let node = |port: i64| json!({"spec": {"ports": [{"nodePort": port}]}});
        let service = |more: &Value| object("Service", "old", "shop", more);
        let hooks = json!({"webhooks": [{"name": "w.a.io"}]});
        let hook = object("ValidatingWebhookConfiguration", "any", "", &hooks);
        let other = json!({"webhooks": [{"name": "v.a.io"}]});
        let other = object("ValidatingWebhookConfiguration", "any", "", &other);
        let served = json!({"spec": {"group": "a.io"}});
        let served = object("APIService", "v1.a.io", "", &served);
        let down = "the server is currently unable to handle the request";
        let there = json!({"spec": {"clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50"]}});
        let headless = json!({"spec": {"clusterIP": "None"}});
        for (kind, code, text, leaving, expected) in [
            ("Service", 422, port, service(&node(30080)), true),
            ("Service", 422, port, service(&node(30081)), false),
            ("Service", 422, wrong, service(&node(30080)), false),
            ("Service", 422, address, service(&there), true),
            ("Service", 422, address, service(&headless), false),
            ("Service", 422, port, plain("ConfigMap", "old"), false),
            // Its own object is changed, not deleted.
            ("Service", 422, port, plain("Service", "web"), false),
            (
                "ConfigMap",
                422,
                policy,
                wide("ValidatingAdmissionPolicy", "house"),
                true,
            ),
            (
                "ConfigMap",
                422,
                policy,
                wide("ValidatingAdmissionPolicyBinding", "all"),
                true,
            ),
            (
                "ConfigMap",
                422,
                policy,
                wide("ValidatingAdmissionPolicy", "home"),
                false,
            ),
            ("Ingress", 400, webhook, plain("Ingress", "old"), true),
            ("Ingress", 400, webhook, plain("Ingress", "new"), false),
            ("Ingress", 400, webhook, hook.clone(), true),
            ("Ingress", 400, webhook, other.clone(), false),
            ("ConfigMap", 500, silent, hook, true),
            ("ConfigMap", 500, silent, other, false),
            ("Ingress", 503, down, served.clone(), false),
            ("ConfigMap", 403, quota, plain("ResourceQuota", "few"), true),
            (
                "ConfigMap",
                403,
                quota,
                plain("ResourceQuota", "many"),
                false,
            ),
            (
                "ConfigMap",
                403,
                quota,
                object("ResourceQuota", "few", "other", &json!({})),
                false,
            ),
            ("ConfigMap", 403, quota, plain("ConfigMap", "old"), true),
            ("ConfigMap", 403, quota, plain("Secret", "old"), false),
            ("Pod", 403, unset, plain("ResourceQuota", "few"), true),
            ("Pod", 403, unset, plain("Pod", "old"), false),
            ("Pod", 403, limit, plain("LimitRange", "range"), true),
            ("Pod", 403, limit, plain("ResourceQuota", "few"), false),
            (
                "PriorityClass",
                403,
                default,
                wide("PriorityClass", "old"),
                true,
            ),
            (
                "PriorityClass",
                403,
                default,
                wide("PriorityClass", "older"),
                false,
            ),
            // What holds other things is never taken for the reason.
            ("Ingress", 400, webhook, wide("Namespace", "shop"), false),
            (
                "ConfigMap",
                409,
                "conflict",
                plain("ConfigMap", "old"),
                false,
            ),
        ] {
            let refusal = Refusal::new(code, text, []);
            let key = plain(kind, "web").key();
            let said = stands_in_the_way(&refusal, &key, &leaving);
            assert_eq!(said, expected, "{text}: {}", leaving.key());
        }
        let refusal = Refusal::new(503, down, []);
        let key = ResourceKey {
            group: "a.io".into(),
            ..plain("Backup", "web").key()
        };
        assert!(stands_in_the_way(&refusal, &key, &served));
    }
}
