//! What somebody waits for who looks at the pages, and what looking costs.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::memory;
use super::rig::{Options, Rig, Row};
use crate::lab::browser::{Browser, Look};
use crate::lab::visitor;

const LOOKS: usize = 20;
const STREAMS: usize = 100;
/// Applications when no number is given.
const MANY: usize = 1000;

pub(crate) async fn measure(binary: &Path, options: &Options) -> Result<Vec<Row>> {
    // The pages cost by applications, not by objects.
    let rig = Rig::start(binary, options.apps.unwrap_or(MANY), 1).await?;
    let cluster = &rig.control_plane.cluster;
    visitor::create(cluster, "looker").await?;
    let token = visitor::token(cluster, "looker", "trimtab").await?;
    let mut rows = vec![memory::now(&rig, "before anybody looks")?];
    rows.extend(answers(&rig, &token).await?);
    rows.push(streams(&rig).await?);
    rows.extend(in_a_browser(&rig, &token).await?);
    rows.push(memory::now(&rig, "after somebody looked")?);
    Ok(rows)
}

/// The time until the first byte and until the last.
async fn look(address: SocketAddr, path: &str, token: &str) -> Result<(Duration, Duration, usize)> {
    let started = Instant::now();
    let mut stream = request(address, path, token).await?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await?;
    let until_first = started.elapsed();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    if !rest.starts_with(b"TTP/1.1 200") {
        bail!(
            "{path} was answered with {:.60}",
            String::from_utf8_lossy(&rest)
        );
    }
    Ok((until_first, started.elapsed(), rest.len()))
}

async fn request(address: SocketAddr, path: &str, token: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

async fn answers(rig: &Rig, token: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, path) in [
        ("list page", "/"),
        ("list by the API", "/api/v1/applications?limit=1000"),
        ("page of one application", "/applications/trimtab/app-0"),
    ] {
        eprintln!("looking at the {what} ...");
        let (mut first, mut whole, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..=LOOKS {
            let (until_first, until_last, bytes) = look(rig.agent.people, path, token).await?;
            first.push(until_first);
            whole.push(until_last);
            size = bytes;
        }
        let kib = size >> 10;
        let name = |part: &str| format!("{what}, {} applications, {part}", rig.apps);
        rows.push(Row::of_times(name("first byte"), &first[1..]));
        rows.push(Row::of_times(
            name(&format!("whole ({kib} KiB)")),
            &whole[1..],
        ));
    }
    Ok(rows)
}

/// What so many open streams cost.
async fn streams(rig: &Rig) -> Result<Row> {
    eprintln!("opening {STREAMS} streams ...");
    // One person may have 40.
    let cluster = &rig.control_plane.cluster;
    let mut tokens = Vec::new();
    for name in ["looker-a", "looker-b", "looker-c"] {
        visitor::create(cluster, name).await?;
        tokens.push(visitor::token(cluster, name, "trimtab").await?);
    }
    let before = rig.agent.memory()?;
    let mut open = Vec::new();
    for number in 0..STREAMS {
        let token = &tokens[number % tokens.len()];
        let mut stream = request(rig.agent.people, "/api/v1/stream", token).await?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await?;
        if !begin.ends_with(b"200") {
            bail!("a stream was refused: {}", String::from_utf8_lossy(&begin));
        }
        open.push(stream);
    }
    // Each of them carries something.
    for n in 0..10 {
        let path = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications/app-0";
        let label = json!({"metadata": {"labels": {"streamed": n.to_string()}}});
        rig.control_plane.cluster.patch(path, &label).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = rig.agent.memory()?;
    let name = format!("{STREAMS} open streams, more memory");
    Ok(memory::row(
        name,
        (
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
        ),
    ))
}

/// The list in Chromium: until it can be used, and until a change shows.
async fn in_a_browser(rig: &Rig, token: &str) -> Result<Vec<Row>> {
    eprintln!("looking with Chromium ...");
    let browser = Browser::open(&rig.guardian, Look::default()).await?;
    let base = format!("http://localhost:{}", rig.agent.people.port());
    browser.visit(&base).await?;
    browser.write("input[name=token]", token).await?;
    browser.click("button.go").await?;
    browser.shows("Applications").await?;
    let mut usable = Vec::new();
    for _ in 0..LOOKS {
        browser.visit(&base).await?;
        let script =
            "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd";
        let millis = browser.run(script).await?.as_f64().context("a time")?;
        usable.push(Duration::from_secs_f64(millis / 1000.0));
    }
    // The clock of the page is that of this machine.
    let watching = "window.shown = []; let last = false; new MutationObserver(() => { \
        const now = !!document.querySelector('tr[data-app=\"trimtab/app-7\"] .badge.dim'); \
        if (now !== last) { last = now; window.shown.push(Date.now()); } \
        }).observe(document.body, {childList: true, subtree: true})";
    browser.visit(&format!("{base}/?q=app-7")).await?;
    browser.run(watching).await?;
    let mut shown = Vec::new();
    for n in 0..LOOKS {
        let pause = if n % 2 == 0 {
            json!({"reason": "x"})
        } else {
            json!(null)
        };
        let path = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications/app-7";
        let cluster = &rig.control_plane.cluster;
        cluster
            .patch(path, &json!({"spec": {"pause": pause}}))
            .await?;
        let written = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let script = format!("return window.shown[{n}] ?? 0");
        let deadline = Instant::now() + Duration::from_secs(10);
        let at = loop {
            let at = browser.run(&script).await?.as_u64().unwrap_or(0);
            if at > 0 {
                break at;
            }
            if Instant::now() > deadline {
                bail!("a change does not show in the browser");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        shown.push(Duration::from_millis(at).saturating_sub(written));
    }
    browser.close().await?;
    Ok(vec![
        Row::of_times(
            format!("list in Chromium, {} applications, usable", rig.apps),
            &usable,
        ),
        Row::of_times("a change is written → shows in Chromium".to_owned(), &shown),
    ])
}
