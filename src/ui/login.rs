//! Logging in with a token of the cluster, and out again.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, SET_COOKIE},
    },
    response::{IntoResponse as _, Redirect, Response},
};
use maud::html;
use serde::Deserialize;

use super::{html as page_of, layout};
use crate::api::{Api, COOKIE_NAME, LIFETIME, Problem};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Next {
    next: String,
}

#[derive(Deserialize)]
pub(super) struct LogIn {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn page(Query(next): Query<Next>) -> Response {
    page_of(form(&next.next, ""))
}

fn form(next: &str, error: &str) -> maud::Markup {
    layout::bare(
        "Log in",
        &html! {
            h1 { "Log in" }
            @if !error.is_empty() { p .error role="alert" { (error) } }
            form method="post" action="/login" .login {
                input type="hidden" name="next" value=(next);
                label { "Token of the cluster"
                    input type="password" name="token" required autocomplete="off" autofocus; }
                button .go type="submit" { "Log in" }
            }
            p { "Make one for yourself or for an account of the agent, for this audience only:" }
            pre { "kubectl -n trimtab create token trimtab-viewer --audience trimtab" }
            p { "Or run " code { "trimtab ui" } ", which needs no log-in." }
        },
    )
}

pub(super) async fn log_in(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Form(log_in): Form<LogIn>,
) -> Result<Response, Problem> {
    let token = log_in.token.trim();
    let mut bearer = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        bearer.insert(AUTHORIZATION, value);
    }
    if let Err(problem) = api.identity(&bearer).await {
        let error = match problem.status() {
            StatusCode::UNAUTHORIZED => {
                "That token is not one for the audience trimtab, or it has ended."
            }
            _ => problem.message(),
        };
        return Ok((problem.status(), page_of(form(&log_in.next, error))).into_response());
    }
    // Whatever session the browser came with ends: nobody is logged in under a name they brought.
    api.sessions.end(&headers);
    let Some(id) = api.sessions.begin(token) else {
        return Ok((
            StatusCode::SERVICE_UNAVAILABLE,
            page_of(form(&log_in.next, "Too many people are logged in.")),
        )
            .into_response());
    };
    let mut response = Redirect::to(local(&log_in.next)).into_response();
    set_cookie(&mut response, &id, LIFETIME.as_secs());
    Ok(response)
}

pub(super) async fn log_out(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    api.sessions.end(&headers);
    let mut response = Redirect::to("/login").into_response();
    set_cookie(&mut response, "", 0);
    response
}

fn set_cookie(response: &mut Response, value: &str, seconds: u64) {
    let cookie = format!(
        "{COOKIE_NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}"
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// The log-in page that leads back afterwards.
pub(super) fn address(back: &str) -> String {
    match local(back) {
        "/" => "/login".to_owned(),
        back => {
            let next = serde_urlencoded::to_string([("next", back)]).unwrap_or_default();
            format!("/login?{next}")
        }
    }
}

/// A path on this site, or its root: nobody is led elsewhere by a link to our log-in.
fn local(next: &str) -> &str {
    let lower = next.to_ascii_lowercase();
    let elsewhere = !next.starts_with('/')
        || next.starts_with("//")
        || next.contains(['\\', '\r', '\n', '\t'])
        || next.contains("//")
        || lower.contains("%2f")
        || lower.contains("%5c");
    if elsewhere { "/" } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for (next, expected) in [
            ("/applications/a/b?x=1", "/applications/a/b?x=1"),
            ("", "/"),
            ("//evil", "/"),
            ("/\\evil", "/"),
            ("/%2f/evil", "/"),
            ("/%2Fevil", "/"),
            ("https:evil", "/"),
            ("/..//evil", "/"),
            ("/a\nSet-Cookie: x", "/"),
        ] {
            assert_eq!(local(next), expected, "{next:?}");
        }
    }
}
