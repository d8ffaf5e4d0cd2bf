//! The webhook port: every answer of the table, and what a body may cost.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::http::HeaderMap;

use crate::telemetry::Metrics;

use super::*;

const RIGHT: &str = "X-Secret: right";
const JSON: &str = "Content-Type: application/json";

/// Knows the receiver `forge`, trusts a header, and does as the body says.
#[derive(Default)]
struct Forge {
    full: AtomicBool,
    work: Mutex<Vec<(String, usize, Instant)>>,
}

impl Hooks for Forge {
    type Work = usize;

    fn knows(&self, receiver: &str) -> bool {
        receiver == "forge"
    }

    fn verify(
        &self,
        receiver: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Verified<usize>, Refused> {
        assert_eq!(receiver, "forge");
        if headers
            .get("x-secret")
            .is_none_or(|secret| secret != "right")
        {
            return Err(Refused(401));
        }
        let id = headers.get("x-id").map_or("", |id| id.to_str().unwrap());
        match body.get(..4) {
            Some(b"ping") => Ok(Verified::Ping),
            Some(b"star") => Ok(Verified::Ignored),
            Some(b"junk") => Err(Refused(400)),
            Some(b"gone") => Err(Refused(410)),
            Some(b"fail") => panic!("canary"),
            _ => Ok(Verified::Work {
                id: id.to_owned(),
                work: body.len(),
            }),
        }
    }

    fn hand_on(&self, receiver: &str, work: usize, received: Instant) -> Result<(), Full> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Full);
        }
        let mut all = self.work.lock().unwrap();
        all.push((receiver.to_owned(), work, received));
        Ok(())
    }
}

struct Port {
    server: Server,
    forge: Arc<Forge>,
    metrics: Arc<Metrics>,
}

impl Port {
    async fn start(limits: WebhookLimits) -> Self {
        let (forge, metrics) = (Arc::new(Forge::default()), Arc::new(Metrics::new("1")));
        let router = webhooks(Arc::clone(&forge), Arc::clone(&metrics), limits);
        let server = start(router, ServeLimits::default()).await;
        Self {
            server,
            forge,
            metrics,
        }
    }

    async fn deliver(&self, headers: &[&str], body: &str) -> String {
        ask(&self.server, request("POST", "/hooks/forge", headers, body)).await
    }

    /// The sizes that were handed on.
    fn handed(&self) -> Vec<usize> {
        let work = self.forge.work.lock().unwrap();
        work.iter().map(|(_, size, _)| *size).collect()
    }

    /// Waits until so many deliveries came to this.
    async fn comes_to(&self, result: &str, count: u64) {
        let name =
            format!("trimtab_webhook_deliveries_total{{receiver=\"forge\",result=\"{result}\"}} ");
        let waiting = async {
            loop {
                let text = self.metrics.encode();
                let found = text.lines().find_map(|line| line.strip_prefix(&name));
                if found.is_some_and(|found| found.parse::<u64>().unwrap() >= count) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{}", self.metrics.encode());
    }

    fn counted(&self, receiver: &str, result: &str, count: u32) {
        let line = format!(
            "trimtab_webhook_deliveries_total{{receiver=\"{receiver}\",result=\"{result}\"}} {count}"
        );
        let text = self.metrics.encode();
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

fn small(cap: usize) -> WebhookLimits {
    WebhookLimits {
        body: cap,
        ..WebhookLimits::default()
    }
}

#[tokio::test]
async fn every_answer_of_a_receiver() {
    let port = Port::start(small(1000)).await;
    let check = async |headers: &[&str], sent, expected, text| {
        let heard = port.deliver(headers, sent).await;
        assert_eq!(status(&heard), expected, "{headers:?} {sent}");
        assert_eq!(body(&heard), text, "{headers:?} {sent}");
        assert_hardened(&heard);
    };
    let form = "Content-Type: Application/X-WWW-Form-URLEncoded; charset=utf-8";
    check(&[RIGHT, JSON], "{}", 202, "accepted\n").await;
    check(&[RIGHT, form], "{}", 202, "accepted\n").await;
    check(&[RIGHT], "", 202, "accepted\n").await;
    check(&[RIGHT, JSON], "ping", 202, "connected\n").await;
    check(&[RIGHT, JSON], "star", 202, "ignored\n").await;
    check(&[JSON], "{}", 401, "unauthorized\n").await;
    check(&["X-Secret: wrong"], "junk", 401, "unauthorized\n").await;
    check(&[RIGHT, JSON], "junk", 400, "malformed\n").await;
    check(&[RIGHT, JSON], "gone", 400, "malformed\n").await;
    check(&[RIGHT, JSON], "fail", 500, "internal error\n").await;
    let html = "Content-Type: text/html";
    check(&[RIGHT, html], "{}", 415, "unsupported type\n").await;
    let packed = "Content-Encoding: gzip";
    check(&[RIGHT, JSON, packed], "{}", 415, "unsupported type\n").await;
    let plain = "Content-Encoding: identity";
    check(&[RIGHT, JSON, plain], "{}", 202, "accepted\n").await;
    assert_eq!(port.handed(), [2, 2, 0, 2]);
    port.counted("forge", "accepted", 4);
    port.counted("forge", "unauthorized", 2);
    port.counted("forge", "malformed", 2);
}

#[tokio::test]
async fn only_posts_to_a_known_receiver_are_deliveries() {
    let port = Port::start(WebhookLimits::default()).await;
    let check = async |method, path, expected, text, allow| {
        let heard = ask(&port.server, request(method, path, &[RIGHT, JSON], "{}")).await;
        assert_eq!(status(&heard), expected, "{method} {path}");
        assert_eq!(body(&heard), text, "{method} {path}");
        assert_eq!(header(&heard, "allow"), allow, "{method} {path}");
        assert_hardened(&heard);
    };
    for path in [
        "/hooks/stranger",
        "/hooks/%66orge",
        "/hooks/%ff%00%2e%2e",
        "/hooks/forge/",
        "/hooks/",
        "/healthz",
    ] {
        check("POST", path, 404, "not found\n", None).await;
    }
    for method in ["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "FROB"] {
        check(method, "/hooks/forge", 405, "", Some("POST")).await;
    }
    assert!(port.handed().is_empty());
    port.counted("", "unknown", 3);
    assert!(!port.metrics.encode().contains("stranger"));
}

/// The body in chunks of 10 bytes.
fn chunked(body: &str) -> String {
    let mut text = request(
        "POST",
        "/hooks/forge",
        &[RIGHT, "Transfer-Encoding: chunked"],
        "",
    );
    for chunk in body.as_bytes().chunks(10) {
        text += &format!(
            "{:x}\r\n{}\r\n",
            chunk.len(),
            String::from_utf8_lossy(chunk)
        );
    }
    text + "0\r\n\r\n"
}

#[tokio::test]
async fn the_cap_holds_to_the_byte() {
    let port = Port::start(small(100)).await;
    for (size, expected) in [(99, 202), (100, 202), (101, 413)] {
        let sent = "x".repeat(size);
        assert_eq!(
            status(&port.deliver(&[RIGHT], &sent).await),
            expected,
            "{size}"
        );
        let heard = ask(&port.server, chunked(&sent)).await;
        assert_eq!(status(&heard), expected, "{size} in chunks");
        assert_hardened(&heard);
    }
    assert_eq!(port.handed(), [99, 99, 100, 100]);
}

#[tokio::test]
async fn what_is_announced_too_large_is_not_awaited() {
    let port = Port::start(small(100)).await;
    let head = request(
        "POST",
        "/hooks/forge",
        &[RIGHT, "Content-Length: 1000000000"],
        "",
    );
    let heard = ask(&port.server, &head).await;
    assert_eq!(
        (status(&heard), header(&heard, "connection")),
        (413, Some("close"))
    );
    let expecting = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(status(&ask(&port.server, expecting).await), 413);
    port.counted("forge", "too_large", 2);
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap() {
    let port = Port::start(small(1 << 16)).await;
    let head = request(
        "POST",
        "/hooks/forge",
        &[RIGHT, "Transfer-Encoding: chunked"],
        "",
    );
    let stream = say(&port.server, head).await;
    let (mut read, mut write) = stream.into_split();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let endless =
        tokio::spawn(async move { while write.write_all(chunk.as_bytes()).await.is_ok() {} });
    timeout(PATIENCE, endless)
        .await
        .expect("it took it all")
        .unwrap();
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.ok();
    assert!(port.handed().is_empty());
    port.counted("forge", "too_large", 1);
}

#[tokio::test]
async fn a_body_that_never_ends_times_out() {
    let limits = WebhookLimits {
        body_timeout: SOON,
        ..WebhookLimits::default()
    };
    let port = Port::start(limits).await;
    let head = request("POST", "/hooks/forge", &[RIGHT, "Content-Length: 10"], "");
    let started = Instant::now();
    let heard = ask(&port.server, head + "12345").await;
    assert_eq!((status(&heard), body(&heard)), (408, "too slow\n"));
    assert!(started.elapsed() >= SOON);
}

#[tokio::test]
async fn a_body_cut_short_is_not_verified() {
    let port = Port::start(WebhookLimits::default()).await;
    let head = request("POST", "/hooks/forge", &[RIGHT, "Content-Length: 10"], "");
    let mut stream = say(&port.server, head + "12345").await;
    stream.shutdown().await.unwrap();
    hear(stream).await;
    let head = request(
        "POST",
        "/hooks/forge",
        &[RIGHT, "Transfer-Encoding: chunked"],
        "",
    );
    let heard = ask(&port.server, head + "zz\r\n").await;
    assert_eq!((status(&heard), body(&heard)), (400, "malformed\n"));
    assert!(port.handed().is_empty());
}

/// A head that announces so many bytes.
fn announce(bytes: usize) -> String {
    let length = format!("Content-Length: {bytes}");
    request("POST", "/hooks/forge", &[RIGHT, &length], "")
}

#[tokio::test]
async fn half_bodies_keep_no_delivery_out() {
    let limits = WebhookLimits {
        places: 1,
        place_timeout: Duration::from_millis(20),
        ..WebhookLimits::default()
    };
    let port = Port::start(limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(say(&port.server, announce(10) + "12345").await);
    }
    assert_eq!(status(&port.deliver(&[RIGHT], "{}").await), 202);
    for mut stream in slow {
        stream.write_all(b"67890").await.unwrap();
        assert_eq!(status(&hear(stream).await), 202);
    }
}

#[tokio::test]
async fn the_largest_half_gives_way_when_the_memory_for_bodies_is_used_up() {
    let limits = WebhookLimits {
        bodies: 300 << 10,
        ..small(128 << 10)
    };
    let port = Port::start(limits).await;
    let mut halves = Vec::new();
    for _ in 0..3 {
        let half = "x".repeat(120 << 10);
        halves.push(say(&port.server, announce(128 << 10) + &half).await);
    }
    // Two of the three fit.
    port.comes_to("overloaded", 1).await;
    for _ in 0..50 {
        assert_eq!(status(&port.deliver(&[RIGHT], "{}").await), 202);
    }
    let large = "x".repeat(50 << 10);
    assert_eq!(status(&port.deliver(&[RIGHT], &large).await), 202);
    port.counted("forge", "overloaded", 2);
    let mut sent_away = 0;
    for mut half in halves {
        half.write_all("x".repeat(8 << 10).as_bytes()).await.ok();
        let heard = hear(half).await;
        match status(&heard) {
            503 => assert_eq!(header(&heard, "retry-after"), Some("5")),
            found => assert!(matches!(found, 202 | 0), "{found}"),
        }
        sent_away += usize::from(status(&heard) != 202);
    }
    assert_eq!(sent_away, 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_counts_as_refused() {
    let limits = WebhookLimits {
        refusals_per_second: 1,
        body_timeout: SOON / 4,
        ..WebhookLimits::default()
    };
    let port = Port::start(limits).await;
    assert_eq!(status(&ask(&port.server, announce(10) + "1").await), 408);
    port.counted("forge", "timed_out", 1);
    for _ in 0..9 {
        drop(say(&port.server, announce(10) + "12345").await);
    }
    port.comes_to("cut_off", 9).await;
    // Ten at once, one a second: this address is not listened to.
    let heard = port.deliver(&[RIGHT], "{}").await;
    assert_eq!((status(&heard), body(&heard)), (503, "busy\n"));
    assert_eq!(port.handed(), [0_usize; 0]);
}

#[tokio::test]
async fn a_replay_is_answered_and_not_handed_on() {
    let port = Port::start(WebhookLimits::default()).await;
    for (id, text) in [
        ("1", "accepted\n"),
        ("1", "seen before\n"),
        ("2", "accepted\n"),
    ] {
        let heard = port.deliver(&[RIGHT, &format!("X-Id: {id}")], "{}").await;
        assert_eq!((status(&heard), body(&heard)), (202, text));
    }
    assert_eq!(port.handed(), [2, 2]);
    port.counted("forge", "replayed", 1);
}

#[tokio::test]
async fn when_nobody_can_take_it_the_forge_may_try_again() {
    let port = Port::start(WebhookLimits::default()).await;
    port.forge.full.store(true, Ordering::Relaxed);
    let heard = port.deliver(&[RIGHT, "X-Id: 1"], "{}").await;
    assert_eq!(
        (status(&heard), header(&heard, "retry-after")),
        (503, Some("5"))
    );
    port.forge.full.store(false, Ordering::Relaxed);
    let heard = port.deliver(&[RIGHT, "X-Id: 1"], "{}").await;
    assert_eq!((status(&heard), body(&heard)), (202, "accepted\n"));
}

#[tokio::test]
async fn a_large_body_is_verified_beside_the_others() {
    let port = Port::start(WebhookLimits::default()).await;
    let large = "x".repeat(300 << 10);
    assert_eq!(status(&port.deliver(&[RIGHT], &large).await), 202);
    assert_eq!(port.handed(), [300 << 10]);
    let failing = "fail".repeat(100 << 10);
    assert_eq!(status(&port.deliver(&[RIGHT], &failing).await), 500);
    assert_eq!(status(&port.deliver(&[RIGHT], "{}").await), 202);
}

#[tokio::test]
async fn the_moment_of_arrival_is_before_the_body() {
    let port = Port::start(WebhookLimits::default()).await;
    let headers = &[RIGHT, "Content-Length: 10", "Expect: 100-continue"];
    let head = request("POST", "/hooks/forge", headers, "");
    let mut stream = say(&port.server, head).await;
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut heard = vec![0; go_on.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, go_on.as_bytes());
    let before_the_body = Instant::now();
    stream.write_all(b"1234567890").await.unwrap();
    assert_eq!(status(&hear(stream).await), 202);
    let (receiver, size, received) = port.forge.work.lock().unwrap()[0].clone();
    assert_eq!((receiver.as_str(), size), ("forge", 10));
    assert!(received < before_the_body);
}
