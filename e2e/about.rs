//! What the agent says about its sandbox to people: on the page and in the API, where it holds and where
//! it does not.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{binary, story};
use crate::lab::agent::ask;
use crate::lab::{Agent, AgentOptions, visitor};

/// What the API and the page say.
async fn said(agent: &Agent, token: &str) -> Result<(Value, String)> {
    let bearer = format!("Bearer {token}");
    let host = agent.people.to_string();
    let headers = [("authorization", bearer.as_str()), ("Host", host.as_str())];
    let (status, answer) = ask(agent.people, "GET", "/api/v1/about", &headers, b"").await?;
    ensure!(status == 200, "{status}: {answer}");
    let about: Value = serde_json::from_str(&answer).context(answer)?;
    let (status, page) = ask(agent.people, "GET", "/about", &headers, b"").await?;
    ensure!(status == 200, "{status}: {page}");
    Ok((about["agent"].clone(), page))
}

/// What was tried, and whether it holds. The page has the same lines.
fn checks(about: &Value, page: &str) -> Result<Vec<(String, bool)>> {
    let checks: Vec<(String, bool)> = serde_json::from_value(about["sandboxChecks"].clone())?;
    for (what, holds) in &checks {
        let says = if *holds {
            "as it should be"
        } else {
            "does not hold"
        };
        let line = format!("<dt>{what}</dt><dd>{says}</dd>");
        ensure!(page.contains(&line), "{line} is not in {page}");
    }
    Ok(checks)
}

#[test]
fn the_page_and_the_api_say_whether_the_sandbox_holds() {
    story(|lab| async move {
        visitor::create(&lab.control_plane.cluster, "sandbox-visitor").await?;
        let token =
            visitor::token(&lab.control_plane.cluster, "sandbox-visitor", "trimtab").await?;
        let (about, page) = said(&lab.agent, &token).await?;
        let summary = about["sandbox"].as_str().unwrap_or_default();
        ensure!(
            summary.starts_with("Landlock, seccomp and ") && page.contains(summary),
            "{about}"
        );
        let tried = checks(&about, &page)?;
        ensure!(tried.iter().all(|(_, holds)| *holds), "{tried:?}");
        for wanted in [
            "read a file outside of its stage",
            "make a socket for datagrams",
            "start another process",
        ] {
            ensure!(tried.iter().any(|(what, _)| what == wanted), "{tried:?}");
        }

        // A secret among the libraries of the system, which a child may read.
        let open = "/usr/lib/os-release";
        let receiver = json!({"name": "open", "provider": "github", "secretFiles": [open]});
        lab.given_in("about-unfenced", "about-unfenced-home")
            .await?;
        let options = AgentOptions {
            name: "agent-about-unfenced".to_owned(),
            namespace: "about-unfenced-home".to_owned(),
            settings: json!({"receivers": [receiver]}),
            arguments: vec!["--no-install-crd".to_owned()],
            ..AgentOptions::new(binary())
        };
        let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
        let (about, page) = said(&agent, &token).await?;
        let summary = about["sandbox"].as_str().unwrap_or_default();
        let why =
            "kustomize and helm are not run, because their sandbox does not hold on this node";
        ensure!(summary.contains(why) && page.contains(why), "{about}");
        let open = format!("read {open}");
        for (what, holds) in checks(&about, &page)? {
            ensure!(holds == (what != open), "{what}: {holds}");
        }
        Ok(())
    });
}
