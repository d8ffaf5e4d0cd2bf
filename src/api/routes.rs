//! Every route of the API with what it needs: the one place where a route can be added.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode},
    middleware::{from_fn, from_fn_with_state},
};
use serde_json::{Map, Value};

use crate::crd::{RollbackOperation, SyncOperation};

use super::{
    Api, Filter, Need, Problem, Route, actions, applications, guard, live, openapi, repositories,
    stream, tree, webhooks,
};

/// Bytes of the body of a request; manifests to compare are the largest.
const BODY: usize = 4 << 20;

/// The OpenAPI document of these routes.
async fn document() -> Json<Value> {
    Json(openapi::describe(&routes()))
}

/// The routes below `/api/v1`.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = general();
    routes.extend(reading());
    routes.extend(acting());
    routes.extend(storing());
    routes
}

/// What is about no single application.
fn general() -> Vec<Route> {
    use Need::{LoggedIn, Public};
    let get = Method::GET;
    vec![
        Route::new(
            get.clone(),
            "/api/v1/openapi.json",
            Public,
            "This document",
            document,
        )
        .answer::<Map<String, Value>>(),
        Route::new(
            get.clone(),
            "/api/v1/about",
            LoggedIn,
            "The agent and who asks",
            applications::about,
        )
        .answer::<applications::AboutAnswer>(),
        Route::new(
            get.clone(),
            "/api/v1/applications",
            LoggedIn,
            "Applications that the caller may list",
            applications::list,
        )
        .query::<Filter>()
        .answer::<applications::List>(),
        Route::new(
            get.clone(),
            "/api/v1/repositories",
            LoggedIn,
            "Repositories of applications that the caller may list",
            repositories::list,
        )
        .answer::<Vec<repositories::RepositoryRow>>(),
        Route::new(
            get.clone(),
            "/api/v1/receivers",
            LoggedIn,
            "Receivers of webhooks with their last deliveries; needs `list` in the agent's namespace",
            webhooks::list,
        )
        .answer::<Vec<webhooks::ReceiverRow>>(),
        Route::new(
            get.clone(),
            "/api/v1/stream",
            LoggedIn,
            "Changes of what is listed, as server-sent events: `application` with a summary, \
             `gone`, and `resync` when some were missed",
            stream::stream,
        )
        .query::<stream::StreamQuery>()
        .content("text/event-stream"),
    ]
}

/// Looks at one application.
fn reading() -> Vec<Route> {
    use Need::Application;
    let get = Method::GET;
    vec![
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}",
            Application("get"),
            "One application and why it is as it is",
            applications::get,
        )
        .answer::<applications::Detail>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/tree",
            Application("get"),
            "Its objects and what they own",
            tree::get,
        )
        .answer::<tree::Tree>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/diff",
            Application("get"),
            "What differs between desired and live",
            applications::diff,
        )
        .query::<applications::DiffQuery>()
        .answer::<applications::Visible>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/timings",
            Application("get"),
            "How long each stage of the last changes took",
            webhooks::timings,
        )
        .answer::<Vec<webhooks::TimingRow>>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/resource",
            Application("get"),
            "One live object, with the values of Secrets masked",
            live::resource,
        )
        .query::<live::ObjectQuery>()
        .answer::<Map<String, Value>>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/desired",
            Application("get"),
            "One object as it is desired, rendered and not applied, with the values of Secrets \
             masked; needs `get` on it",
            live::desired,
        )
        .query::<live::ObjectQuery>()
        .answer::<Map<String, Value>>(),
        Route::new(
            get.clone(),
            "/api/v1/applications/{namespace}/{name}/events",
            Application("get"),
            "Events of the application, or of one object",
            live::events,
        )
        .query::<live::ObjectQuery>()
        .answer::<Vec<live::EventRow>>(),
        Route::new(
            get,
            "/api/v1/applications/{namespace}/{name}/logs",
            Application("get"),
            "Lines of a container's log",
            live::logs,
        )
        .query::<live::LogQuery>()
        .content("text/plain"),
    ]
}

/// Makes, changes and ends applications.
fn storing() -> Vec<Route> {
    use Need::{Application, LoggedIn};
    vec![
        Route::new(
            Method::POST,
            "/api/v1/applications",
            LoggedIn,
            "Create an application; needs `create` in its namespace",
            actions::create,
        )
        .query::<actions::DryRun>()
        .body::<Map<String, Value>>()
        .answer::<Map<String, Value>>(),
        Route::new(
            Method::POST,
            "/api/v1/applications/preview",
            LoggedIn,
            "What an application would make, if it were created; needs `create` in its namespace",
            actions::preview,
        )
        .body::<Map<String, Value>>()
        .answer::<actions::Proposal>(),
        Route::new(
            Method::PUT,
            "/api/v1/applications/{namespace}/{name}",
            Application("update"),
            "Replace its spec",
            actions::update,
        )
        .query::<actions::DryRun>()
        .body::<Map<String, Value>>()
        .answer::<Map<String, Value>>(),
        Route::new(
            Method::DELETE,
            "/api/v1/applications/{namespace}/{name}",
            Application("delete"),
            "Delete it",
            actions::delete,
        )
        .query::<actions::DeleteQuery>()
        .answer::<actions::Done>(),
    ]
}

/// An action on one application that needs this verb.
macro_rules! action {
    ($path:literal, $verb:literal, $about:literal, $handler:path) => {
        Route::new(
            Method::POST,
            concat!("/api/v1/applications/{namespace}/{name}/", $path),
            Need::Application($verb),
            $about,
            $handler,
        )
        .answer::<actions::Done>()
    };
}

/// Acts on one application.
fn acting() -> Vec<Route> {
    use actions::{
        PauseRequest, Refresh, approve, pause, refresh, resume, rollback, sync, terminate,
    };
    vec![
        action!("sync", "sync", "Apply what is desired", sync).body::<SyncOperation>(),
        action!(
            "refresh",
            "refresh",
            "Read the source now and compare",
            refresh
        )
        .body::<Refresh>(),
        action!("terminate", "sync", "End the sync that runs", terminate),
        action!(
            "rollback",
            "rollback",
            "Go back to an earlier deployment, or end that",
            rollback
        )
        .body::<RollbackOperation>(),
        action!("pause", "pause", "Sync nothing for a while", pause).body::<PauseRequest>(),
        action!("resume", "pause", "End a pause", resume),
        action!("approve", "sync", "Let go what waits for approval", approve),
        action!(
            "resource",
            "get",
            "Restart, scale or delete one live object; needs `patch` or `delete` on it",
            live::act
        )
        .query::<live::ObjectQuery>()
        .body::<live::LiveAction>(),
        action!(
            "diff",
            "update",
            "What manifests that the caller rendered would change",
            applications::diff_manifests
        )
        .query::<applications::DiffQuery>()
        .body::<Vec<Value>>()
        .answer::<applications::Visible>(),
    ]
}

/// A router of these routes, each behind its guard.
pub(crate) fn mount(api: &Arc<Api>, routes: Vec<Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let state = (Arc::clone(api), route.need);
        let guarded = route
            .handler
            .route_layer(from_fn_with_state(state, guard::check_need));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(async || Problem::missing("such page"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this page does not know that method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Arc::clone(api), guard::check_request))
        .layer(from_fn(guard::catch_panics))
        .with_state(Arc::clone(api))
}
