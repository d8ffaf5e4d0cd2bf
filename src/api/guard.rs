//! What every request passes before its route runs: the right host, no token where logs see it,
//! no forged write, somebody who is known and may do this.

use std::{
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Instant,
};

use axum::{
    extract::{RawPathParams, Request, State},
    http::{
        Extensions, HeaderMap, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN},
    },
    middleware::Next,
    response::Response,
};
use futures::FutureExt as _;

use super::sessions::Holder;
use super::{Api, Identity, Need, Problem};
use crate::crd::ApplicationKey;
use crate::object::{is_dns_label, is_dns_name};
use crate::server::Client;

/// Bytes of path and query.
const LONGEST_ADDRESS: usize = 8 << 10;
/// A header that no form of another site can send.
const OURS: &str = "x-trimtab";
/// Where a request comes from, in the browser's own words (Fetch Metadata).
const FETCH_SITE: &str = "sec-fetch-site";

/// Refuses what is not for us. Runs for every path, also unknown ones.
pub(crate) async fn check_request(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if !host_is_ours(headers, &api.hosts) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not one of the agent's: name it with --host",
        ));
    }
    let query = request
        .uri()
        .query()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if query.contains("token=") {
        return Err(Problem::wrong(
            "a token in an address ends up in logs: send it as a header",
        ));
    }
    if request.uri().path().len() + query.len() > LONGEST_ADDRESS {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "the address is too long",
        ));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a body is sent as it is, not compressed",
        ));
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        check_origin(request.uri().path(), headers)?;
    }
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if !path.starts_with("/api/") || !response.status().is_client_error() {
        return Ok(response);
    }
    in_our_words(response).await
}

/// A panic costs one request: it is answered as any other error, and the panic hook has logged what
/// happened.
pub(super) async fn catch_panics(request: Request, next: Next) -> Result<Response, Problem> {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
}

/// What the router itself refuses, such as a body that is no JSON, as an error like all others.
async fn in_our_words(response: Response) -> Result<Response, Problem> {
    let kind = response.headers().get(CONTENT_TYPE);
    let plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !plain {
        return Ok(response);
    }
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), 4096).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    Err(Problem::new(status, text))
}

/// Refuses who may not run this route; hands the identity on.
pub(crate) async fn check_need(
    State((api, need)): State<(Arc<Api>, Need)>,
    path: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let client = client(request.extensions());
    let now = Instant::now();
    if need == Need::Public {
        if !api.visitors.take(client, now) {
            return Err(Problem::too_often());
        }
        return Ok(next.run(request).await);
    }
    let identity = api.identity(request.headers(), client).await?;
    if !api.people.take(identity.name().to_owned(), now) {
        return Err(Problem::too_often());
    }
    if let Need::Application(verb) = need {
        let part = |name: &str| {
            let mut found = path.iter().filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value.to_owned())
        };
        let application = ApplicationKey {
            namespace: part("namespace").unwrap_or_default(),
            name: part("name").unwrap_or_default(),
        };
        // An empty part would ask about all of them, and one that is no name ends up in an address.
        if !is_dns_label(&application.namespace) || !is_dns_name(&application.name) {
            return Err(Problem::missing("such application"));
        }
        if !api
            .permissions
            .application(&identity, verb, &application)
            .await?
        {
            return Err(Problem::forbidden(
                identity.name(),
                &format!("{verb} application {application}"),
            ));
        }
    }
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

impl Api {
    /// Who sent this: a bearer token, or whoever the browser's session stands for.
    /// `client` pays for what is not known.
    pub(crate) async fn identity(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Identity, Problem> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let token = match (given.next(), given.next()) {
            // Two readers could take different ones of them.
            (Some(_), Some(_)) => None,
            (Some(value), None) => {
                let value = value.to_str().unwrap_or_default();
                let (scheme, token) = value.split_once(' ').unwrap_or_default();
                let bearer = scheme.eq_ignore_ascii_case("bearer");
                bearer.then(|| token.trim().to_owned())
            }
            (None, _) => match self.sessions.holder(headers) {
                Some(Holder::Person(identity)) => return Ok(identity),
                Some(Holder::Token(token)) => Some(token),
                None => None,
            },
        };
        let Some(token) = token else {
            let permitted = self.visitors.take(client, Instant::now());
            return Err(match permitted {
                true => Problem::unauthenticated(),
                false => Problem::too_often(),
            });
        };
        self.authenticator.identify(&token, client).await
    }
}

/// Who pays for a request of somebody who is not known.
fn client(extensions: &Extensions) -> IpAddr {
    let client = extensions.get::<Client>();
    client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0)
}

/// Whether a browser was led here by a name of somebody else: an address cannot be rebound, a
/// name that is not ours can.
fn host_is_ours(headers: &HeaderMap, hosts: &[String]) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// A write must come from a page of ours, or from no page: browsers say where it comes from, and
/// a form of another site can send neither JSON nor our header.
fn check_origin(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |why: &str| Problem::new(StatusCode::FORBIDDEN, why);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = headers
        .get(ORIGIN)
        .map(|origin| origin.to_str().unwrap_or_default());
    // Browsers say so themselves where they trust the connection, and no page can change it. A
    // form's origin is hidden by our own referrer policy.
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    match (site, origin) {
        (Some(b"same-origin"), _) => {}
        (Some(_), _) => return Err(refused("the request comes from a page of another site")),
        (None, Some(origin)) => {
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            if rest.is_none() || rest != host {
                return Err(refused("the request comes from a page of another site"));
            }
        }
        (None, None) if !headers.contains_key(AUTHORIZATION) => {
            return Err(refused("the request does not say which page it comes from"));
        }
        (None, None) => {}
    }
    let content = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    // A log-in without the script; that it comes from our page was seen above.
    let form = content == Some("application/x-www-form-urlencoded");
    if form && (path == "/login" || path == "/logout") {
        return Ok(());
    }
    let json = content.is_some_and(|content| content.starts_with("application/json"));
    if json || headers.contains_key(OURS) || headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "a write is JSON: send Content-Type: application/json",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn a_panic_is_answered_like_any_error() {
        async fn broken() {
            panic!("of the test");
        }
        let router = axum::Router::new()
            .route("/", axum::routing::get(broken))
            .layer(axum::middleware::from_fn(catch_panics));
        let request = Request::new(axum::body::Body::empty());
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096).await;
        let error: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(error["error"], "internal error");
        assert_eq!(error["request"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn only_our_hosts_are_served() {
        let ours = ["trimtab.example.com".to_owned()];
        for (host, expected) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("10.0.0.7:8080", true),
            ("Trimtab.example.com", true),
            ("trimtab.example.com.", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("trimtab.example.com.evil.example:8080", false),
            ("", false),
        ] {
            let seen = host_is_ours(&headers(&[("host", host)]), &ours);
            assert_eq!(seen, expected, "{host}");
        }
        assert!(!host_is_ours(&headers(&[]), &ours));
    }

    #[test]
    fn a_write_of_another_site_is_refused() {
        let json = ("content-type", "application/json");
        let host = ("host", "a:1");
        let token = ("authorization", "Bearer x");
        for (given, expected) in [
            (vec![host, ("origin", "http://a:1"), json], 0),
            (vec![host, ("origin", "http://a:1"), ("x-trimtab", "1")], 0),
            (vec![host, token], 0),
            (
                vec![
                    host,
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "null"),
                    json,
                ],
                0,
            ),
            (
                vec![
                    host,
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://a:1"),
                    json,
                ],
                403,
            ),
            (
                vec![host, token, ("sec-fetch-site", "cross-site"), json],
                403,
            ),
            (vec![host, token, ("origin", "http://b")], 403),
            (vec![host, json], 403),
            (vec![host, ("origin", "null"), json], 403),
            (vec![host, ("origin", "http://a:2"), json], 403),
            (vec![host, ("origin", "http://a:1.b"), json], 403),
            (vec![host, ("origin", "http://a:1")], 415),
            (
                vec![
                    host,
                    ("origin", "http://a:1"),
                    ("content-type", "text/plain"),
                ],
                415,
            ),
        ] {
            let seen = check_origin("/api/v1/x", &headers(&given));
            let seen = seen.map_or_else(|problem| problem.status().as_u16(), |()| 0);
            assert_eq!(seen, expected, "{given:?}");
        }
    }
}
