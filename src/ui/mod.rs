//! The pages: HTML made on the server of the same values as the API, one small script, one style
//! sheet, nothing from any other host. Every page can be read without the script.

mod about;
mod application;
mod assets;
mod difference;
mod graph;
mod layout;
mod list;
mod login;
mod new;
mod object;
mod repositories;
mod waterfall;
mod webhooks;
mod words;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::Markup;

use crate::api::{Api, Need, Refusal, Route, mount, routes};

/// No inline script or style, nothing from elsewhere, no frame; the script may make HTML only of
/// what our own server sent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types trimtab";

/// The API and the pages, as one router for one port.
pub(crate) fn site(api: &Arc<Api>) -> Router {
    let mut all = routes();
    all.extend(general_pages());
    all.extend(application_pages());
    mount(api, all).layer(from_fn(dress))
}

fn general_pages() -> Vec<Route> {
    use Need::{LoggedIn, Public};
    vec![
        Route::new(Method::GET, "/", LoggedIn, "Applications", list::page),
        Route::new(Method::GET, "/new", LoggedIn, "New application", new::page),
        Route::new(
            Method::POST,
            "/new/preview",
            LoggedIn,
            "What a new application would make",
            new::preview,
        ),
        Route::new(Method::GET, "/about", LoggedIn, "About", about::page),
        Route::new(
            Method::GET,
            "/tiles",
            LoggedIn,
            "Applications",
            list::tiles_page,
        ),
        Route::new(
            Method::GET,
            "/repositories",
            LoggedIn,
            "Repositories",
            repositories::page,
        ),
        Route::new(
            Method::GET,
            "/webhooks",
            LoggedIn,
            "Webhooks",
            webhooks::page,
        ),
        Route::new(Method::GET, "/login", Public, "Log in", login::page),
        Route::new(Method::POST, "/login", Public, "Log in", login::log_in),
        Route::new(
            Method::GET,
            login::PROVIDER,
            Public,
            "Log in by the provider",
            login::to_provider,
        ),
        Route::new(
            Method::GET,
            crate::config::CALLBACK,
            Public,
            "Back from the provider",
            login::from_provider,
        ),
        Route::new(Method::POST, "/logout", Public, "Log out", login::log_out),
        Route::new(
            Method::GET,
            "/assets/{name}",
            Public,
            "Script and style",
            assets::get,
        ),
    ]
}

fn application_pages() -> Vec<Route> {
    let application = Need::Application("get");
    vec![
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}",
            application,
            "Objects",
            application::objects,
        ),
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}/diff",
            application,
            "What differs",
            application::diff,
        ),
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}/events",
            application,
            "Events",
            application::events,
        ),
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}/history",
            application,
            "History",
            application::history,
        ),
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}/manifest",
            application,
            "The Application itself",
            application::manifest,
        ),
        Route::new(
            Method::GET,
            "/applications/{namespace}/{name}/resource",
            application,
            "One object, desired and live",
            object::page,
        ),
    ]
}

/// Gives pages their headers, and people an error as a page. Who is not logged in is led there.
async fn dress(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let back = request.uri().path_and_query().map(ToString::to_string);
    let reads = request.method() == Method::GET;
    let mut response = next.run(request).await;
    if !path.starts_with("/api/") && reads {
        let refusal = response.extensions_mut().remove::<Arc<Refusal>>();
        match refusal {
            Some(it) if it.problem.status() == StatusCode::UNAUTHORIZED => {
                let to = login::address(&back.unwrap_or_default());
                response = Redirect::to(&to).into_response();
            }
            Some(refusal) => response = failure(&refusal),
            None => {}
        }
    }
    let headers = response.headers_mut();
    let html = headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.to_str().unwrap_or_default();
        kind.starts_with("text/html")
    });
    if html {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

fn failure(refusal: &Refusal) -> Response {
    let problem = &refusal.problem;
    let markup = layout::bare(
        "Not shown",
        &maud::html! {
            h1 { "Not shown" }
            p { (problem.message()) }
            p { a href="/" { "All applications" } }
            p .dim { "In the log of the agent this is request " code { (refusal.request) } "." }
        },
    );
    (problem.status(), html(markup)).into_response()
}

/// A page as a response.
fn html(markup: Markup) -> Response {
    let head = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    (head, words::visible(markup.into_string())).into_response()
}

/// The address of a page of an application.
fn address(namespace: &str, name: &str, page: &str) -> String {
    let uri = match page {
        "" => format!("/applications/{namespace}/{name}"),
        page => format!("/applications/{namespace}/{name}/{page}"),
    };
    // Names come from the API server and are DNS names; anything else leads nowhere.
    uri.parse::<Uri>().map_or_else(|_| "/".to_owned(), |_| uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every page with what it needs; one without an entry here fails. That the need is kept is
    /// the guard's, which API and pages share.
    const PAGES: &[(&str, &str, Need)] = &[
        ("GET", "/", Need::LoggedIn),
        ("GET", "/new", Need::LoggedIn),
        // The API's own rule: the right to create.
        ("POST", "/new/preview", Need::LoggedIn),
        ("GET", "/about", Need::LoggedIn),
        ("GET", "/tiles", Need::LoggedIn),
        ("GET", "/repositories", Need::LoggedIn),
        ("GET", "/webhooks", Need::LoggedIn),
        ("GET", "/login", Need::Public),
        ("POST", "/login", Need::Public),
        ("GET", "/login/provider", Need::Public),
        ("GET", "/login/callback", Need::Public),
        ("POST", "/logout", Need::Public),
        ("GET", "/assets/{name}", Need::Public),
        (
            "GET",
            "/applications/{namespace}/{name}",
            Need::Application("get"),
        ),
        (
            "GET",
            "/applications/{namespace}/{name}/diff",
            Need::Application("get"),
        ),
        (
            "GET",
            "/applications/{namespace}/{name}/events",
            Need::Application("get"),
        ),
        (
            "GET",
            "/applications/{namespace}/{name}/history",
            Need::Application("get"),
        ),
        (
            "GET",
            "/applications/{namespace}/{name}/manifest",
            Need::Application("get"),
        ),
        (
            "GET",
            "/applications/{namespace}/{name}/resource",
            Need::Application("get"),
        ),
    ];

    #[test]
    fn every_page_has_an_entry() {
        let mut pages = general_pages();
        pages.extend(application_pages());
        for page in &pages {
            let known = PAGES
                .iter()
                .find(|(method, path, _)| *method == page.method.as_str() && *path == page.path);
            let (_, _, need) = known.unwrap_or_else(|| panic!("{} has no entry", page.path));
            assert_eq!(*need, page.need, "{}", page.path);
        }
        assert_eq!(pages.len(), PAGES.len());
    }
}
