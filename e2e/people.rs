//! The API: who may do what, and that it shows and does what it says.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::OnceCell,
};

use crate::given::{Lab, SOON, config_map, story};
use crate::lab::agent::ask;
use crate::lab::{Expectation, eventually, visitor};

static ROLES: OnceCell<()> = OnceCell::const_new();

/// A token of one of the chart's accounts for this audience.
pub(crate) async fn token(lab: &Lab, account: &str, audience: &str) -> Result<String> {
    ROLES.get_or_try_init(|| install_roles(lab)).await?;
    visitor::token(&lab.control_plane.cluster, account, audience).await
}

/// Installs the roles as the chart has them, and an account of another namespace's rights.
async fn install_roles(lab: &Lab) -> Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/trimtab");
    let home = lab.guardian.directory().join("helm");
    let rendered = Command::new(lab.control_plane.tools.join("helm"))
        .args(["template", "trimtab", chart, "--namespace", "trimtab"])
        .args(["--show-only", "templates/people.yaml"])
        .args(["--set", "people.live=true"])
        .env("HOME", home)
        .output()?;
    ensure!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let file = lab.guardian.directory().join("people.yaml");
    let stranger = "---\napiVersion: v1\nkind: ServiceAccount\n\
                    metadata: {name: stranger, namespace: trimtab}\n";
    // Every story has a namespace of its own, in which the admin acts by hand.
    let hands = [MORE, &hand("lab-more"), &hand("trimtab-workloads")].concat();
    std::fs::write(
        &file,
        [&rendered.stdout, stranger.as_bytes(), hands.as_bytes()].concat(),
    )?;
    let applied = lab
        .control_plane
        .kubectl()
        .args(["apply", "--server-side", "-f"])
        .arg(&file)
        .output()?;
    ensure!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    Ok(())
}

/// Lets delete ConfigMaps, which most stories are about, and read Secrets, whose values nobody sees.
const MORE: &str = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
    metadata: {name: lab-more}\n\
    rules:\n\
    - {apiGroups: [\"\"], resources: [configmaps], verbs: [delete]}\n\
    - {apiGroups: [\"\"], resources: [secrets], verbs: [get, list]}\n";

/// Gives the admin a role in the whole cluster.
fn hand(role: &str) -> String {
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
         metadata: {{name: lab-{role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
         subjects: [{{kind: ServiceAccount, name: trimtab-admin, namespace: trimtab}}]\n"
    )
}

/// Asks the shared agent as somebody.
pub(crate) struct Caller<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) token: String,
}

impl Caller<'_> {
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("Host", "127.0.0.1"), ("Content-Type", "application/json")];
        if !self.token.is_empty() {
            headers.push(("Authorization", &authorization));
        }
        let body = serde_json::to_vec(body)?;
        let (status, text) = ask(self.lab.agent.people, method, path, &headers, &body).await?;
        Ok((
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        match self.ask("GET", path, &Value::Null).await? {
            (200, answer) => Ok(answer),
            (status, answer) => bail!("GET {path}: {status} {answer}"),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        match self.ask("POST", path, body).await? {
            (200, answer) => Ok(answer),
            (status, answer) => bail!("POST {path}: {status} {answer}"),
        }
    }
}

async fn caller<'a>(lab: &'a Lab, role: &str) -> Result<Caller<'a>> {
    let token = match role {
        "nobody" => String::new(),
        "stranger" => token(lab, "stranger", "trimtab").await?,
        role => token(lab, &format!("trimtab-{role}"), "trimtab").await?,
    };
    Ok(Caller { lab, token })
}

/// The least role that each route lets in; `anyone` who is logged in, or `nobody` at all.
const ROUTES: &[(&str, &str, &str)] = &[
    ("get", "/api/v1/openapi.json", "nobody"),
    ("get", "/api/v1/about", "stranger"),
    ("get", "/api/v1/applications", "stranger"),
    ("get", "/api/v1/stream", "stranger"),
    ("get", "/api/v1/repositories", "stranger"),
    ("get", "/api/v1/receivers", "viewer"),
    ("post", "/api/v1/applications", "admin"),
    ("post", "/api/v1/applications/preview", "admin"),
    ("get", "/api/v1/applications/{namespace}/{name}", "viewer"),
    ("put", "/api/v1/applications/{namespace}/{name}", "admin"),
    ("delete", "/api/v1/applications/{namespace}/{name}", "admin"),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/tree",
        "viewer",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/diff",
        "viewer",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/timings",
        "viewer",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/diff",
        "admin",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/resource",
        "viewer",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/resource",
        "admin",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/events",
        "viewer",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/desired",
        "viewer",
    ),
    (
        "get",
        "/api/v1/applications/{namespace}/{name}/logs",
        "viewer",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/sync",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/refresh",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/terminate",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/rollback",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/pause",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/resume",
        "operator",
    ),
    (
        "post",
        "/api/v1/applications/{namespace}/{name}/approve",
        "operator",
    ),
];
/// From the least to the most.
const ROLES_UP: [&str; 5] = ["nobody", "stranger", "viewer", "operator", "admin"];

#[test]
fn every_route_lets_in_who_may_and_nobody_else() {
    story(|lab| async move {
        let mut callers = BTreeMap::new();
        for role in ROLES_UP {
            callers.insert(role, caller(lab, role).await?);
        }
        let document = callers["nobody"].get("/api/v1/openapi.json").await?;
        let mut described = Vec::new();
        for (path, methods) in document["paths"].as_object().context("paths")? {
            for method in methods.as_object().context("methods")?.keys() {
                described.push((method.clone(), path.clone()));
            }
        }
        for (method, path) in &described {
            let known = ROUTES.iter().any(|(m, p, _)| m == method && p == path);
            ensure!(known, "{method} {path} has no entry in the table");
        }
        ensure!(
            described.len() == ROUTES.len(),
            "the table has entries too many"
        );
        let pod = "?kind=Pod&version=v1&resourceNamespace=trimtab&resource=none";
        let logs = "?resourceNamespace=trimtab&resource=none";
        for (method, path, least) in ROUTES {
            let needed = ROLES_UP.iter().position(|role| role == least);
            for (rank, role) in ROLES_UP.iter().enumerate() {
                // A stream never ends; that it begins is another story.
                if path.ends_with("/stream") && Some(rank) >= needed {
                    continue;
                }
                let mut url = path
                    .replace("{namespace}", "trimtab")
                    .replace("{name}", "none");
                match path.rsplit('/').next() {
                    Some("resource" | "desired") => url.push_str(pod),
                    Some("logs") => url.push_str(logs),
                    _ => {}
                }
                let body = match (path.rsplit('/').next(), *method) {
                    (Some("resource"), "post") => json!({"delete": {}}),
                    (Some("diff"), "post") => json!([]),
                    (Some("applications" | "preview"), "post") => json!({
                        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                        "metadata": {"namespace": "trimtab", "name": "none"},
                    }),
                    _ => json!({}),
                };
                let method = method.to_uppercase();
                let (status, answer) = callers[role].ask(&method, &url, &body).await?;
                let refused = matches!(status, 401 | 403);
                ensure!(status < 500, "{role} {method} {path}: {status} {answer}");
                ensure!(
                    refused == (Some(rank) < needed),
                    "{role} {method} {path}: {status} {answer}"
                );
            }
        }
        Ok(())
    });
}

type Headers = &'static [(&'static str, &'static str)];

const ABOUT: &str = "/api/v1/about";
const SYNC: &str = "/api/v1/applications/trimtab/none/sync";
const HOST: (&str, &str) = ("Host", "127.0.0.1:8080");
const JSON: (&str, &str) = ("Content-Type", "application/json");
/// Stands for a good token, and for one of another audience.
const GOOD: (&str, &str) = ("Authorization", "GOOD");
const OTHER: (&str, &str) = ("Authorization", "OTHER");
const HERE: (&str, &str) = ("Origin", "http://127.0.0.1:8080");
const ELSEWHERE: (&str, &str) = ("Origin", "https://evil.example");

/// What is asked, how, and the status of the answer.
const REQUESTS: &[(&str, &str, &str, Headers, u16)] = &[
    ("fine", "GET", ABOUT, &[HOST, GOOD], 200),
    ("another audience", "GET", ABOUT, &[HOST, OTHER], 401),
    (
        "nonsense",
        "GET",
        ABOUT,
        &[HOST, ("Authorization", "Bearer x")],
        401,
    ),
    (
        "another scheme",
        "GET",
        ABOUT,
        &[HOST, ("Authorization", "Basic YTpi")],
        401,
    ),
    (
        "another host",
        "GET",
        ABOUT,
        &[("Host", "evil.example"), GOOD],
        421,
    ),
    (
        "a token in the address",
        "GET",
        "/api/v1/about?access_token=CANARY",
        &[HOST],
        400,
    ),
    ("no route", "GET", "/api/v1/nothing", &[HOST, GOOD], 404),
    (
        "a way up",
        "GET",
        "/assets/..%2f..%2fetc%2fpasswd",
        &[HOST],
        404,
    ),
    (
        "no name",
        "GET",
        "/api/v1/applications/trimtab/a%2Fb%3Fc",
        &[HOST, GOOD],
        404,
    ),
    (
        "no number",
        "GET",
        "/api/v1/applications?limit=x",
        &[HOST, GOOD],
        400,
    ),
    ("no method", "DELETE", ABOUT, &[HOST, GOOD, JSON], 405),
    ("a read that writes", "GET", SYNC, &[HOST, GOOD], 405),
    (
        "another site",
        "POST",
        SYNC,
        &[HOST, GOOD, ELSEWHERE, JSON],
        403,
    ),
    ("a form", "POST", SYNC, &[HOST, HERE], 415),
    ("no origin", "POST", SYNC, &[HOST, JSON], 403),
    ("a preflight", "OPTIONS", SYNC, &[HOST, ELSEWHERE], 403),
];

#[test]
fn a_request_that_is_not_meant_is_refused() {
    story(|lab| async move {
        let good = token(lab, "trimtab-admin", "trimtab").await?;
        let audience = "https://kubernetes.default.svc.cluster.local";
        let other = token(lab, "trimtab-admin", audience).await?;
        let (good, other) = (format!("Bearer {good}"), format!("Bearer {other}"));
        for (what, method, path, headers, expected) in REQUESTS {
            let meant = |value: &'static str| match value {
                "GOOD" => good.as_str(),
                "OTHER" => other.as_str(),
                value => value,
            };
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, meant(value)))
                .collect();
            let (status, body) = ask(lab.agent.people, method, path, &headers, b"{}").await?;
            ensure!(status == *expected, "{what}: {status} {body}");
        }
        let log = lab.agent.process.log();
        ensure!(!log.contains("CANARY"), "the log has the token");
        Ok(())
    });
}

#[test]
fn an_application_is_seen_compared_and_acted_on() {
    story(|lab| async move {
        let app = lab.given("by-api").await?;
        let viewer = caller(lab, "viewer").await?;
        let admin = caller(lab, "admin").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        let base = format!("/api/v1/applications/trimtab/{}", app.name);
        let mut changes = changes(lab, &admin.token, &format!("trimtab/{}", app.name)).await?;
        admin
            .post("/api/v1/applications?dryRun=true", &manifest)
            .await?;
        ensure!(
            viewer.ask("GET", &base, &Value::Null).await?.0 == 404,
            "a dry run creates nothing"
        );
        admin.post("/api/v1/applications", &manifest).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let diff = viewer.get(&format!("{base}/diff")).await?;
        ensure!(diff["objects"][0]["fate"] == "created", "{diff}");
        admin.post(&format!("{base}/sync"), &json!({})).await?;
        app.synced(&first).await?;
        seen(&mut changes, "\"sync\":\"Synced\"").await?;
        let detail = viewer.get(&base).await?;
        let by = &detail["application"]["status"]["operationState"]["operation"]["initiatedBy"];
        ensure!(
            by["username"] == "system:serviceaccount:trimtab:trimtab-admin",
            "{by}"
        );
        ensure!(
            detail["may"]["sync"] == false && detail["may"]["delete"] == false,
            "{detail}"
        );
        let list = viewer
            .get(&format!("/api/v1/applications?q={}", app.name))
            .await?;
        ensure!(
            list["total"] == 1 && list["items"][0]["sync"] == "Synced",
            "{list}"
        );
        let tree = viewer.get(&format!("{base}/tree")).await?;
        ensure!(tree["nodes"][0]["name"] == "a", "{tree}");
        app.push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let diff = viewer.get(&format!("{base}/diff")).await?;
        let text = diff["objects"][0]["text"].as_str().unwrap_or_default();
        ensure!(
            text.contains("-  value: '1'") || text.contains("-  value: \"1\""),
            "{diff}"
        );
        ensure!(
            diff["objects"][0]["changes"][0]["by"]["manager"] == "trimtab",
            "{diff}"
        );
        admin
            .post(
                &format!("{base}/pause"),
                &json!({"reason": "tea", "duration": "1h"}),
            )
            .await?;
        app.condition("Paused", "tea").await?;
        admin.post(&format!("{base}/resume"), &json!({})).await?;
        let gone = format!("{base}?confirm={}&cascade=background", app.name);
        let (status, answer) = admin.ask("DELETE", &gone, &Value::Null).await?;
        ensure!(status == 200, "{answer}");
        seen(&mut changes, "event: gone").await?;
        Ok(())
    });
}

/// Opens the stream of one application.
async fn changes(lab: &Lab, token: &str, application: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(lab.agent.people).await?;
    let request = format!(
        "GET /api/v1/stream?application={application} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reader = BufReader::new(stream);
    seen(&mut reader, "event: open").await?;
    Ok(reader)
}

/// Reads until a line has this in it.
async fn seen(reader: &mut BufReader<TcpStream>, text: &str) -> Result<()> {
    let read = async {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(
                reader.read_line(&mut line).await? > 0,
                "the stream ended before {text}"
            );
            if line.contains(text) {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(SOON, read)
        .await
        .with_context(|| format!("nothing says {text}"))?
}

#[test]
fn pods_and_their_logs_hang_below_their_workload() {
    story(|lab| async move {
        let app = lab.given("api-tree").await?;
        let viewer = caller(lab, "viewer").await?;
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n\
            spec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n  template:\n    \
            metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: none}]}\n";
        app.create(&app.application()).await?;
        let commit_id = app
            .push(&lab.agent, &[("web.yaml", Some(deployment))])
            .await?;
        app.synced(&commit_id).await?;
        let base = format!("/api/v1/applications/trimtab/{}", app.name);
        eventually("two pods in the tree", SOON, || async {
            let tree = viewer.get(&format!("{base}/tree")).await?;
            let nodes = tree["nodes"].as_array().context("nodes")?;
            let pods = nodes.iter().filter(|node| node["kind"] == "Pod");
            let placed = pods.filter(|node| {
                let parent = node["parent"].as_str().unwrap_or_default();
                parent.starts_with("apps/ReplicaSet:api-tree/web-")
            });
            Ok(match placed.count() {
                2 => Expectation::Met(()),
                _ => Expectation::Pending(tree.to_string()),
            })
        })
        .await?;
        let events = viewer
            .get(&format!("{base}/events?kind=Deployment&version=v1&group=apps&resourceNamespace=api-tree&resource=web"))
            .await?;
        ensure!(events[0]["reason"] == "ScalingReplicaSet", "{events}");
        Ok(())
    });
}
