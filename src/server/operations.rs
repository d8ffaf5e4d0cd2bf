//! The port for the kubelet and Prometheus: whether we live, whether we are ready, and metrics.

use std::sync::Arc;

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::telemetry::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`, `/readyz` and `/metrics`. Both closures are quick and ask nobody else; an error says
/// what is missing, in words for people.
pub(crate) fn operations(
    healthy: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    ready: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    metrics: Arc<Metrics>,
) -> Router {
    Router::new()
        .route("/healthz", get(async move || probe(healthy())))
        .route("/readyz", get(async move || probe(ready())))
        .route(
            "/metrics",
            get(async move || ([(CONTENT_TYPE, OPENMETRICS)], metrics.encode())),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
}

fn probe(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
