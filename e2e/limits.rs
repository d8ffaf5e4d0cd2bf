//! How many connections and bytes anybody may take, and what is refused before it is read.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::given::{SOON, story};
use crate::lab::agent::{ask, converse, get};
use crate::people::token;

/// A connection from another address of this machine.
pub(crate) async fn from(address: [u8; 4], to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((std::net::IpAddr::from(address), 0).into())?;
    Ok(socket.connect(to).await?)
}

/// The status of an answer, none when the connection is closed without one.
pub(crate) async fn status(stream: &mut TcpStream, head: &str) -> Result<Option<u16>> {
    if stream.write_all(head.as_bytes()).await.is_err() {
        return Ok(None);
    }
    let mut begin = [0; 12];
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut begin)).await?;
    if read.is_err() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&begin).into_owned();
    Ok(Some(text.rsplit(' ').next().context("a status")?.parse()?))
}

pub(crate) fn head(path: &str, authorization: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {authorization}\r\n\r\n"
    )
}

#[test]
fn one_address_takes_no_more_than_its_share_of_connections() {
    story(|lab| async move {
        lab.given_in("crowd", "home-crowd").await?;
        let agent = lab.agent_for("home-crowd", &[]).await?;
        let good = token(lab, "trimtab-viewer", "trimtab").await?;
        for (port, share) in [(agent.people, 128), (agent.webhooks, 32)] {
            // Each says one byte and waits.
            let mut held = Vec::new();
            for _ in 0..share + 40 {
                let mut stream = from([127, 0, 0, 9], port).await?;
                let _ = stream.write_all(b"G").await;
                held.push(stream);
            }
            let mut closed = 0;
            for stream in &mut held {
                let mut byte = [0];
                let read = tokio::time::timeout(Duration::from_millis(5), stream.read(&mut byte));
                closed += usize::from(read.await.is_ok());
            }
            ensure!(closed >= 40, "{closed} of {} were closed", held.len());
            let mut other = from([127, 0, 0, 10], port).await?;
            let found = status(&mut other, &head("/api/v1/about", &good)).await?;
            let expected = if port == agent.people { 200 } else { 404 };
            ensure!(found == Some(expected), "{found:?}");
        }
        Ok(())
    });
}

#[test]
fn sizes_end_where_they_should() {
    story(|lab| async move {
        let good = token(lab, "trimtab-admin", "trimtab").await?;
        let bearer = format!("Bearer {good}");
        let people = lab.agent.people;
        let headers = [
            ("Host", "localhost"),
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let create = "/api/v1/applications?dryRun=true";
        // The cap of a body, one byte below and one above.
        for (bytes, expected) in [(4 << 20, 400), ((4 << 20) + 1, 413)] {
            let body = vec![b' '; bytes];
            let (found, _) = ask(people, "POST", create, &headers, &body).await?;
            ensure!(found == expected, "{bytes} bytes: {found}");
        }
        // Nesting: as deep as the deepest that is read, and one deeper.
        for (depth, expected) in [
            (126, "without `apiVersion`"),
            (127, "recursion limit"),
            (100_000, "recursion limit"),
        ] {
            let deep = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
            let (found, body) = ask(people, "POST", create, &headers, deep.as_bytes()).await?;
            ensure!(
                found == 400 && body.contains(expected),
                "{depth} deep: {body}"
            );
        }
        // A body that is packed.
        let packed = [&headers[..], &[("Content-Encoding", "gzip")]].concat();
        let (found, _) = ask(people, "POST", create, &packed, b"\x1f\x8b\x08\x00").await?;
        ensure!(found == 415, "packed: {found}");
        // Many headers, long headers, a long address.
        let many: Vec<_> = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
        let start = "GET /api/v1/about HTTP/1.1\r\nHost: localhost\r\n";
        for (what, request, expected) in [
            ("many", format!("{start}{}\r\n", many.concat()), 431),
            (
                "long",
                format!("{start}x: {}\r\n\r\n", "a".repeat(64 << 10)),
                431,
            ),
            (
                "address",
                format!(
                    "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "a".repeat(9000)
                ),
                414,
            ),
        ] {
            let mut stream = TcpStream::connect(people).await?;
            let found = status(&mut stream, &request).await?;
            ensure!(found == Some(expected), "{what}: {found:?}");
        }
        Ok(())
    });
}

#[test]
fn requests_that_two_servers_would_read_differently_are_refused() {
    story(|lab| async move {
        let post = "POST /login HTTP/1.1\r\nHost: localhost\r\n";
        for (what, request) in [
            (
                "length and chunks",
                format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ),
            (
                "two lengths",
                format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
            ),
            (
                "a length with a sign",
                format!("{post}Content-Length: +5\r\n\r\nabcde"),
            ),
            (
                "no chunks at the end",
                format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"),
            ),
            (
                "a bad chunk",
                format!("{post}Transfer-Encoding: chunked\r\n\r\nz\r\nab\r\n0\r\n\r\n"),
            ),
            (
                "a bare line feed after the size of a chunk",
                format!("{post}Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n"),
            ),
            (
                "a bare line feed in an extension of a chunk",
                format!("{post}Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nabcde\r\n0\r\n\r\n"),
            ),
            (
                "a bare line feed before a second length",
                format!("{post}Content-Length: 5\nContent-Length: 40\r\n\r\nabcde"),
            ),
            (
                "a bare carriage return in a header",
                format!("{post}X: a\rContent-Length: 5\r\n\r\nabcde"),
            ),
            (
                "a space before the colon",
                format!("{post}Content-Length : 5\r\n\r\nabcde"),
            ),
            ("a folded line", format!("{post}X: a\r\n b\r\n\r\n")),
            (
                "a zero byte",
                "GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            ),
        ] {
            let mut stream = TcpStream::connect(lab.agent.people).await?;
            // A second request hides behind the first: it is never answered.
            let hidden = "GET /assets/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream
                .write_all(format!("{request}{hidden}").as_bytes())
                .await?;
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(SOON, read).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let answers = answer.matches("HTTP/1.1 ").count();
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            ensure!(refused && answers <= 1, "{what}: {answer}");
        }
        Ok(())
    });
}

/// What keeps browsers out of trouble, on whatever is answered.
#[test]
fn every_answer_has_its_headers_and_none_too_many() {
    story(|lab| async move {
        let good = token(lab, "trimtab-admin", "trimtab").await?;
        let good = format!("Bearer {good}");
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/login"),
            ("GET", "/nothing"),
            ("GET", "/assets/icon.svg"),
            ("GET", "/assets/nothing"),
            ("GET", "/api/v1/about"),
            ("GET", "/api/v1/nothing"),
            ("GET", "/api/v1/openapi.json"),
            ("DELETE", "/api/v1/about"),
            ("OPTIONS", "/api/v1/about"),
            ("POST", "/api/v1/applications"),
        ] {
            for authorization in ["Bearer nobody", &good] {
                let stream = TcpStream::connect(lab.agent.people).await?;
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Origin: http://localhost\r\nAuthorization: {authorization}\r\n\
                     Content-Length: 0\r\n\r\n"
                );
                let answer = converse(stream, head.as_bytes()).await?;
                let (head, body) = (answer.head.to_ascii_lowercase(), answer.body);
                for wanted in [
                    "x-content-type-options: nosniff",
                    "referrer-policy: no-referrer",
                    "x-frame-options: deny",
                    "content-security-policy: default-src 'none'",
                    "cross-origin-opener-policy: same-origin",
                    "cross-origin-resource-policy: same-origin",
                    "permissions-policy: ",
                    "cache-control: ",
                ] {
                    ensure!(
                        head.contains(wanted),
                        "{method} {path} has no {wanted}: {head}"
                    );
                }
                for unwanted in ["\r\nserver:", "access-control-", "/src/", "panicked"] {
                    let said = head.contains(unwanted) || body.contains(unwanted);
                    ensure!(!said, "{method} {path}: {unwanted}");
                }
                if path.starts_with("/api/") && !head.starts_with("http/1.1 200") {
                    let error: Value = serde_json::from_str(&body)?;
                    ensure!(
                        error["error"].is_string() && error["request"].is_string(),
                        "{body}"
                    );
                }
            }
        }
        Ok(())
    });
}

/// Ways out of a directory, as they have worked elsewhere.
const WAYS_OUT: &[&str] = &[
    "/../../etc/passwd",
    "/assets/../../etc/passwd",
    "/assets/..%2f..%2f..%2fetc%2fpasswd",
    "/assets/%2e%2e/%2e%2e/etc/passwd",
    "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/assets/%252e%252e%252fetc%252fpasswd",
    "/assets/..%5c..%5cetc%5cpasswd",
    "/assets/..\\..\\etc\\passwd",
    "/assets/....//....//etc/passwd",
    "/assets/%c0%ae%c0%ae/etc/passwd",
    "/assets/%00/etc/passwd",
    "/assets/icon.svg%00.txt",
    "/assets//etc/passwd",
    "//etc/passwd",
    "/assets/;/../etc/passwd",
    "/api/v1/applications/..%2f..%2f/x",
    "/api/v1/applications/trimtab/..%2f..%2fsecrets%2fx",
    "/api/v1/applications/%2e%2e/%2e%2e",
    "/api/v1/applications/trimtab/x%00y",
    "/applications/trimtab/%2e%2e%2f%2e%2e",
    "/hooks/../metrics",
];

#[test]
fn no_way_leads_out_of_a_directory() {
    story(|lab| async move {
        let good = token(lab, "trimtab-admin", "trimtab").await?;
        for way in WAYS_OUT {
            for port in [lab.agent.people, lab.agent.webhooks, lab.agent.operations] {
                let stream = TcpStream::connect(port).await?;
                let close = "\r\nConnection: close\r\n\r\n";
                let head = head(way, &good).replacen("\r\n\r\n", close, 1);
                let answer = converse(stream, head.as_bytes()).await?;
                ensure!(matches!(answer.status, 400 | 404), "{way}: {}", answer.head);
                ensure!(!answer.body.contains("root:"), "{way}: {}", answer.body);
            }
        }
        Ok(())
    });
}

/// Peers that say a byte now and then: they are cut off, and nobody else notices.
#[test]
fn peers_that_drip_are_cut_off_and_others_are_served() {
    story(|lab| async move {
        lab.given_in("drips", "home-drips").await?;
        let agent = lab.agent_for("home-drips", &[]).await?;
        let good = head(
            "/api/v1/about",
            &token(lab, "trimtab-viewer", "trimtab").await?,
        );
        let body = "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
            Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n";
        let delivery = "POST /hooks/github HTTP/1.1\r\nHost: lab\r\nContent-Length: 100000\r\n\r\n";
        // Of two addresses: as many as they may have, and more that are closed at once.
        let mut drips = tokio::task::JoinSet::new();
        for number in 0..500_u32 {
            let (port, begin) = match number % 4 {
                0 => (agent.people, body),
                1 => (agent.webhooks, delivery),
                2 => (agent.webhooks, "POST /hooks/github HTTP/1.1\r\nX-A: "),
                _ => (agent.people, "GET /api/v1/about HTTP/1.1\r\nX-A: "),
            };
            let stream = from([127, 0, 0, 20 + u8::try_from(number % 2)?], port).await?;
            drips.spawn(drip(stream, begin));
        }
        let mut served = 0;
        while !drips.is_empty() {
            let mut stream = TcpStream::connect(agent.people).await?;
            let found = status(&mut stream, &good).await?;
            ensure!(found == Some(200), "a person: {found:?}");
            let (found, _) = get(agent.operations, "/healthz").await?;
            ensure!(found == 200, "health: {found}");
            served += 1;
            while let Some(cut) = drips.try_join_next() {
                cut??;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(served > 20, "{served} were served meanwhile");
        Ok(())
    });
}

/// Says one byte after the other until the connection is closed.
async fn drip(stream: TcpStream, begin: &'static str) -> Result<()> {
    let (mut read, mut write) = stream.into_split();
    let writing = async {
        let mut said = write.write_all(begin.as_bytes()).await;
        while said.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            said = write.write_all(b"a").await;
        }
    };
    let reading = async {
        let mut bytes = [0; 1024];
        while matches!(read.read(&mut bytes).await, Ok(1..)) {}
    };
    let both = async {
        tokio::select! { () = writing => (), () = reading => () }
    };
    let closed = tokio::time::timeout(SOON, both).await;
    closed.with_context(|| format!("a peer is let drip: {begin}"))
}
