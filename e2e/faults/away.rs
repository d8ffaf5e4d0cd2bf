//! What counts while the API server is away, and while it refuses a watch: deliveries are taken, and
//! nothing that was seen long ago is taken for the truth.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::given::{SOON, config_map, story};
use crate::lab::agent::{ask, get};
use crate::lab::visitor;
use crate::lab::{Agent, Expectation, eventually};
use crate::least::readiness;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Waits until the agent says whether the cluster answers.
pub(super) async fn answers(agent: &Agent, expected: f64) -> Result<()> {
    // A request that hangs is given up after 30 s, and the question after it as well.
    eventually("whether the cluster answers", SOON * 2, || async {
        let found = agent.metric("trimtab_cluster_answers", &[]).await?;
        Ok(if (found - expected).abs() < 0.5 {
            Expectation::Met(())
        } else {
            Expectation::Pending(found.to_string())
        })
    })
    .await
}

/// Whether the API and the page say as of when the cluster is known.
pub(super) async fn as_of(agent: &Agent, token: &str) -> Result<(bool, bool)> {
    let bearer = format!("Bearer {token}");
    let host = agent.people.to_string();
    let headers = [("authorization", bearer.as_str()), ("Host", host.as_str())];
    let (status, answer) = ask(agent.people, "GET", "/api/v1/about", &headers, b"").await?;
    ensure!(status == 200, "{status}: {answer}");
    let about: Value = serde_json::from_str(&answer).context(answer)?;
    let (_, page) = ask(agent.people, "GET", "/about", &headers, b"").await?;
    ensure!(page.contains("<h1>About"), "{page}");
    let at = about["asOf"]["at"].is_string();
    Ok((at, page.contains("What is shown is as of <time")))
}

#[test]
fn deliveries_are_taken_and_done_later() {
    story(|lab| async move {
        let scene = Scene::of(lab, "away").await?;
        let agent = scene.agent().await?;
        scene.begun().await?;
        answers(&agent, 1.0).await?;
        visitor::create(&scene.app.cluster, "away").await?;
        let token = visitor::token(&scene.app.cluster, "away", "trimtab").await?;
        let about = as_of(&agent, &token).await?;
        ensure!(about == (false, false), "it is as of now: {about:?}");
        scene.gate.close();
        answers(&agent, 0.0).await?;
        // Who was known a moment ago is shown as of when it is.
        let about = as_of(&agent, &token).await?;
        ensure!(about == (true, true), "it is as of before: {about:?}");
        for probe in ["/healthz", "/readyz"] {
            let (status, body) = get(agent.operations, probe).await?;
            ensure!(status == 200, "{probe}: {body}");
        }
        // Answered with 202.
        let text = config_map("a", "2");
        let second = scene.app.push(&agent, &[("a.yaml", Some(&text))]).await?;
        scene.gate.resume();
        scene.converged(&second, &["ConfigMap/a"]).await?;
        scene.app.value("a", Some("2")).await?;
        answers(&agent, 1.0).await
    });
}

#[test]
fn a_cluster_that_hangs_is_known_to() {
    story(|lab| async move {
        let scene = Scene::of(lab, "hung").await?;
        let agent = scene.agent().await?;
        scene.begun().await?;
        answers(&agent, 1.0).await?;
        scene.gate.hang();
        let text = config_map("a", "2");
        let second = scene.app.push(&agent, &[("a.yaml", Some(&text))]).await?;
        // No watch has ended: they only bring nothing any more.
        answers(&agent, 0.0).await?;
        scene.gate.close();
        scene.gate.resume();
        scene.converged(&second, &["ConfigMap/a"]).await?;
        answers(&agent, 1.0).await
    });
}

#[test]
fn an_agent_that_starts_first_waits_for_it() {
    story(|lab| async move {
        let scene = Scene::of(lab, "early").await?;
        let first = scene
            .app
            .commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        scene.app.create(&scene.application()).await?;
        scene.gate.close();
        let opened = async {
            eventually("it says what it waits for", SOON, || async {
                let said = readiness(lab, "agent-early").await?.unwrap_or_default();
                let words = "could not ask for the version of the API server";
                Ok(match said.contains(words) {
                    true => Expectation::Met(()),
                    false => Expectation::Pending(said),
                })
            })
            .await?;
            scene.gate.resume();
            Ok(())
        };
        let (_agent, ()) = tokio::try_join!(scene.agent(), opened)?;
        scene.converged(&first, &["ConfigMap/a"]).await
    });
}

/// The rules of the agent's account, with these verbs on Leases.
fn rules(verbs: &[&str]) -> Value {
    json!([
        {"apiGroups": ["trimtab.dev", "events.k8s.io", "apiextensions.k8s.io", ""],
         "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs},
    ])
}

/// With these nothing can be listed or watched.
pub(super) const SINGLE: [&str; 4] = ["get", "create", "patch", "delete"];
const ALL: [&str; 6] = ["get", "create", "patch", "delete", "list", "watch"];

/// The token of an account with all that the agent needs, and these verbs on Leases. Its role has the
/// name of the story's home.
pub(super) async fn account(scene: &Scene, verbs: &[&str]) -> Result<String> {
    let (cluster, home) = (&scene.app.cluster, &scene.app.home);
    let accounts = format!("/api/v1/namespaces/{home}/serviceaccounts");
    let account = json!({"metadata": {"name": "agent"}});
    cluster.create(&accounts, &account).await?;
    let role = json!({"metadata": {"name": home}, "rules": rules(verbs)});
    cluster
        .create(&format!("{RBAC}/clusterroles"), &role)
        .await?;
    let binding = json!({
        "metadata": {"name": home},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": home},
        "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": home}],
    });
    let bindings = format!("{RBAC}/clusterrolebindings");
    cluster.create(&bindings, &binding).await?;
    let path = format!("{accounts}/agent/token");
    let token = cluster.create(&path, &json!({"spec": {}})).await?;
    let token = token["status"]["token"].as_str().context("a token")?;
    Ok(token.to_owned())
}

/// Gives the account these verbs on Leases, and waits until the API server counts with it.
async fn permit(scene: &Scene, verbs: &[&str]) -> Result<()> {
    let (cluster, home) = (&scene.app.cluster, &scene.app.home);
    let role = format!("{RBAC}/clusterroles/{home}");
    cluster
        .patch(&role, &json!({"rules": rules(verbs)}))
        .await?;
    let review = json!({"spec": {
        "user": format!("system:serviceaccount:{home}:agent"),
        "resourceAttributes": {
            "group": "coordination.k8s.io", "resource": "leases", "verb": "watch",
        },
    }});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    eventually("the rights are as wanted", SOON, || async {
        let answer = cluster.create(path, &review).await?;
        Ok(
            match answer["status"]["allowed"] == verbs.contains(&"watch") {
                true => Expectation::Met(()),
                false => Expectation::Pending(answer["status"].to_string()),
            },
        )
    })
    .await
}

/// Waits until the Lease has this holder.
async fn holder(scene: &Scene, path: &str, expected: &str) -> Result<()> {
    eventually(&format!("held by {expected}"), SOON, || async {
        let live = scene.app.cluster.get(path).await?;
        let now = &live["spec"]["holderIdentity"];
        Ok(match now == expected {
            true => Expectation::Met(()),
            false => Expectation::Pending(format!(
                "{now}; {}",
                scene.app.status().await?["conditions"]
            )),
        })
    })
    .await
}

#[test]
fn what_a_refused_watch_showed_does_not_count_any_more() {
    story(|lab| async move {
        let scene = Scene::of(lab, "refused-watch").await?;
        let agent = scene
            .agent_as(&account(&scene, &ALL).await?, &scene.gate)
            .await?;
        let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: ours}\n\
                     spec: {holderIdentity: git}\n";
        let first = scene.app.commit(&[("ours.yaml", Some(lease))])?;
        scene.app.create(&scene.application()).await?;
        scene.app.synced(&first).await?;
        permit(&scene, &SINGLE).await?;
        scene.gate.cut();
        eventually("a watch is refused", SOON, || async {
            let refused = agent.process.log().contains("a watch is refused");
            Ok(match refused {
                true => Expectation::Met(()),
                false => Expectation::Pending(agent.process.tail(5)),
            })
        })
        .await?;
        // No event tells of it, and a look does not take what was seen for the truth.
        let path = "/apis/coordination.k8s.io/v1/namespaces/refused-watch/leases/ours";
        let hand = json!({"spec": {"holderIdentity": "hand"}});
        scene.app.cluster.patch(path, &hand).await?;
        scene.app.refresh().await?;
        holder(&scene, path, "git").await?;
        scene.app.synced(&first).await?;
        // With its rights it sees again by itself.
        let before = scene.gate.total();
        permit(&scene, &ALL).await?;
        eventually("a watch once more", SOON, || async {
            let asked = scene.gate.since(before);
            let mut watches = asked.iter().filter(|asked| asked.is_watch());
            Ok(match watches.any(|asked| asked.path.contains("/leases")) {
                true => Expectation::Met(()),
                false => Expectation::Pending(format!("{asked:?}")),
            })
        })
        .await?;
        scene.app.cluster.patch(path, &hand).await?;
        holder(&scene, path, "git").await?;
        scene.app.synced(&first).await?;
        scene.bystander_is_untouched().await
    });
}
