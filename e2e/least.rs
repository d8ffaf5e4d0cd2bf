//! As little as is enough: what the chart's accounts may do, the agent with the documented rights of
//! one namespace, as a user without privileges, and with a definition that it may not change.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::lab::gate::{Asked, Gate};
use crate::lab::{Agent, AgentOptions, Expectation, eventually};

/// Applies manifests as they are.
fn apply(lab: &Lab, name: &str, text: &str) -> Result<()> {
    let file = lab.guardian.directory().join(name);
    std::fs::write(&file, text)?;
    let mut kubectl = lab.control_plane.kubectl();
    let applied = kubectl.args(["apply", "--server-side", "-f"]).arg(&file);
    let applied = applied.output()?;
    let said = String::from_utf8_lossy(&applied.stderr);
    ensure!(applied.status.success(), "{name}: {said}");
    Ok(())
}

/// A part of the chart, rendered.
fn rendered(lab: &Lab, release: &str, home: &str, part: &str, values: &[&str]) -> Result<String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/trimtab");
    let rendered = Command::new(lab.control_plane.tools.join("helm"))
        .args(["template", release, chart, "--namespace", home])
        .args(["--show-only", &format!("templates/{part}.yaml")])
        .args(values.iter().flat_map(|value| ["--set", value]))
        .env("HOME", lab.guardian.directory().join("helm"))
        .output()?;
    let said = String::from_utf8_lossy(&rendered.stderr);
    ensure!(rendered.status.success(), "{said}");
    Ok(String::from_utf8(rendered.stdout)?)
}

async fn namespace(lab: &Lab, name: &str) -> Result<()> {
    let body = json!({"metadata": {"name": name}});
    let cluster = &lab.control_plane.cluster;
    cluster.create("/api/v1/namespaces", &body).await.map(drop)
}

/// Whether an account of a namespace may do something, as the API server says: a verb, a resource
/// with its group and subresource, and a namespace (all when empty).
async fn may(
    lab: &Lab,
    account: &str,
    (verb, resource, namespace): (&str, &str, &str),
) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let review = json!({"spec": {
        "user": format!("system:serviceaccount:{}", account.replace('/', ":")),
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": namespace,
        },
    }});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = lab.control_plane.cluster.create(path, &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

/// Of a namespace of `people.namespaces`: what nobody of the three may do there, and what the admin may
/// do to workloads.
const NEVER: &[(&str, &str)] = &[
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("create", "pods/exec"),
    ("get", "pods/exec"),
    ("create", "pods/attach"),
    ("create", "pods/portforward"),
    ("get", "pods/proxy"),
    ("get", "services/proxy"),
    ("create", "pods"),
    ("patch", "pods"),
    ("update", "pods/ephemeralcontainers"),
    ("create", "pods/eviction"),
    ("create", "deployments.apps"),
    ("update", "deployments.apps"),
    ("deletecollection", "pods"),
    ("patch", "configmaps"),
    ("delete", "configmaps"),
    ("delete", "persistentvolumeclaims"),
    ("impersonate", "serviceaccounts"),
    ("create", "serviceaccounts/token"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
];
const HANDS: &[(&str, &str)] = &[
    ("patch", "deployments.apps"),
    ("patch", "statefulsets.apps"),
    ("patch", "daemonsets.apps"),
    ("patch", "deployments.apps/scale"),
    ("patch", "replicasets.apps/scale"),
    ("delete", "deployments.apps"),
    ("delete", "replicasets.apps"),
    ("delete", "pods"),
    ("delete", "jobs.batch"),
    ("delete", "cronjobs.batch"),
];
const EYES: &[(&str, &str)] = &[
    ("get", "pods"),
    ("get", "pods/log"),
    ("list", "events"),
    ("get", "configmaps"),
    ("list", "replicasets.apps"),
];

#[test]
fn the_chart_s_accounts_may_do_what_the_pages_offer_and_no_more() {
    story(|lab| async move {
        namespace(lab, "least-home").await?;
        namespace(lab, "least-shop").await?;
        let values = ["people.namespaces={least-shop}"];
        let text = rendered(lab, "least", "least-home", "people", &values)?;
        apply(lab, "least-people.yaml", &text)?;
        let can = async |role: &str, what: (&str, &str), place: &str, expected: bool| {
            let account = format!("least-home/least-{role}");
            let allowed = may(lab, &account, (what.0, what.1, place)).await?;
            ensure!(
                allowed == expected,
                "{role}: {} {} in \"{place}\": {allowed}",
                what.0,
                what.1
            );
            Ok::<_, anyhow::Error>(())
        };
        // What was just bound is known to the authorizer a moment later.
        let shop = "least-shop";
        let last = ("patch", "deployments.apps", shop);
        eventually("the roles are bound", SOON, || async {
            Ok(match may(lab, "least-home/least-admin", last).await? {
                true => Expectation::Met(()),
                false => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        for role in ["viewer", "operator", "admin"] {
            for what in NEVER {
                can(role, *what, shop, false).await?;
            }
            for what in EYES {
                can(role, *what, shop, true).await?;
            }
            for what in HANDS {
                can(role, *what, shop, role == "admin").await?;
            }
            for what in NEVER.iter().chain(HANDS).chain(EYES) {
                for place in ["kube-system", "least-home", ""] {
                    can(role, *what, place, false).await?;
                }
            }
            for what in [
                ("get", "nodes"),
                ("list", "namespaces"),
                ("impersonate", "users"),
                ("impersonate", "groups"),
            ] {
                can(role, what, "", false).await?;
            }
            let applications = "applications.trimtab.dev";
            can(role, ("get", applications), "least-home", true).await?;
            can(
                role,
                ("delete", applications),
                "least-home",
                role == "admin",
            )
            .await?;
            can(role, ("get", applications), shop, false).await?;
        }
        Ok(())
    });
}

#[test]
fn seeing_the_whole_cluster_is_chosen_and_changes_nothing_in_it() {
    story(|lab| async move {
        namespace(lab, "wide-home").await?;
        let text = rendered(lab, "wide", "wide-home", "people", &["people.live=true"])?;
        apply(lab, "wide-people.yaml", &text)?;
        let admin = "wide-home/wide-admin";
        eventually("the roles are bound", SOON, || async {
            let allowed = may(lab, admin, ("get", "pods/log", "kube-system")).await?;
            Ok(match allowed {
                true => Expectation::Met(()),
                false => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        for what in NEVER.iter().chain(HANDS) {
            for place in ["kube-system", "wide-home", ""] {
                let allowed = may(lab, admin, (what.0, what.1, place)).await?;
                ensure!(!allowed, "{what:?} in \"{place}\"");
            }
        }
        Ok(())
    });
}

/// The roles of one namespace as the documentation has them.
fn documented(home: &str, release: &str, namespace: &str) -> Result<String> {
    let text = include_str!("../docs/rights.md");
    let block = text.split("```yaml\n").nth(1);
    let block = block.and_then(|rest| rest.split("```").next());
    let text = block.context("the roles in docs/rights.md")?;
    ensure!(text.contains("namespace: shop}") && text.contains("kind: RoleBinding"));
    let account = "{kind: ServiceAccount, name: trimtab, namespace: trimtab}";
    ensure!(text.contains(account), "the account in {text}");
    let own = format!("{{kind: ServiceAccount, name: {release}, namespace: {home}}}");
    let text = text.replace(account, &own);
    Ok(text.replace("namespace: shop}", &format!("namespace: {namespace}}}")))
}

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n\
    spec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    \
    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: none}]}\n";

/// The agent with the rights that the chart and the documentation give it, and no other.
async fn narrow(lab: &Lab, app: &Story, gate: &Gate, more: &[&str]) -> Result<Agent> {
    let (home, name) = (app.home.as_str(), app.name.as_str());
    let rights = rendered(lab, name, home, "rbac", &["rights=none"])?;
    let reviews = rendered(lab, name, home, "people", &[])?;
    apply(lab, &format!("{name}-rbac.yaml"), &rights)?;
    apply(lab, &format!("{name}-people.yaml"), &reviews)?;
    let roles = documented(home, name, name)?;
    apply(lab, &format!("{name}-roles.yaml"), &roles)?;
    let account = format!("{home}/{name}");
    eventually("the roles are bound", SOON, || async {
        let allowed = may(lab, &account, ("list", "events", name)).await?;
        Ok(match allowed {
            true => Expectation::Met(()),
            false => Expectation::Pending("not yet".to_owned()),
        })
    })
    .await?;
    let path = format!("/api/v1/namespaces/{home}/serviceaccounts/{name}/token");
    let token = app.cluster.create(&path, &json!({"spec": {}})).await?;
    let token = token["status"]["token"].as_str().context("a token")?;
    let options = AgentOptions {
        name: format!("agent-{name}"),
        namespace: home.to_owned(),
        kubeconfig: Some(gate.kubeconfig(token)?),
        arguments: more.iter().map(ToString::to_string).collect(),
        ..AgentOptions::new(binary())
    };
    Agent::start(&lab.guardian, &lab.control_plane, &options).await
}

#[test]
fn with_the_documented_rights_of_one_namespace_it_deploys_repairs_and_prunes() {
    story(|lab| async move {
        let app = lab.given_in("narrow", "narrow-home").await?;
        let gate = Gate::open(&lab.guardian, &lab.control_plane).await?;
        let scope = ["--destination-namespaces", "narrow"];
        let agent = narrow(lab, &app, &gate, &scope).await?;
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("b.yaml", Some(&config_map("b", "1"))),
            ("web.yaml", Some(WEB)),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        // By its watches, not by a look every few minutes.
        let hand = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("a"), &hand).await?;
        app.value("a", Some("1")).await?;
        app.cluster.delete(&app.map("b")).await?;
        app.value("b", Some("1")).await?;
        let second = app.push(&agent, &[("b.yaml", None)]).await?;
        app.value("b", None).await?;
        app.synced(&second).await?;
        // Elsewhere it may do nothing, and says so.
        let elsewhere = config_map("c", "1").replace("{name: c}", "{name: c, namespace: default}");
        app.push(&agent, &[("c.yaml", Some(&elsewhere))]).await?;
        app.condition("SyncError", "forbidden").await?;
        let third = app.push(&agent, &[("c.yaml", None)]).await?;
        app.synced(&third).await?;
        ensure!(
            !agent.process.log().contains("a watch failed"),
            "{}",
            agent.process.tail(20)
        );
        ensure!(
            gate.count(|asked| asked.is_watch() && asked.path == "/api/v1/configmaps") == 0,
            "it asked for all namespaces"
        );
        // The bundle that a rollback applies could be written, and goes with the Application.
        let bundles = format!(
            "/api/v1/namespaces/{}/secrets?fieldSelector=type%3Dtrimtab.dev%2Fbundle",
            app.home
        );
        let bundles = app.cluster.get(&bundles).await?;
        ensure!(bundles["items"].as_array().is_some_and(|it| !it.is_empty()));
        Ok(())
    });
}

const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.trimtab.dev";

fn is_upgrade(asked: &Asked) -> bool {
    asked.path == DEFINITION && asked.method == "PATCH"
}

/// The live definition as an earlier, or later, version of the program would have installed it.
async fn another_definition(lab: &Lab, version: &str) -> Result<Value> {
    let mut definition = lab.control_plane.cluster.get(DEFINITION).await?;
    definition["metadata"]["annotations"]["trimtab.dev/version"] = json!(version);
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let status = definition.pointer_mut(status).context("the status")?;
    let fields = status.as_object_mut().context("fields")?;
    ensure!(fields.remove("inventory").is_some(), "no inventory");
    Ok(definition)
}

/// The operations port of an agent that is not ready yet, and what it says there.
pub(crate) async fn readiness(lab: &Lab, name: &str) -> Result<Option<String>> {
    for entry in std::fs::read_dir(lab.guardian.directory())? {
        let path = entry?.path();
        let file = path.file_name().and_then(|it| it.to_str()).unwrap_or("");
        if !(file.starts_with(name) && file.ends_with(".log")) {
            continue;
        }
        let log = std::fs::read_to_string(&path)?;
        let lines = log.lines().filter_map(|it| serde_json::from_str(it).ok());
        let mut lines = lines.filter(|line: &Value| line["message"] == "listening");
        let address = lines.next().and_then(|line| {
            let address = line["operations"].as_str()?;
            address.parse::<std::net::SocketAddr>().ok()
        });
        if let Some(address) = address {
            let (_, said) = crate::lab::agent::get(address, "/readyz").await?;
            return Ok(Some(said));
        }
    }
    Ok(None)
}

#[test]
fn an_older_definition_is_refused_where_it_may_not_be_upgraded() {
    story(|lab| async move {
        let app = lab.given_in("old-crd", "old-crd-home").await?;
        let gate = Gate::open(&lab.guardian, &lab.control_plane).await?;
        gate.say(DEFINITION, another_definition(lab, "0.0.1").await?);
        let refused = async {
            eventually("it says what is missing", SOON, || async {
                let said = readiness(lab, "agent-old-crd").await?.unwrap_or_default();
                let wanted = [
                    "applications.trimtab.dev is older",
                    "status.inventory",
                    "trimtab crd | kubectl apply --server-side --force-conflicts",
                ];
                Ok(match wanted.iter().all(|words| said.contains(words)) {
                    true => Expectation::Met(()),
                    false => Expectation::Pending(said),
                })
            })
            .await?;
            // Nothing was begun: no Application was asked for.
            ensure!(gate.count(|asked| asked.path.contains("/trimtab.dev/")) == 0);
            gate.unsay(DEFINITION);
            Ok(())
        };
        let scope = ["--no-install-crd"];
        // It goes on by itself when somebody has brought it up to date.
        let (agent, refused) = tokio::join!(narrow(lab, &app, &gate, &scope), refused);
        refused?;
        let agent = agent?;
        ensure!(gate.count(is_upgrade) == 0, "it was told not to");
        let log = agent.process.log();
        ensure!(
            log.matches("is older than this agent").count() == 1,
            "{log}"
        );
        Ok(())
    });
}

#[test]
fn an_older_definition_is_upgraded_and_a_newer_one_is_left() {
    story(|lab| async move {
        let app = lab.given_in("new-crd", "new-crd-home").await?;
        let gate = Gate::open(&lab.guardian, &lab.control_plane).await?;
        gate.say(DEFINITION, another_definition(lab, "999.0.0").await?);
        let agent = narrow(lab, &app, &gate, &[]).await?;
        ensure!(gate.count(is_upgrade) == 0, "a newer one was taken back");
        drop(agent);
        // With the chart's own rights it may patch this one definition.
        gate.unsay(DEFINITION);
        gate.say_once(DEFINITION, another_definition(lab, "0.0.1").await?);
        let agent = narrow(lab, &app, &gate, &[]).await?;
        ensure!(gate.count(is_upgrade) == 1, "{}", agent.process.tail(20));
        // The same one again is no reason to write.
        drop(agent);
        let agent = narrow(lab, &app, &gate, &[]).await?;
        ensure!(gate.count(is_upgrade) == 1, "{}", agent.process.tail(20));
        Ok(())
    });
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// A program that becomes the agent's binary as somebody without any privilege, as in the pod.
fn unprivileged(directory: &Path) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let script = directory.join("agent");
    let drop = match is_root() {
        true => {
            "setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs \
             --inh-caps=-all --bounding-set=-all --"
        }
        false => "",
    };
    let text = format!("#!/bin/sh\nexec {drop} {} \"$@\"\n", binary().display());
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

#[test]
fn without_privileges_its_children_are_confined_and_nobody_reads_its_memory() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    story(|lab| async move {
        let app = lab.given_in("plain-user", "plain-user-home").await?;
        let directory = lab.guardian.directory().join("plain-user");
        let work = lab.guardian.directory().join("agent-plain-user");
        for place in [&directory, &work] {
            std::fs::create_dir_all(place)?;
        }
        let open = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        };
        open(lab.guardian.directory(), 0o711)?;
        // What the tools are below may be closed to others.
        for tool in ["kustomize", "helm"] {
            std::fs::copy(lab.control_plane.tools.join(tool), directory.join(tool))?;
            open(&directory.join(tool), 0o755)?;
        }
        let kubeconfig = directory.join("kubeconfig");
        std::fs::copy(&lab.control_plane.kubeconfig, &kubeconfig)?;
        open(&kubeconfig, 0o644)?;
        if is_root() {
            chown(&work, Some(65532), Some(65532))?;
        }
        let options = AgentOptions {
            name: "agent-plain-user".to_owned(),
            namespace: app.home.clone(),
            kubeconfig: Some(kubeconfig),
            arguments: vec!["--no-install-crd".to_owned()],
            tools: Some(directory.clone()),
            ..AgentOptions::new(unprivileged(&directory)?)
        };
        let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
        let holds = agent.metric("trimtab_sandbox_holds", &[]).await?;
        ensure!(holds > 0.5, "{}", agent.process.tail(40));
        let files = [
            ("kustomization.yaml", Some("resources: [map.yaml]\n")),
            ("map.yaml", Some(&*config_map("map", "1"))),
        ];
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        // The same user, outside of any sandbox.
        let id = agent.process.id();
        let reads = |file: &str| {
            let script = format!("exec head -c 1 /proc/{id}/{file}");
            let mut command = match is_root() {
                true => {
                    let mut command = Command::new("setpriv");
                    command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]);
                    command.args(["--inh-caps=-all", "--bounding-set=-all", "sh"]);
                    command
                }
                false => Command::new("sh"),
            };
            command.args(["-c", &script]).output()
        };
        for (file, expected) in [("stat", true), ("environ", false), ("maps", false)] {
            let read = reads(file)?;
            let said = String::from_utf8_lossy(&read.stderr);
            ensure!(read.status.success() == expected, "{file}: {said}");
        }
        Ok(())
    });
}
