//! What holds for every request on every port: panics are caught, and the headers of a response
//! tell browsers to do nothing clever with it.

use std::{convert::Infallible, panic::AssertUnwindSafe};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderName, HeaderValue, Request, Response, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, SERVER,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    response::IntoResponse as _,
};
use futures::FutureExt as _;
use tower::ServiceExt as _;

/// Set where the router has not set another value.
const DEFAULTS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// The router's response to a request, made safe. `secure`: it came by https, and the browser shall
/// take no other way for a year (RFC 6797).
pub(super) async fn answer(
    router: Router,
    request: Request<Body>,
    secure: bool,
) -> Result<Response<Body>, Infallible> {
    let answer = AssertUnwindSafe(router.oneshot(request));
    let mut response = match answer.catch_unwind().await {
        Ok(Ok(response)) => response,
        // The panic hook has logged what happened.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
    };
    let headers = response.headers_mut();
    headers.remove(SERVER);
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    if secure {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    Ok(response)
}
