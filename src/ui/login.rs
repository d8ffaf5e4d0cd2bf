//! Logging in with a token of the cluster or by the provider, and out again.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Form,
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
use crate::api::{Api, COOKIE_NAME, LIFETIME, LOGIN_COOKIE, PATIENCE, Problem};
use crate::server::Client;

/// Leads to the provider.
pub(super) const PROVIDER: &str = "/login/provider";

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

pub(super) async fn page(State(api): State<Arc<Api>>, Query(next): Query<Next>) -> Response {
    page_of(form(&api, &next.next, ""))
}

fn form(api: &Api, next: &str, error: &str) -> maud::Markup {
    let provider = api.provider().map(|provider| &provider.settings().name);
    layout::bare(
        "Log in",
        &html! {
            h1 { "Log in" }
            @if !error.is_empty() { p .error role="alert" { (error) } }
            @if let Some(name) = provider {
                p { a .go href={ (PROVIDER) "?" (query(next)) } { "Log in with " (name) } }
                h2 { "Or with a token" }
            }
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
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    Form(log_in): Form<LogIn>,
) -> Result<Response, Problem> {
    let token = log_in.token.trim();
    let mut bearer = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        bearer.insert(AUTHORIZATION, value);
    }
    if let Err(problem) = api.identity(&bearer, client).await {
        let error = match problem.status() {
            StatusCode::UNAUTHORIZED => {
                "That token is not one for the audience trimtab, or it has ended."
            }
            _ => problem.message(),
        };
        return Ok((problem.status(), page_of(form(&api, &log_in.next, error))).into_response());
    }
    // Whatever session the browser came with ends: nobody is logged in under a name they brought.
    api.sessions.end(&headers);
    let Some(id) = api.sessions.begin(token) else {
        return Ok((
            StatusCode::SERVICE_UNAVAILABLE,
            page_of(form(&api, &log_in.next, "Too many people are logged in.")),
        )
            .into_response());
    };
    let mut response = Redirect::to(local(&log_in.next)).into_response();
    set_session(&mut response, &id);
    Ok(response)
}

pub(super) async fn log_out(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    api.sessions.end(&headers);
    let mut response = Redirect::to("/login").into_response();
    set_session(&mut response, "");
    response
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Back {
    state: String,
    code: String,
    error: String,
    error_description: String,
}

/// Leads to the provider's page.
pub(super) async fn to_provider(
    State(api): State<Arc<Api>>,
    Query(next): Query<Next>,
) -> Result<Response, Problem> {
    let (page, browser) = api.begin_login(local(&next.next)).await?;
    let mut response = Redirect::to(&page).into_response();
    set_login(&mut response, &browser);
    Ok(response)
}

/// Where the provider sends people back to.
pub(super) async fn from_provider(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Result<Response, Problem> {
    if !back.error.is_empty() {
        let what = [back.error, back.error_description].join(" ");
        let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
        let why = format!("the provider refused: {}", what.trim());
        return Err(Problem::refused(&why));
    }
    let (session, next) = api.end_login(&headers, &back.state, &back.code).await?;
    // A page of ours that goes on by itself: browsers would not send the new cookie, which is for
    // our own pages alone, where another site's redirect leads.
    let page = layout::onward(local(&next));
    let mut response = page_of(page);
    set_session(&mut response, &session);
    set_login(&mut response, "");
    Ok(response)
}

/// Sets a cookie of the session, which is for our own pages alone; an empty one takes it away.
fn set_session(response: &mut Response, value: &str) {
    set_cookie(response, COOKIE_NAME, value, "Strict", LIFETIME);
}

/// Sets the cookie of a log-in that is under way, which another site's page leads back with.
fn set_login(response: &mut Response, value: &str) {
    set_cookie(response, LOGIN_COOKIE, value, "Lax", PATIENCE);
}

fn set_cookie(response: &mut Response, name: &str, value: &str, site: &str, lifetime: Duration) {
    let seconds = if value.is_empty() {
        0
    } else {
        lifetime.as_secs()
    };
    let cookie =
        format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={site}; Max-Age={seconds}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

fn query(next: &str) -> String {
    serde_urlencoded::to_string([("next", next)]).unwrap_or_default()
}

/// The log-in page that leads back afterwards.
pub(super) fn address(back: &str) -> String {
    match local(back) {
        "/" => "/login".to_owned(),
        back => format!("/login?{}", query(back)),
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
