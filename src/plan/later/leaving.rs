//! Whether a refusal comes from what leaves the source with the same commit: then that is deleted
//! first, where it may be deleted at all.

use serde_json::Value;

use super::{has_webhook, is, serves, text};
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
        By::Policy => decides(refusal, leaving) || has_its_like(refusal, key, leaving),
        By::Unreachable => {
            has_webhook(refusal, leaving)
                || is(leaving, "apiregistration.k8s.io", "APIService")
                    && serves(leaving, &key.group, &key.kind)
        }
        By::Admission if refusal.says("marked as default") => {
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

/// What the refusal of a webhook says of another object of the same kind: an Ingress that has the
/// host, for instance. A policy has one text for all objects, whatever that names.
fn has_its_like(refusal: &Refusal, key: &ResourceKey, leaving: &Object) -> bool {
    let name = leaving.name();
    let namespace = leaving.namespace().unwrap_or_default();
    refusal.says("admission webhook \"")
        && leaving.kind() == key.kind
        && leaving.group() == key.group
        && (refusal.names(&format!("{namespace}/{name}"))
            || refusal.says(&format!("\"{name}\""))
            || refusal.says(&format!("'{name}'")))
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
            let same = kind == key.kind && leaving.group() == key.group;
            same && refusal.says("exceeded quota: ") && uses(refusal, leaving)
        }
    }
}

/// Whether an object of a kind uses what is exceeded: of Services only some have ports of the nodes.
fn uses(refusal: &Refusal, leaving: &Object) -> bool {
    let type_ = text(leaving, "/spec/type");
    let only = |resource: &str| {
        let mut requested = requested(refusal).peekable();
        requested.peek().is_some() && requested.all(|(name, _)| name == resource)
    };
    match () {
        () if only("services.nodeports") => matches!(type_, "NodePort" | "LoadBalancer"),
        () if only("services.loadbalancers") => type_ == "LoadBalancer",
        () => true,
    }
}

/// What is asked of a quota that does not have it: `pods` and `1`.
fn requested(refusal: &Refusal) -> impl Iterator<Item = (&str, &str)> {
    list(refusal, "requested: ")
}

fn list<'a>(refusal: &'a Refusal, word: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let text = refusal.after(word);
    let pairs = text.split(", ").next().unwrap_or_default().split(',');
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

/// How many objects are to go until a quota has room; none where it does not count objects.
fn needed(refusal: &Refusal) -> Option<usize> {
    let number = |word: &str, resource: &str| -> Option<usize> {
        let (_, value) = list(refusal, word).find(|(name, _)| *name == resource)?;
        value.parse().ok()
    };
    let missing = requested(refusal).map(|(resource, requested)| {
        let wanted = requested.parse::<usize>().ok()? + number("used: ", resource)?;
        Some(wanted.saturating_sub(number("limited: ", resource)?))
    });
    missing.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Those of what stands in the way that are to go: no more than a full quota needs, and none where all
/// of them are not enough.
pub(crate) fn enough<'a>(refusal: &Refusal, found: Vec<&'a Object>) -> Vec<&'a Object> {
    if !refusal.says("exceeded quota: ") || refusal.by() != By::Admission {
        return found;
    }
    let (quotas, mut users): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|object| object.kind() == "ResourceQuota");
    if !quotas.is_empty() {
        return quotas;
    }
    match needed(refusal) {
        Some(needed) if needed > users.len() => Vec::new(),
        Some(needed) => {
            users.truncate(needed);
            users
        }
        None => users,
    }
}

/// A Service as it is asked about before another one goes for it: without the ports and addresses
/// that the other one has. What else is wrong with it shows, while nothing is deleted yet.
pub(crate) fn without(service: &Object, leaving: &[Object]) -> Object {
    let mut service = service.clone();
    let taken: Vec<_> = leaving.iter().flat_map(values).collect();
    let Some(Value::Object(spec)) = service.fields_mut().get_mut("spec") else {
        return service;
    };
    let is_taken = |value: &Value| match value {
        Value::Number(number) => taken.contains(&number.to_string()),
        Value::String(text) => taken.contains(text),
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .any(|one| taken.iter().any(|it| it == one)),
        _ => false,
    };
    spec.retain(|field, value| {
        let chosen = ["healthCheckNodePort", "clusterIP", "clusterIPs"].contains(&field.as_str());
        !(chosen && is_taken(value))
    });
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut()
            && port.get("nodePort").is_some_and(is_taken)
        {
            port.remove("nodePort");
        }
    }
    service
}

/// The ports of the nodes and the addresses that a Service has.
fn values(service: &Object) -> Vec<String> {
    let ports = service.get("/spec/ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain(service.get("/spec/healthCheckNodePort"));
    let addresses = service.get("/spec/clusterIPs").and_then(Value::as_array);
    let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
    let address = text(service, "/spec/clusterIP");
    let addresses = addresses.chain([address]);
    let addresses = addresses.filter(|address| !matches!(*address, "None" | ""));
    let ports = ports.filter_map(Value::as_i64).map(|port| port.to_string());
    ports.chain(addresses.map(str::to_owned)).collect()
}

/// Whether a Service has the port or the address that is taken.
fn holds(refusal: &Refusal, service: &Object) -> bool {
    refusal.says("already allocated") && values(service).iter().any(|value| refusal.names(value))
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
        let default = "priorityclasses.scheduling.k8s.io \"web\" is forbidden: PriorityClass old is \
                       already marked as default. Only one default can exist";
        let named = "configmaps \"web\" is forbidden: ValidatingAdmissionPolicy 'house' with binding \
                     'all' denied request: use ConfigMap shop/old instead";
        let health = "failed to allocate requested HealthCheck NodePort 31111: provided port is already \
                      allocated";
        let ports = "services \"web\" is forbidden: exceeded quota: few, requested: \
                     services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
        let node = |port: i64| json!({"spec": {"ports": [{"nodePort": port}]}});
        let typed = |type_: &str| json!({"spec": {"type": type_}});
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
            (
                "Service",
                500,
                health,
                service(&json!({"spec": {"healthCheckNodePort": 31111}})),
                true,
            ),
            ("Service", 403, ports, service(&typed("NodePort")), true),
            ("Service", 403, ports, service(&typed("ClusterIP")), false),
            ("ConfigMap", 422, named, plain("ConfigMap", "old"), false),
            ("Ingress", 400, webhook, plain("Service", "old"), false),
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

    #[test]
    fn no_more_go_than_a_quota_needs() {
        let objects: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|name| plain("ConfigMap", name))
            .collect();
        let all = || objects.iter().collect::<Vec<_>>();
        let few = |requested, used, limited| {
            let text = format!(
                "configmaps \"web\" is forbidden: exceeded quota: few, requested: {requested}, used: \
                 {used}, limited: {limited}"
            );
            Refusal::new(403, &text, [])
        };
        for (refusal, expected) in [
            (few("configmaps=1", "configmaps=3", "configmaps=3"), 1),
            (few("configmaps=1", "configmaps=4", "configmaps=3"), 2),
            // All of them would not do.
            (few("configmaps=1", "configmaps=9", "configmaps=3"), 0),
            (few("pods=1,cpu=1", "pods=2,cpu=1", "pods=2,cpu=2"), 1),
            (few("pods=1,cpu=500m", "pods=2,cpu=1", "pods=2,cpu=1"), 3),
            (Refusal::new(422, "already allocated", []), 3),
        ] {
            assert_eq!(
                enough(&refusal, all()).len(),
                expected,
                "{}",
                refusal.text()
            );
        }
        let quota = plain("ResourceQuota", "few");
        let found = objects.iter().chain([&quota]).collect();
        let chosen = enough(&few("configmaps=1", "configmaps=3", "configmaps=3"), found);
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].kind(), "ResourceQuota");
    }

    #[test]
    fn a_service_is_asked_about_without_what_another_has() {
        let spec = json!({"spec": {
            "clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50"], "healthCheckNodePort": 31111,
            "ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}],
        }});
        let service = object("Service", "web", "shop", &spec);
        let mut old = spec.clone();
        old["spec"]["ports"][1]["nodePort"] = 30082.into();
        let asked = without(&service, &[object("Service", "old", "shop", &old)]);
        assert_eq!(
            asked.get("/spec"),
            Some(&json!({"ports": [{"port": 80}, {"port": 81, "nodePort": 30081}]}))
        );
        assert_eq!(without(&service, &[]).get("/spec"), service.get("/spec"));
    }
}
