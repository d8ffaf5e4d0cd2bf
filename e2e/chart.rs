//! The chart, rendered by the real helm and taken by the real API server.

use serde_json::Value;

use crate::given::story;

fn helm(tools: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/trimtab");
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(tools.join("helm"))
        .args([
            "template",
            "agent",
            chart,
            "--namespace",
            "trimtab",
            "--include-crds",
        ])
        .args(arguments)
        .env("HOME", home.path())
        .output()
        .unwrap();
    let text = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn every_variant_is_taken_by_the_api_server() {
    story(|lab| async move {
        let tools = &lab.control_plane.tools;
        for arguments in [
            vec![],
            vec![
                "--set",
                "rights=none",
                "--set",
                "applicationNamespaces={shop,trimtab}",
            ],
            vec![
                "--set",
                "hooksSecret=hooks,oidcSecret=oidc",
                "--set",
                "ingress.enabled=true",
                "--set",
                "ingress.host=hooks.example.com",
                "--set",
                "ingress.tlsSecret=tls",
            ],
            vec!["--set", &format!("image.digest=sha256:{}", "a".repeat(64))],
            vec![
                "--set",
                "destinationNamespaces={trimtab},people.namespaces={trimtab},people.live=true",
                "--set",
                "hostUsers=false,upgradeDefinition=false",
            ],
            vec![
                "--set",
                "networkPolicy.egress[0].ports[0].port=443,networkPolicy.operations=null",
                "--set",
                "networkPolicy.people[0].namespaceSelector.matchLabels.name=ingress",
            ],
            vec!["--set", "networkPolicy.enabled=false"],
            vec![
                "--set",
                "settings.receivers[0].name=github,settings.receivers[0].provider=github,settings.receivers[0].secretFiles={/a}",
            ],
        ] {
            let (rendered, text) = helm(tools, &arguments);
            assert!(rendered, "{text}");
            let file = lab.guardian.directory().join("chart.yaml");
            std::fs::write(&file, text.replace("namespace: shop", "namespace: trimtab"))?;
            let output = lab
                .control_plane
                .kubectl()
                .args([
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--dry-run=server",
                    "--validate=strict",
                    "-f",
                ])
                .arg(&file)
                .output()?;
            assert!(
                output.status.success(),
                "{arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    });
}

#[test]
fn wrong_values_are_refused() {
    story(|lab| async move {
        for wrong in [
            "replicas=2",
            "rights=all",
            "image.digest=latest",
            "settings.receivers[0].name=a",
            "hostUsers=perhaps",
            "networkPolicy.ingress=all",
            "people.namespaces=shop",
        ] {
            let (rendered, text) = helm(&lab.control_plane.tools, &["--set", wrong]);
            assert!(!rendered, "{wrong} was taken");
            assert!(text.contains("schema"), "{text}");
        }
        Ok(())
    });
}

#[test]
fn the_network_policy_says_who_reaches_the_pod_and_what_it_reaches() {
    let port = |name: &str| serde_json::json!({"protocol": "TCP", "port": name});
    story(|lab| async move {
        let everywhere = serde_json::json!([{"namespaceSelector": {}}]);
        let pages = "networkPolicy.people[0].namespaceSelector.matchLabels.name=ingress";
        let git = "networkPolicy.egress[0].ports[0].port=443";
        let chosen =
            serde_json::json!([{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]);
        for (arguments, people, egress) in [
            (vec![], Value::Null, Value::Null),
            (
                vec!["--set", pages, "--set", git],
                chosen,
                serde_json::json!([{"ports": [{"protocol": "TCP", "port": 443}]}]),
            ),
        ] {
            let mut all = vec!["--show-only", "templates/networkpolicy.yaml"];
            all.extend(arguments);
            let (rendered, text) = helm(&lab.control_plane.tools, &all);
            assert!(rendered, "{text}");
            let file = lab.guardian.directory().join("policy.yaml");
            std::fs::write(&file, text)?;
            let kubectl = |arguments: &[&str]| {
                let mut command = lab.control_plane.kubectl();
                command.args(arguments).arg(&file).output()
            };
            // As the API server understands it.
            let output = kubectl(&["create", "--dry-run=server", "-o", "json", "-f"])?;
            let policy: Value = serde_json::from_slice(&output.stdout)?;
            let spec = &policy["spec"];
            let mut rules = spec["ingress"].clone();
            let rules: Vec<_> = rules.as_array_mut().into_iter().flatten().collect();
            assert_eq!(rules.len(), 3, "{spec}");
            for (rule, (name, from)) in rules.into_iter().zip([
                ("webhooks", &Value::Null),
                ("people", &people),
                ("operations", &everywhere),
            ]) {
                assert_eq!(rule["ports"], Value::from(vec![port(name)]), "{rule}");
                assert_eq!(&rule["from"], from, "{rule}");
            }
            assert_eq!(spec["egress"], egress);
            let types: &[&str] = match egress {
                Value::Null => &["Ingress"],
                _ => &["Ingress", "Egress"],
            };
            assert_eq!(spec["policyTypes"], serde_json::json!(types));
            // It is about the pod, and the ports are the pod's.
            let (_, text) = helm(
                &lab.control_plane.tools,
                &["--show-only", "templates/deployment.yaml"],
            );
            std::fs::write(&file, text)?;
            let output = kubectl(&["create", "--dry-run=server", "-o", "json", "-f"])?;
            let deployment: Value = serde_json::from_slice(&output.stdout)?;
            let pod = &deployment["spec"]["template"];
            let selected = spec["podSelector"]["matchLabels"].as_object();
            let selected = selected.into_iter().flatten();
            assert!(selected.clone().count() > 0, "{spec}");
            for (label, value) in selected {
                assert_eq!(&pod["metadata"]["labels"][label], value);
            }
            let ports = pod["spec"]["containers"][0]["ports"].to_string();
            for name in ["webhooks", "people", "operations"] {
                assert!(ports.contains(&format!("\"{name}\"")), "{ports}");
            }
        }
        Ok(())
    });
}

#[test]
fn the_pod_is_restricted() {
    story(|lab| async move {
        let path = "/api/v1/namespaces/restricted";
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }});
        lab.control_plane
            .cluster
            .apply(path, "story", &namespace)
            .await?;
        let (_, text) = helm(&lab.control_plane.tools, &["--set", "hooksSecret=hooks"]);
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let deployment = documents
            .iter()
            .find(|text| text.contains("kind: Deployment"))
            .unwrap();
        let file = lab.guardian.directory().join("deployment.yaml");
        std::fs::write(
            &file,
            deployment.replace("namespace: trimtab", "namespace: restricted"),
        )?;
        let output = lab
            .control_plane
            .kubectl()
            .args(["create", "--dry-run=server", "-o", "json", "-f"])
            .arg(&file)
            .output()?;
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{warnings}");
        assert!(!warnings.contains("PodSecurity"), "{warnings}");
        let deployment: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(deployment["spec"]["replicas"], 1);
        let pod = &deployment["spec"]["template"]["spec"];
        let agent = &pod["containers"][0];
        assert_eq!(agent["startupProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(agent["resources"]["limits"]["ephemeral-storage"], "4Gi");
        assert!(pod["hostUsers"].is_null(), "{}", pod["hostUsers"]);
        // What is staged in memory counts against the memory limit: a quarter of it is planned for.
        let volumes = pod["volumes"].as_array().unwrap();
        let stage = volumes.iter().find(|it| it["name"] == "stage").unwrap();
        assert_eq!(stage["emptyDir"]["medium"], "Memory");
        let mib = |value: &Value| {
            let number = value.as_str().and_then(|it| it.strip_suffix("Mi"));
            number.unwrap().parse::<u64>().unwrap()
        };
        let limit = mib(&agent["resources"]["limits"]["memory"]);
        assert!(mib(&stage["emptyDir"]["sizeLimit"]) * 4 <= limit);
        let (_, text) = helm(&lab.control_plane.tools, &["--set", "hostUsers=false"]);
        assert!(text.contains("\n      hostUsers: false\n"), "{text}");
        Ok(())
    });
}

/// Who installs it reads what is left to do, until it is done.
#[test]
fn the_notes_say_how_the_namespace_is_labelled() {
    story(|lab| async move {
        let home = tempfile::tempdir()?;
        let notes = |namespace: &str| {
            let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/trimtab");
            let mut helm = std::process::Command::new(lab.control_plane.tools.join("helm"));
            helm.args(["install", "noted", chart, "--dry-run=server"])
                .args(["--namespace", namespace, "--skip-crds"])
                .arg("--kubeconfig")
                .arg(&lab.control_plane.kubeconfig)
                .env("HOME", home.path());
            let output = helm.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            String::from_utf8(output.stdout).unwrap()
        };
        let label = "pod-security.kubernetes.io/enforce";
        for (name, labels) in [
            ("noted-plain", serde_json::json!({})),
            ("noted", serde_json::json!({label: "restricted"})),
        ] {
            let namespace = serde_json::json!({"metadata": {"name": name, "labels": labels}});
            let cluster = &lab.control_plane.cluster;
            cluster.create("/api/v1/namespaces", &namespace).await?;
        }
        let wanted = format!("kubectl label namespace noted-plain {label}=restricted");
        let said = notes("noted-plain");
        assert!(said.contains(&wanted), "{said}");
        let said = notes("noted");
        assert!(
            !said.contains("kubectl label") && said.contains("people.namespaces"),
            "{said}"
        );
        Ok(())
    });
}

#[test]
fn the_definition_in_the_chart_is_the_binary_s_own() {
    let output = std::process::Command::new(crate::given::binary())
        .arg("crd")
        .output()
        .unwrap();
    let chart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/charts/trimtab/crds/applications.yaml"
    );
    let committed = std::fs::read_to_string(chart).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed == committed,
        "run: trimtab crd > charts/trimtab/crds/applications.yaml"
    );
}
