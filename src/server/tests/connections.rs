//! Peers that are slow, silent, many or talk nonsense, and the end of the server.

use axum::routing::get as on_get;
use tokio::sync::Notify;

use super::*;

fn hello() -> Router {
    Router::new().route("/", on_get(async || "hello\n"))
}

fn quick() -> ServeLimits {
    ServeLimits {
        header_timeout: SOON,
        ..ServeLimits::default()
    }
}

#[tokio::test]
async fn a_head_that_stops_half_way_is_cut_off() {
    let server = start(hello(), quick()).await;
    let started = Instant::now();
    let heard = ask(&server, "GET / HTTP/1.1\r\nHos").await;
    assert!(started.elapsed() >= SOON);
    assert!(!heard.contains("hello"), "{heard}");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let server = start(hello(), quick()).await;
    let stream = say(&server, "GET / HTTP/1.1\r\n").await;
    let (mut read, mut write) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"X-A: b\r\n").await.is_ok() {
            sleep(SOON / 10).await;
        }
    });
    let mut heard = Vec::new();
    let closed = timeout(PATIENCE, read.read_to_end(&mut heard)).await;
    assert!(closed.is_ok(), "the server let it drip");
    dripping.abort();
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let limits = ServeLimits {
        body_timeout: SOON,
        ..ServeLimits::default()
    };
    let read = async |body: axum::body::Bytes| body;
    let router = Router::new().route("/", axum::routing::post(read));
    let server = start(router, limits).await;
    assert_eq!(
        body(&ask(&server, request("POST", "/", &[], "whole")).await),
        "whole"
    );
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let (mut read, mut write) = say(&server, head).await.into_split();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"a").await.is_ok() {
            sleep(SOON / 10).await;
        }
    });
    let mut heard = Vec::new();
    let closed = timeout(PATIENCE, read.read_to_end(&mut heard)).await;
    assert!(closed.is_ok(), "the server let it drip");
    assert_eq!(status(&String::from_utf8_lossy(&heard)), 400);
    dripping.abort();
}

#[tokio::test]
async fn a_connection_kept_alive_ends_when_it_is_idle() {
    let server = start(hello(), quick()).await;
    let heard = ask(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((status(&heard), body(&heard)), (200, "hello\n"));
}

#[tokio::test]
async fn a_slow_peer_makes_room_for_another() {
    let limits = ServeLimits {
        connections: 2,
        ..ServeLimits::default()
    };
    let server = start(hello(), limits).await;
    let started = Instant::now();
    let (oldest, _other) = (say(&server, "G").await, say(&server, "G").await);
    assert_eq!(status(&get(&server, "/").await), 200);
    assert_eq!(hear(oldest).await, "");
    for _ in 0..50 {
        let _slow = say(&server, "GET / HTTP/1.1\r\nX").await;
        assert_eq!(status(&get(&server, "/").await), 200);
    }
    assert!(started.elapsed() < server_patience(), "it waited");
}

/// How long a slow peer may be slow when nobody waits for its place.
fn server_patience() -> Duration {
    ServeLimits::default().header_timeout
}

#[tokio::test]
async fn further_connections_wait_while_all_others_are_answered() {
    let (router, entered, release) = slow();
    let limits = ServeLimits {
        connections: 1,
        ..ServeLimits::default()
    };
    let server = start(router, limits).await;
    let first = say(&server, request("GET", "/slow", &[], "")).await;
    entered.notified().await;
    let second = say(&server, request("GET", "/", &[], "")).await;
    let mut byte = [0];
    let early = timeout(SOON, second.peek(&mut byte)).await;
    assert!(early.is_err(), "one too many is served");
    release.notify_one();
    assert_eq!(body(&hear(first).await), "slow\n");
    assert_eq!(body(&hear(second).await), "hello\n");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_gives_its_slot_back() {
    let large = Router::new()
        .route("/large", on_get(async || vec![b'x'; 64 << 20]))
        .merge(hello());
    let limits = ServeLimits {
        connections: 1,
        write_timeout: SOON,
        ..ServeLimits::default()
    };
    let server = start(large, limits).await;
    let _deaf = say(&server, request("GET", "/large", &[], "")).await;
    assert_eq!(status(&get(&server, "/").await), 200);
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = start(hello(), ServeLimits::default()).await;
    let check = async |headers: Vec<String>, expected| {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let heard = ask(&server, request("GET", "/", &headers, "")).await;
        assert_eq!(status(&heard), expected, "{heard}");
    };
    let many = |count| (0..count).map(|n| format!("X-{n}: a")).collect();
    check(many(62), 200).await;
    check(many(63), 431).await;
    check(vec![format!("X-A: {}", "a".repeat(15 << 10))], 200).await;
    check(vec![format!("X-A: {}", "a".repeat(17 << 10))], 431).await;
}

#[tokio::test]
async fn nonsense_is_refused_and_the_server_goes_on() {
    let server = start(hello(), quick()).await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA : b\x00c\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n\r\n",
        b"GET /\r\n\r\n",
    ] {
        let heard = ask(&server, nonsense).await;
        assert!(matches!(status(&heard), 0 | 400 | 505), "{heard}");
        assert!(!heard.contains("hello"), "{heard}");
    }
    assert_eq!(status(&get(&server, "/").await), 200);
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    async fn fail() -> &'static str {
        panic!("canary")
    }
    let router = hello().route("/panic", on_get(fail));
    let server = start(router, ServeLimits::default()).await;
    let heard = get(&server, "/panic").await;
    assert_eq!((status(&heard), body(&heard)), (500, "internal error\n"));
    assert_hardened(&heard);
    assert_eq!(status(&get(&server, "/").await), 200);
}

#[tokio::test]
async fn a_router_may_choose_its_own_headers() {
    let framed = [("x-frame-options", "SAMEORIGIN"), ("server", "canary")];
    let router = Router::new().route("/", on_get(async move || (framed, "hello\n")));
    let server = start(router, ServeLimits::default()).await;
    let heard = get(&server, "/").await;
    assert_eq!(header(&heard, "x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(header(&heard, "server"), None);
}

/// A route that says when it was entered, and answers when it is told to.
fn slow() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let handler = async move || {
        enter.notify_one();
        wait.notified().await;
        "slow\n"
    };
    let router = hello().route("/slow", on_get(handler));
    (router, entered, release)
}

#[tokio::test]
async fn a_request_in_flight_ends_before_the_server_does() {
    let (router, entered, release) = slow();
    let server = start(router, ServeLimits::default()).await;
    let stream = say(&server, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _idle = say(&server, "").await;
    entered.notified().await;
    server.stop.send(()).unwrap();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it still listens");
    assert!(!server.task.is_finished());
    release.notify_one();
    assert_eq!(body(&hear(stream).await), "slow\n");
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_grace_period() {
    let (router, entered, _release) = slow();
    let limits = ServeLimits {
        grace: SOON,
        ..ServeLimits::default()
    };
    let server = start(router, limits).await;
    let stream = say(&server, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    entered.notified().await;
    let started = Instant::now();
    server.stop.send(()).unwrap();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(started.elapsed() >= SOON);
    assert_eq!(hear(stream).await, "");
}

#[test]
fn only_what_the_peer_did_is_tried_again_at_once() {
    assert!(is_of_the_peer(&io::ErrorKind::ConnectionAborted.into()));
    let too_many_open_files = io::Error::from_raw_os_error(24);
    assert!(!is_of_the_peer(&too_many_open_files));
}

#[tokio::test]
async fn only_a_trusted_proxy_says_that_it_was_https() {
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    for (proxies, expected) in [(vec!["127.0.0.0/8".to_owned()], true), (Vec::new(), false)] {
        let limits = ServeLimits {
            proxies: Arc::new(Ranges::parse(&proxies).unwrap()),
            ..ServeLimits::default()
        };
        let server = start(hello(), limits).await;
        let heard = ask(&server, request).await;
        assert_eq!(
            heard.contains("strict-transport-security"),
            expected,
            "{heard}"
        );
    }
}
