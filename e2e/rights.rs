//! Rights told apart: each verb by itself, another namespace, applications without their objects,
//! and the cookie of a browser.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::given::{Lab, config_map, story};
use crate::lab::agent::{Answer, ask, converse};
use crate::lab::visitor;
use crate::people::{Caller, token};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Somebody with these verbs on the Applications of one namespace, and no other right.
async fn somebody<'a>(
    lab: &'a Lab,
    name: &str,
    namespace: &str,
    verbs: &[&str],
) -> Result<Caller<'a>> {
    let cluster = &lab.control_plane.cluster;
    let accounts = "/api/v1/namespaces/trimtab/serviceaccounts";
    cluster
        .create(accounts, &json!({"metadata": {"name": name}}))
        .await?;
    let role = json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["trimtab.dev"], "resources": ["applications"], "verbs": verbs}],
    });
    let roles = format!("{RBAC}/namespaces/{namespace}/roles");
    cluster.create(&roles, &role).await?;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "trimtab"}],
    });
    let bindings = format!("{RBAC}/namespaces/{namespace}/rolebindings");
    cluster.create(&bindings, &binding).await?;
    let token = visitor::token(cluster, name, "trimtab").await?;
    Ok(Caller { lab, token })
}

/// What is done to an application, and the verb that each of it needs.
const ACTS: &[(&str, &str, &str)] = &[
    ("POST", "/sync", "sync"),
    ("POST", "/terminate", "sync"),
    ("POST", "/approve", "sync"),
    ("POST", "/refresh", "refresh"),
    ("POST", "/rollback", "rollback"),
    ("POST", "/pause", "pause"),
    ("POST", "/resume", "pause"),
    ("DELETE", "", "delete"),
    ("PUT", "", "update"),
];

#[test]
fn each_verb_lets_do_what_it_names_and_nothing_else() {
    story(|lab| async move {
        // The agent's own account decides about nothing here: the roles are known.
        token(lab, "trimtab-viewer", "trimtab").await?;
        for verb in ["sync", "refresh", "rollback", "pause", "delete", "update"] {
            let name = format!("only-{verb}");
            let caller = somebody(lab, &name, "trimtab", &["get", verb]).await?;
            for (method, path, needed) in ACTS {
                let url = format!("/api/v1/applications/trimtab/none{path}");
                let (status, answer) = caller.ask(method, &url, &json!({})).await?;
                ensure!(
                    (status == 403) == (*needed != verb) && status != 401 && status < 500,
                    "who may only {verb}: {method} {path}: {status} {answer}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn rights_in_another_namespace_are_none_here() {
    story(|lab| async move {
        let app = lab.given("elsewhere").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let verbs = [
            "get", "list", "sync", "refresh", "rollback", "pause", "delete", "update",
        ];
        let caller = somebody(lab, "of-elsewhere", "elsewhere", &verbs).await?;
        for path in ["", "/tree", "/diff", "/timings", "/events"] {
            let url = format!("/api/v1/applications/trimtab/elsewhere{path}");
            let (status, answer) = caller.ask("GET", &url, &Value::Null).await?;
            ensure!(status == 403, "{path}: {status} {answer}");
        }
        for (method, path, _) in ACTS {
            let url = format!("/api/v1/applications/trimtab/elsewhere{path}");
            let (status, answer) = caller.ask(method, &url, &json!({})).await?;
            ensure!(status == 403, "{method} {path}: {status} {answer}");
        }
        let list = caller.get("/api/v1/applications?limit=500").await?;
        ensure!(list["total"] == 0, "{list}");
        let repositories = caller.get("/api/v1/repositories").await?.to_string();
        ensure!(!repositories.contains("elsewhere"), "{repositories}");
        Ok(())
    });
}

/// Pages, and how each answers who may list no Application and get none.
const PAGES: &[(&str, u16)] = &[
    ("/", 200),
    ("/tiles", 200),
    ("/repositories", 200),
    ("/about", 200),
    ("/webhooks", 403),
    ("/new", 403),
    ("/applications/trimtab/none", 403),
    ("/applications/trimtab/none/diff", 403),
    ("/applications/trimtab/none/events", 403),
    ("/applications/trimtab/none/history", 403),
    ("/applications/trimtab/none/manifest", 403),
    (
        "/applications/trimtab/none/resource?kind=Pod&version=v1&resource=p",
        403,
    ),
];

#[test]
fn pages_are_shown_to_whom_they_may() {
    story(|lab| async move {
        let stranger = token(lab, "stranger", "trimtab").await?;
        let stranger = Caller {
            lab,
            token: stranger,
        };
        let viewer = token(lab, "trimtab-viewer", "trimtab").await?;
        let viewer = Caller { lab, token: viewer };
        let nobody = Caller {
            lab,
            token: String::new(),
        };
        for (path, expected) in PAGES {
            let (status, text) = stranger.ask("GET", path, &Value::Null).await?;
            ensure!(status == *expected, "{path}: {status} {text}");
            // A page about an error names the request, and the log knows it by that name.
            if status == 403 {
                let text = text.as_str().unwrap_or_default();
                let id = text
                    .split("<code>")
                    .nth(1)
                    .and_then(|it| it.split('<').next());
                let id = id.with_context(|| format!("no id in {text}"))?;
                ensure!(lab.agent.process.log().contains(id), "{id} is in no log");
            }
            let (status, _) = nobody.ask("GET", path, &Value::Null).await?;
            ensure!(status == 303, "{path} of nobody: {status}");
            if path.starts_with("/applications") {
                let (status, _) = viewer.ask("GET", path, &Value::Null).await?;
                ensure!(status == 404, "{path} of a viewer: {status}");
            }
        }
        Ok(())
    });
}

/// Who may see an Application and none of its objects sees that there are some, and no more.
#[test]
fn an_application_without_its_objects() {
    story(|lab| async move {
        let app = lab.given("half-seen").await?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: hunter2}\n";
        app.commit(&[
            ("a.yaml", Some(&config_map("a", "of-the-map"))),
            ("s.yaml", Some(secret)),
        ])?;
        app.create(&manifest).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let half = somebody(lab, "half", "trimtab", &["get", "list", "update"]).await?;
        let base = "/api/v1/applications/trimtab/half-seen";
        let object = "group=&version=v1&kind=ConfigMap&resourceNamespace=half-seen&resource=a";
        let mut shown = vec![half.get(base).await?.to_string()];
        let diff = half.get(&format!("{base}/diff")).await?;
        ensure!(
            diff["hidden"] == 2 && diff["objects"] == json!([]),
            "{diff}"
        );
        shown.push(diff.to_string());
        for path in ["resource", "desired", "events"] {
            let url = format!("{base}/{path}?{object}");
            let (status, answer) = half.ask("GET", &url, &Value::Null).await?;
            ensure!(status == 403, "{path}: {status} {answer}");
        }
        // What the caller rendered is compared with nothing that they may not see.
        let mine = json!([{
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "half-seen"},
        }]);
        let (_, answer) = half.ask("POST", &format!("{base}/diff"), &mine).await?;
        shown.push(answer.to_string());
        let (status, tree) = half
            .ask("GET", &format!("{base}/tree"), &Value::Null)
            .await?;
        ensure!(status == 200, "{tree}");
        shown.push(tree.to_string());
        for (page, expected) in [
            ("", 200),
            ("/diff", 200),
            ("/events", 403),
            ("/history", 200),
            ("/manifest", 200),
        ] {
            let url = format!("/applications/trimtab/half-seen{page}");
            let (status, text) = half.ask("GET", &url, &Value::Null).await?;
            ensure!(status == expected, "{page}: {status} {text}");
            shown.push(text.to_string());
        }
        for text in shown {
            for value in ["of-the-map", "hunter2", "aHVudGVyMg"] {
                ensure!(!text.contains(value), "{value} is in {text}");
            }
        }
        Ok(())
    });
}

/// Sends a request as a browser, and returns the head of the answer too.
async fn browse(lab: &Lab, request: &str, headers: &str, body: &str) -> Result<Answer> {
    let stream = TcpStream::connect(lab.agent.people).await?;
    let request = format!(
        "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    converse(stream, request.as_bytes()).await
}

const FORM: &str =
    "Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://127.0.0.1\r\n";

/// Logs in, with a cookie that the browser has already, and returns the new one with its attributes.
async fn log_in(lab: &Lab, token: &str, cookie: &str) -> Result<String> {
    let headers = format!("{FORM}Cookie: {cookie}\r\n");
    let answer = browse(lab, "POST /login", &headers, &format!("token={token}")).await?;
    ensure!(answer.status == 303, "{} {}", answer.status, answer.body);
    let mut lines = answer.head.lines();
    let set = lines.find_map(|line| line.strip_prefix("set-cookie: "));
    Ok(set.context("a cookie")?.to_owned())
}

#[test]
fn a_session_is_a_cookie_that_only_our_pages_can_use() {
    story(|lab| async move {
        let admin = token(lab, "trimtab-admin", "trimtab").await?;
        let chosen = "__Host-trimtab=00000000000000000000000000000000";
        let set = log_in(lab, &admin, chosen).await?;
        for wanted in [
            "Path=/",
            "Secure",
            "HttpOnly",
            "SameSite=Strict",
            "Max-Age=28800",
        ] {
            ensure!(set.contains(wanted), "no {wanted} in {set}");
        }
        ensure!(!set.contains("Domain"), "{set}");
        let cookie = set.split(';').next().context("a cookie")?.to_owned();
        ensure!(
            cookie.starts_with("__Host-trimtab=") && cookie != chosen,
            "{cookie}"
        );
        ensure!(!set.contains(&admin), "the token is in the cookie");
        let about = async |cookie: &str| {
            let headers = format!("Cookie: {cookie}\r\n");
            Ok::<_, anyhow::Error>(browse(lab, "GET /api/v1/about", &headers, "").await?.status)
        };
        // Nobody is logged in under a name that they brought.
        ensure!(about(chosen).await? == 401, "a chosen name");
        ensure!(about(&cookie).await? == 200, "the session");
        // With the cookie a browser sends along, other sites can do nothing.
        let sync = "POST /api/v1/applications/trimtab/none/sync";
        let json = "Content-Type: application/json\r\n";
        for (what, headers, expected) in [
            (
                "our page",
                format!("{json}Origin: http://127.0.0.1\r\n"),
                404,
            ),
            (
                "our page, told so",
                format!("{json}Sec-Fetch-Site: same-origin\r\n"),
                404,
            ),
            (
                "another site",
                format!("{json}Origin: https://evil.example\r\n"),
                403,
            ),
            (
                "a site beside",
                format!("{json}Sec-Fetch-Site: same-site\r\n"),
                403,
            ),
            (
                "a form",
                format!("{FORM}Sec-Fetch-Site: same-origin\r\n"),
                415,
            ),
            ("no page", json.to_owned(), 403),
            ("a page that hides", format!("{json}Origin: null\r\n"), 403),
        ] {
            let headers = format!("{headers}Cookie: {cookie}\r\n");
            let answer = browse(lab, sync, &headers, "{}").await?;
            ensure!(
                answer.status == expected,
                "{what}: {} {}",
                answer.status,
                answer.body
            );
        }
        // A new log-in ends the session before, and logging out the last one.
        let newer = log_in(lab, &admin, &cookie).await?;
        let newer = newer.split(';').next().context("a cookie")?.to_owned();
        ensure!(newer != cookie, "the same session");
        ensure!(about(&cookie).await? == 401, "the old session lives");
        ensure!(about(&newer).await? == 200, "the new session");
        let headers = format!("{FORM}Cookie: {newer}\r\n");
        let out = browse(lab, "POST /logout", &headers, "").await?;
        ensure!(out.head.contains("Max-Age=0"), "{}", out.head);
        ensure!(about(&newer).await? == 401, "it lives on");
        Ok(())
    });
}

/// What every answer carries, whatever it is.
const HEADERS: [&str; 5] = [
    "x-content-type-options: nosniff",
    "referrer-policy: ",
    "cross-origin-opener-policy: same-origin",
    "cross-origin-resource-policy: same-origin",
    "permissions-policy: ",
];

#[test]
fn good_and_bad_answers_carry_the_same_headers() {
    story(|lab| async move {
        let admin = token(lab, "trimtab-admin", "trimtab").await?;
        let authorization = format!("Authorization: Bearer {admin}\r\n");
        let json = format!("{authorization}Content-Type: application/json\r\n");
        let large = format!("\"{}\"", "x".repeat(5 << 20));
        let login = browse(lab, "GET /login", "", "").await?;
        let script = login.body.split("src=\"").nth(1);
        let script = script.and_then(|it| it.split('"').next());
        let script = format!("GET {}", script.context("a script")?);
        for (request, headers, body, expected) in [
            ("GET /", &authorization, "", 200),
            ("GET /nothing", &authorization, "", 404),
            ("GET /login", &String::new(), "", 200),
            (script.as_str(), &String::new(), "", 200),
            ("GET /api/v1/about", &authorization, "", 200),
            ("GET /api/v1/about", &String::new(), "", 401),
            ("DELETE /api/v1/about", &json, "", 405),
            (
                "POST /api/v1/applications/trimtab/none/sync",
                &json,
                "[]",
                422,
            ),
            ("POST /api/v1/applications", &json, large.as_str(), 413),
        ] {
            let answer = browse(lab, request, headers, body).await?;
            ensure!(
                answer.status == expected,
                "{request}: {} {}",
                answer.status,
                answer.body
            );
            for header in HEADERS {
                ensure!(
                    answer.head.contains(header),
                    "{request}: no {header} in {}",
                    answer.head
                );
            }
        }
        // Heads have a largest size, to the byte.
        let head = |length: usize| {
            [("Host", "127.0.0.1"), ("X-Long", "")].map(|(name, value)| {
                (
                    name,
                    if value.is_empty() {
                        "x".repeat(length)
                    } else {
                        value.to_owned()
                    },
                )
            })
        };
        for (length, fits) in [(12 << 10, true), (64 << 10, false)] {
            let headers = head(length);
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let asked = ask(lab.agent.people, "GET", "/login", &headers, b"").await;
            let status = asked.map_or(0, |(status, _)| status);
            ensure!((status == 200) == fits, "a header of {length}: {status}");
        }
        Ok(())
    });
}
