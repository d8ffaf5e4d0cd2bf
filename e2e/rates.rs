//! How often a person, an address, a forge or somebody who guesses may ask, and that others do not
//! notice. The bounds grow with the time that was measured, so that no clock decides.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::given::{Lab, binary, story};
use crate::lab::agent::{GITHUB_SECRET, converse, github_push, sign};
use crate::lab::gate::Gate;
use crate::lab::{Agent, AgentOptions};
use crate::limits::{from, head, status};
use crate::people::token;

const ABOUT: &str = "/api/v1/about";

async fn agent_with(lab: &Lab, name: &str, settings: Value, gate: Option<&Gate>) -> Result<Agent> {
    let home = format!("home-{name}");
    lab.given_in(name, &home).await?;
    let options = AgentOptions {
        name: format!("agent-{name}"),
        namespace: home,
        settings,
        kubeconfig: gate
            .map(|gate| gate.kubeconfig("admin-token"))
            .transpose()?,
        ..AgentOptions::new(binary())
    };
    Agent::start(&lab.guardian, &lab.control_plane, &options).await
}

/// The status that one request from an address of this machine is answered with.
async fn asked(last: u8, to: SocketAddr, head: &str) -> Result<u16> {
    let mut stream = from([127, 0, 0, last], to).await?;
    status(&mut stream, head).await?.context("an answer")
}

/// How many of as many requests as `total`, over one connection, are answered with each of these.
async fn flood(last: u8, to: SocketAddr, head: &str, total: usize) -> Result<(usize, usize)> {
    let stream = from([127, 0, 0, last], to).await?;
    let (mut read, mut write) = stream.into_split();
    let requests = head.repeat(total - 1) + &head.replacen("\r\n\r\n", CLOSE, 1);
    // Not closed before all is answered: that would mean that nobody waits for it.
    let sent = tokio::spawn(async move {
        let sent = write.write_all(requests.as_bytes()).await;
        sent.map(|()| write)
    });
    let mut answers = Vec::new();
    read.read_to_end(&mut answers).await?;
    drop(sent.await??);
    let answers = String::from_utf8_lossy(&answers);
    let good = answers.matches("HTTP/1.1 200 ").count();
    let refused = answers.matches("HTTP/1.1 429 ").count();
    Ok((good, refused))
}

const CLOSE: &str = "\r\nConnection: close\r\n\r\n";

/// No more than a bucket holds and what flowed into it, and the rest is refused.
fn within(found: (usize, usize), total: usize, burst: usize, per_second: usize, since: Instant) {
    let (good, refused) = found;
    let flowed = since
        .elapsed()
        .as_secs_f64()
        .mul_add(per_second as f64, 1.0)
        .ceil() as usize;
    assert!(good >= burst, "{good} of {burst} were served");
    assert!(
        good <= burst + flowed,
        "{good} were served, {burst} and {flowed} may be"
    );
    assert_eq!(good + refused, total);
    assert!(refused > 0, "nobody was refused");
}

/// Whether a bucket that was emptied holds next to nothing yet.
async fn is_empty(last: u8, to: SocketAddr, head: &str) -> Result<bool> {
    Ok(flood(last, to, head, 150).await?.1 > 0)
}

#[test]
fn guesses_cost_the_cluster_little_and_keep_nobody_out() {
    story(|lab| async move {
        let gate = Gate::open(&lab.guardian, &lab.control_plane).await?;
        let agent = agent_with(lab, "guesses", json!({}), Some(&gate)).await?;
        let reviews = || gate.count(|asked| asked.path.ends_with("/tokenreviews"));
        let people = agent.people;
        // Many at once with one new token are one question.
        let good = token(lab, "trimtab-viewer", "trimtab").await?;
        let own = head(ABOUT, &good);
        let crowd = try_join_all((0..60).map(|_| asked(9, people, &own))).await?;
        ensure!(crowd.iter().all(|it| *it == 200), "{crowd:?}");
        ensure!(reviews() == 1, "{} reviews of one token", reviews());
        // Guesses side by side from one address.
        let before = Instant::now();
        let guess = |who: &str, number: usize| head(ABOUT, &format!("{who}-{number}"));
        let mut seen = Vec::new();
        for round in 0..4 {
            let heads: Vec<_> = (0..75).map(|n| guess("one", round * 75 + n)).collect();
            seen.extend(try_join_all(heads.iter().map(|it| asked(9, people, it))).await?);
        }
        ensure!(seen.contains(&401) && seen.contains(&429), "{seen:?}");
        ensure!(seen.iter().all(|it| matches!(it, 401 | 429)), "{seen:?}");
        let flowed = before.elapsed().as_secs_f64().ceil() as usize;
        ensure!(reviews() <= 1 + 8 + flowed, "{} reviews", reviews());
        // Another address is asked about meanwhile.
        let other = token(lab, "trimtab-operator", "trimtab").await?;
        ensure!(asked(10, people, &head(ABOUT, &other)).await? == 200);
        // Guesses of many addresses: no more than 20 in any second.
        let (before, already) = (Instant::now(), reviews());
        let mut seen = Vec::new();
        for round in 0..4 {
            let heads: Vec<_> = (20..220).map(|last| (last, guess("many", round))).collect();
            let heads = heads.iter().map(|(last, it)| {
                let it = it.replace("many", &format!("many-{last}"));
                async move { asked(*last, people, &it).await }
            });
            seen.extend(try_join_all(heads).await?);
        }
        ensure!(seen.iter().all(|it| matches!(it, 401 | 503)), "{seen:?}");
        ensure!(seen.contains(&503), "nobody is stopped");
        let flowed = 10.0 * before.elapsed().as_secs_f64();
        let more = reviews() - already;
        ensure!(
            more <= 11 + flowed.ceil() as usize,
            "{more} reviews of 800 guesses"
        );
        // Who is logged in is served, from the address that guessed as well.
        for last in [1, 9, 10] {
            ensure!(asked(last, people, &own).await? == 200, "{last}");
        }
        Ok(())
    });
}

#[test]
fn who_asks_too_often_is_told_so_and_others_are_served() {
    story(|lab| async move {
        let agent = agent_with(lab, "often", json!({}), None).await?;
        let people = agent.people;
        let one = head(ABOUT, &token(lab, "trimtab-viewer", "trimtab").await?);
        let other = head(ABOUT, &token(lab, "trimtab-operator", "trimtab").await?);
        ensure!(asked(9, people, &other).await? == 200);
        let before = Instant::now();
        let found = flood(9, people, &one, 3000).await?;
        within(found, 3000, 1000, 100, before);
        ensure!(
            asked(9, people, &other).await? == 200,
            "somebody else is kept out"
        );
        // Without a log-in the address counts.
        let page = head("/login", "nobody");
        let before = Instant::now();
        let found = flood(9, people, &page, 1000).await?;
        within(found, 1000, 200, 20, before);
        ensure!(is_empty(9, people, &page).await?);
        ensure!(
            asked(10, people, &page).await? == 200,
            "another address is kept out"
        );
        ensure!(
            asked(9, people, &other).await? == 200,
            "who is logged in is kept out"
        );
        Ok(())
    });
}

/// A delivery with this signature, from an address of this machine.
async fn delivered(agent: &Agent, last: u8, id: &str, signature: &str, body: &[u8]) -> Result<u16> {
    let head = format!(
        "POST /hooks/github HTTP/1.1\r\nHost: lab\r\nX-GitHub-Event: push\r\n\
         X-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: {signature}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        String::from_utf8_lossy(body)
    );
    asked(last, agent.webhooks, &head).await
}

#[test]
fn who_sends_deliveries_without_proof_is_not_listened_to() {
    story(|lab| async move {
        let agent = agent_with(lab, "unproven", json!({}), None).await?;
        let body = github_push("http://forge.invalid/a.git", "main", &"1".repeat(40));
        let wrong = format!("sha256={}", "0".repeat(64));
        let right = format!("sha256={}", sign(GITHUB_SECRET, &body));
        let before = Instant::now();
        let mut seen = Vec::new();
        for number in 0..400 {
            let id = format!("wrong-{number}");
            seen.push(delivered(&agent, 9, &id, &wrong, &body).await?);
        }
        let heard = seen.iter().filter(|it| **it == 401).count();
        let flowed = (10.0 * before.elapsed().as_secs_f64()).ceil() as usize;
        ensure!((100..=101 + flowed).contains(&heard), "{heard} were heard");
        ensure!(seen.iter().all(|it| matches!(it, 401 | 503)), "{seen:?}");
        ensure!(delivered(&agent, 10, "right", &right, &body).await? == 202);
        // And one receiver takes so many with proof.
        let before = Instant::now();
        let mut seen = Vec::new();
        for round in 0..60 {
            let ids: Vec<_> = (0..50).map(|n| format!("right-{round}-{n}")).collect();
            let sent = ids.iter().map(|id| delivered(&agent, 1, id, &right, &body));
            seen.extend(try_join_all(sent).await?);
        }
        let taken = seen.iter().filter(|it| **it == 202).count();
        let flowed = (100.0 * before.elapsed().as_secs_f64()).ceil() as usize;
        ensure!((999..=1001 + flowed).contains(&taken), "{taken} were taken");
        ensure!(seen.iter().all(|it| matches!(it, 202 | 503)), "{seen:?}");
        Ok(())
    });
}

#[test]
fn a_trusted_proxy_speaks_for_many_and_nobody_else_does() {
    story(|lab| async move {
        let settings = json!({"trustedProxies": ["127.0.0.9/32"]});
        let agent = agent_with(lab, "proxied", settings, None).await?;
        let people = agent.people;
        let page = |visitor: &str| {
            let head = head("/login", "nobody");
            head.replacen(
                "\r\n\r\n",
                &format!("\r\nX-Forwarded-For: {visitor}\r\n\r\n"),
                1,
            )
        };
        let before = Instant::now();
        let found = flood(9, people, &page("198.51.100.1"), 1000).await?;
        within(found, 1000, 200, 20, before);
        // What stands before the proxy's own word is the visitor's.
        ensure!(is_empty(9, people, &page("203.0.113.5, 198.51.100.1")).await?);
        ensure!(asked(9, people, &page("198.51.100.2")).await? == 200);
        // Who is no proxy speaks for nobody.
        let before = Instant::now();
        let found = flood(10, people, &page("198.51.100.3"), 1000).await?;
        within(found, 1000, 200, 20, before);
        ensure!(is_empty(10, people, &page("198.51.100.4")).await?);
        ensure!(asked(9, people, &page("198.51.100.4")).await? == 200);
        // And only the proxy says that browsers came by https.
        for (last, expected) in [(9, true), (10, false)] {
            let stream = from([127, 0, 0, last], people).await?;
            let https = format!("\r\nX-Forwarded-Proto: https{CLOSE}");
            let head = head("/assets/icon.svg", "nobody").replacen("\r\n\r\n", &https, 1);
            let answer = converse(stream, head.as_bytes()).await?.head;
            let strict = answer.contains("strict-transport-security: max-age=31536000");
            ensure!(strict == expected, "{last}: {answer}");
        }
        Ok(())
    });
}
