//! What a desired object adds to the summary of its application: images and addresses, as in Argo CD,
//! but of what is desired, so that nothing of it is remembered for each live object.

use serde_json::Value;

use crate::crd::DeployedSummary;
use crate::object::Object;

/// Where the spec of a pod is.
const POD_SPECS: [&str; 3] = [
    "/spec/template/spec",
    "/spec/jobTemplate/spec/template/spec",
    "/spec",
];

/// Takes in the images and addresses of one object.
pub(super) fn summarize(summary: &mut DeployedSummary, object: &Object) {
    let pod = POD_SPECS.iter().find_map(|pointer| {
        let spec = object.get(pointer)?;
        spec.get("containers").map(|_| spec)
    });
    for field in ["containers", "initContainers"] {
        let containers = pod.and_then(|pod| pod.get(field)).and_then(Value::as_array);
        let images = containers
            .into_iter()
            .flatten()
            .filter_map(|it| it["image"].as_str());
        summary.images.extend(images.map(str::to_owned));
    }
    if object.kind() == "Ingress" && matches!(object.group(), "networking.k8s.io" | "extensions") {
        summary.external_urls.extend(addresses(object));
    }
}

/// The addresses of an Ingress whose rules name a host.
fn addresses(ingress: &Object) -> Vec<String> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let tls = list(ingress.get("/spec/tls"));
    let is_tls = |host: &str| {
        tls.iter().any(|entry| {
            let hosts = list(entry.get("hosts"));
            entry.get("secretName").is_some() || hosts.iter().any(|it| it == host)
        })
    };
    let mut addresses = Vec::new();
    for rule in list(ingress.get("/spec/rules")) {
        let Some(host) = rule["host"].as_str().filter(|host| !host.is_empty()) else {
            continue;
        };
        let scheme = if is_tls(host) { "https" } else { "http" };
        for path in list(rule.pointer("/http/paths")) {
            let path = path["path"].as_str().unwrap_or_default();
            let path = path.strip_suffix('*').unwrap_or(path);
            addresses.push(format!("{scheme}://{host}{path}"));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_and_addresses_are_found_once() {
        let pod = json!({"containers": [{"image": "web:1"}, {"image": "side:1"}],
            "initContainers": [{"image": "init:1"}]});
        let mut summary = DeployedSummary::default();
        for (kind, spec) in [
            ("Deployment", json!({"template": {"spec": pod}})),
            ("Pod", pod.clone()),
            (
                "CronJob",
                json!({"jobTemplate": {"spec": {"template": {"spec": {
                "containers": [{"image": "cron:1"}]}}}}}),
            ),
            ("ConfigMap", json!({"containers": "none"})),
            (
                "Ingress",
                json!({
                    "tls": [{"hosts": ["a.example"]}],
                    "rules": [
                        {"host": "a.example", "http": {"paths": [{"path": "/x*"}, {"path": "/"}]}},
                        {"host": "b.example", "http": {"paths": [{}]}},
                        {"http": {"paths": [{"path": "/"}]}},
                    ],
                }),
            ),
        ] {
            let group = match kind {
                "Ingress" => "networking.k8s.io/v1",
                _ => "v1",
            };
            let object =
                json!({"apiVersion": group, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
            summarize(&mut summary, &Object::new(object).unwrap());
        }
        let images: Vec<_> = summary.images.iter().map(String::as_str).collect();
        assert_eq!(images, ["cron:1", "init:1", "side:1", "web:1"]);
        let addresses: Vec<_> = summary.external_urls.iter().map(String::as_str).collect();
        assert_eq!(
            addresses,
            [
                "http://b.example",
                "https://a.example/",
                "https://a.example/x"
            ]
        );
    }
}
