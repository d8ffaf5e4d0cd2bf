//! Crowds of slow peers from many addresses: they keep out nobody who says what he has to say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::given::{config_map, story};
use crate::lab::Agent;
use crate::lab::agent::{GITHUB_SECRET, converse, github_push, sign};
use crate::limits::from;

/// Connects again whenever it is cut off, and never ends what it says: a head, a body that drips, or
/// all of a large body but its end.
async fn crowd(number: u8, port: SocketAddr) -> Result<()> {
    let post = "POST /hooks/github HTTP/1.1\r\nHost: lab\r\n";
    let whole = 5 << 20;
    let begin = match number % 4 {
        0 => format!("{post}X-A: "),
        1 => format!(
            "{post}Content-Length: {whole}\r\n\r\n{}",
            "a".repeat(whole - 100)
        ),
        _ => format!("{post}Content-Length: 100000\r\n\r\n"),
    };
    loop {
        // The kernel may be out of places in its own queue for a moment.
        if let Ok(mut stream) = from([127, 0, 1, number % 20], port).await {
            let mut byte = [0];
            let mut said = stream.write_all(begin.as_bytes()).await;
            while said.is_ok() {
                let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte));
                if read.await.is_ok() {
                    break;
                }
                said = stream.write_all(b"a").await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A signed push from an address that nobody else has.
async fn push(agent: &Agent, url: &str, commit_id: &str) -> Result<u16> {
    let body = github_push(url, "main", commit_id);
    let signature = sign(GITHUB_SECRET, &body);
    let head = format!(
        "POST /hooks/github HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: {commit_id}\r\n\
         X-Hub-Signature-256: sha256={signature}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let stream = from([127, 0, 2, 1], agent.webhooks).await?;
    let request = [head.as_bytes(), &body].concat();
    Ok(converse(stream, &request).await?.status)
}

#[test]
fn two_hundred_slow_peers_of_twenty_addresses_keep_no_delivery_out() {
    story(|lab| async move {
        let app = lab.given_in("crowds", "home-crowds").await?;
        let agent = lab.agent_for("home-crowds", &[]).await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "0")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let before = agent.memory()?.1;
        let mut crowds = JoinSet::new();
        for number in 0..200 {
            crowds.spawn(crowd(number, agent.webhooks));
        }
        for value in 1..=8 {
            let value = value.to_string();
            let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", &value)))])?;
            let asked = Instant::now();
            let status = push(&agent, &app.url, &commit_id).await?;
            let answered = asked.elapsed();
            ensure!(status == 202, "push {value} was answered with {status}");
            ensure!(
                answered < Duration::from_secs(5),
                "push {value} was answered after {answered:?}"
            );
            app.synced(&commit_id).await?;
            app.value("a", Some(&value)).await?;
        }
        let grown = agent.memory()?.1.saturating_sub(before);
        ensure!(grown < 64 << 10, "{grown} KiB for bodies that never ended");
        crowds.shutdown().await;
        let name = "trimtab_webhook_deliveries_total";
        let cut = agent.metric(name, &["result=\"cut_off\""]).await?;
        ensure!(cut > 0.0, "those that were cut off are not counted");
        Ok(())
    });
}
