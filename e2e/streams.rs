//! Streams of changes and of logs: who sees what, for how long, and what it costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::given::{Lab, SOON, Story, config_map, story};
use crate::lab::agent::{Agent, ask, converse};
use crate::lab::{Expectation, eventually, visitor};
use crate::limits::{from, head, status};
use crate::people::token;

const CHANGES: &str = "/api/v1/stream";

/// Two streams of changes and one of a log are asked about once a minute.
const REVIEW: Duration = Duration::from_secs(60);

/// An account that may do in one namespace what a role says.
async fn account(lab: &Lab, name: &str, namespace: &str, rules: Value) -> Result<String> {
    let cluster = &lab.control_plane.cluster;
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let metadata = json!({"name": name, "namespace": namespace});
    let account = json!({"metadata": {"name": name}});
    cluster
        .create("/api/v1/namespaces/trimtab/serviceaccounts", &account)
        .await?;
    let role = json!({"metadata": metadata, "rules": rules});
    cluster.create(&format!("{rbac}/roles"), &role).await?;
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "trimtab"}],
    });
    cluster
        .create(&format!("{rbac}/rolebindings"), &binding)
        .await?;
    visitor::token(cluster, name, "trimtab").await
}

/// Everything that arrives over a stream, as it comes.
struct Reader {
    stream: TcpStream,
    text: String,
}

impl Reader {
    /// Begins to read; the answer must be good.
    async fn open(to: SocketAddr, path: &str, header: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(to).await?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
        let found = status(&mut stream, &head).await?;
        ensure!(found == Some(200), "{path}: {found:?}");
        Ok(Self {
            stream,
            text: String::new(),
        })
    }

    /// Reads until this has come so often; false when the stream ended before.
    async fn until(&mut self, wanted: &str, times: usize, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut bytes = [0; 4096];
        while self.text.matches(wanted).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            let read = tokio::time::timeout(left, self.stream.read(&mut bytes)).await;
            match read.with_context(|| format!("waited for {wanted:?}: {}", self.text))? {
                Ok(0) | Err(_) => return Ok(false),
                Ok(n) => self.text.push_str(&String::from_utf8_lossy(&bytes[..n])),
            }
        }
        Ok(true)
    }

    /// Waits until the stream ends.
    async fn end(&mut self, patience: Duration) -> Result<()> {
        let ended = !self.until("\u{1}no stream says this", 1, patience).await?;
        ensure!(ended);
        Ok(())
    }
}

#[test]
fn changes_of_applications_of_others_are_not_seen() {
    story(|lab| async move {
        let app = lab.given("seen").await?;
        // The shared agent keeps its Applications in one namespace; a right may name one of them.
        let rules = json!([{
            "apiGroups": ["trimtab.dev"], "resources": ["applications"],
            "resourceNames": ["seen"], "verbs": ["get"],
        }]);
        let one = account(lab, "sees-one", "trimtab", rules).await?;
        let all = token(lab, "trimtab-viewer", "trimtab").await?;
        app.create(&app.application()).await?;
        let bearer = |token: &str| format!("Authorization: Bearer {token}");
        let people = lab.agent.people;
        let only = |name: &str| format!("{CHANGES}?application=trimtab/{name}");
        let mut sees_own = Reader::open(people, &only("seen"), &bearer(&one)).await?;
        let mut sees_none = Reader::open(people, CHANGES, &bearer(&one)).await?;
        let mut sees_no_other = Reader::open(people, &only("unseen"), &bearer(&one)).await?;
        let mut sees_all = Reader::open(people, CHANGES, &bearer(&all)).await?;
        let other = lab.given("unseen").await?;
        other.create(&other.application()).await?;
        for story in [&other, &app] {
            let label = json!({"metadata": {"labels": {"changed": "yes"}}});
            story.cluster.patch(&story.path(), &label).await?;
        }
        ensure!(sees_all.until("\"unseen\"", 1, SOON).await?);
        ensure!(sees_all.until("\"name\":\"seen\"", 1, SOON).await?);
        ensure!(sees_own.until("\"name\":\"seen\"", 1, SOON).await?);
        // The heartbeat comes after all of them.
        for reader in [&mut sees_own, &mut sees_none, &mut sees_no_other] {
            ensure!(reader.until("\n:\n", 1, SOON).await?);
            ensure!(!reader.text.contains("unseen"), "{}", reader.text);
        }
        for reader in [&sees_none, &sees_no_other] {
            ensure!(
                !reader.text.contains("event: application"),
                "{}",
                reader.text
            );
        }
        Ok(())
    });
}

/// Somebody's session, as the header that a browser sends.
async fn session(agent: &Agent, token: &str) -> Result<String> {
    let form = format!("token={token}");
    let stream = TcpStream::connect(agent.people).await?;
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
         Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = converse(stream, request.as_bytes()).await?.head;
    let set = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let session = value.starts_with("__Host-") && name.eq_ignore_ascii_case("set-cookie");
        session.then(|| value.split(';').next().unwrap_or_default())
    });
    Ok(format!("Cookie: {}", set.context(answer.clone())?))
}

#[test]
fn who_is_withdrawn_is_told_nothing_more() {
    story(|lab| async move {
        let app = lab.given("withdrawn").await?;
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
            selector: {matchLabels: {app: withdrawn}}\n  template:\n    \
            metadata: {labels: {app: withdrawn}}\n    spec: {containers: [{name: c, image: none}]}\n";
        let commit_id = app.commit(&[("web.yaml", Some(deployment))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let logs = log_path(&app).await?;
        let cluster = &lab.control_plane.cluster;
        let viewer = json!([
            {"apiGroups": ["trimtab.dev"], "resources": ["applications"], "verbs": ["get", "list"]},
        ]);
        let deleted = account(lab, "deleted", "trimtab", viewer.clone()).await?;
        let leaving = account(lab, "leaving", "trimtab", viewer.clone()).await?;
        let reading = account(lab, "reading", "trimtab", viewer).await?;
        let may_read = json!([{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]);
        let binding = json!({
            "metadata": {"name": "reading"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reading"},
            "subjects": [{"kind": "ServiceAccount", "name": "reading", "namespace": "trimtab"}],
        });
        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/withdrawn";
        let role = json!({"metadata": {"name": "reading"}, "rules": may_read});
        cluster.create(&format!("{rbac}/roles"), &role).await?;
        cluster
            .create(&format!("{rbac}/rolebindings"), &binding)
            .await?;
        let people = lab.agent.people;
        let cookie = session(&lab.agent, &leaving).await?;
        let bearer = |token: &str| format!("Authorization: Bearer {token}");
        let mut of_deleted = Reader::open(people, CHANGES, &bearer(&deleted)).await?;
        let mut of_session = Reader::open(people, CHANGES, &cookie).await?;
        let mut of_log = Reader::open(people, &logs, &bearer(&reading)).await?;
        let mut stays = Reader::open(people, CHANGES, &bearer(&reading)).await?;
        ensure!(of_log.until("a line of a pod", 1, SOON).await?);
        cluster
            .delete("/api/v1/namespaces/trimtab/serviceaccounts/deleted")
            .await?;
        cluster
            .delete(&format!("{rbac}/rolebindings/reading"))
            .await?;
        let name_value = cookie.trim_start_matches("Cookie: ");
        let headers = [
            ("Host", "localhost"),
            ("Origin", "http://localhost"),
            ("Cookie", name_value),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let (found, _) = ask(people, "POST", "/logout", &headers, b"").await?;
        ensure!(found < 400, "log-out: {found}");
        let patience = REVIEW + SOON;
        for reader in [&mut of_deleted, &mut of_session, &mut of_log] {
            reader.end(patience).await?;
        }
        // Whoever still may goes on, and a proxy sees every 15 seconds that somebody is there.
        ensure!(stays.until("\n:\n", 5, patience).await?, "{}", stays.text);
        Ok(())
    });
}

/// Where the log of the only pod is followed.
async fn log_path(app: &Story) -> Result<String> {
    let pods = format!("/api/v1/namespaces/{}/pods", app.name);
    let pod = eventually("a pod that runs", SOON, || async {
        let found = app.cluster.get(&pods).await?["items"][0].clone();
        Ok(match found["status"]["phase"] == "Running" {
            true => Expectation::Met(found["metadata"]["name"].clone()),
            false => Expectation::Pending(found.to_string()),
        })
    })
    .await?;
    Ok(format!(
        "/api/v1/applications/trimtab/{0}/logs?resourceNamespace={0}&resource={1}&follow=true",
        app.name,
        pod.as_str().context("a name")?
    ))
}

#[test]
fn a_person_has_so_many_streams_and_a_thousand_dead_readers_cost_little() {
    story(|lab| async move {
        let app = lab.given_in("streams", "home-streams").await?;
        let agent = lab.agent_for("home-streams", &[]).await?;
        let one = token(lab, "trimtab-viewer", "trimtab").await?;
        let other = token(lab, "trimtab-operator", "trimtab").await?;
        app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.becomes("synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        let before = agent.memory()?;
        // None of them ever reads on.
        let mut open = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..60 {
            let mut stream = TcpStream::connect(agent.people).await?;
            let found = status(&mut stream, &head(CHANGES, &one)).await?;
            seen.push(found.context("an answer")?);
            open.push(stream);
        }
        let served = |seen: &[u16]| seen.iter().filter(|it| **it == 200).count();
        ensure!(seen.iter().all(|it| matches!(it, 200 | 429)), "{seen:?}");
        ensure!(served(&seen) == 40, "{seen:?}");
        let mut stream = TcpStream::connect(agent.people).await?;
        let found = status(&mut stream, &head(CHANGES, &other)).await?;
        ensure!(found == Some(200), "somebody else is kept out: {found:?}");
        open.push(stream);
        // And a crowd, from many addresses.
        let mut crowd = Vec::new();
        for number in 0..6 {
            let name = format!("crowd-{number}");
            visitor::create(&app.cluster, &name).await?;
            crowd.push(visitor::token(&app.cluster, &name, "trimtab").await?);
        }
        let mut seen = Vec::new();
        for number in 0..1000_usize {
            let last = 20 + u8::try_from(number % 10)?;
            let mut stream = from([127, 0, 0, last], agent.people).await?;
            let head = head(CHANGES, &crowd[number % crowd.len()]);
            let found = status(&mut stream, &head).await?.context("an answer")?;
            seen.push(found);
            if found == 200 {
                open.push(stream);
            }
        }
        ensure!(served(&seen) == 200 - 41, "{} are served", served(&seen));
        ensure!(
            seen.iter().all(|it| matches!(it, 200 | 429 | 503)),
            "{seen:?}"
        );
        for number in 0..300 {
            let label = json!({"metadata": {"labels": {"n": number.to_string()}}});
            app.cluster.patch(&app.path(), &label).await?;
        }
        let more = agent.memory()?.0.saturating_sub(before.0);
        ensure!(more < 32 << 10, "{more} KiB more for readers that are dead");
        let found = status(
            &mut TcpStream::connect(agent.people).await?,
            &head("/api/v1/about", &other),
        )
        .await?;
        ensure!(found == Some(200), "{found:?}");
        drop(open);
        eventually("places for streams", SOON, || async {
            let mut stream = TcpStream::connect(agent.people).await?;
            Ok(match status(&mut stream, &head(CHANGES, &one)).await? {
                Some(200) => Expectation::Met(()),
                found => Expectation::Pending(format!("{found:?}")),
            })
        })
        .await
    });
}
