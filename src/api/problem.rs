//! What is answered when something is refused or fails: one JSON shape, no path, no stack.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::Error as ClusterError;
use crate::controller::Unavailable;

/// Why a request brought nothing.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
}

/// A problem that was answered, for a page about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    /// By which the log of the agent names the request.
    pub(crate) request: String,
}

/// The body of an error.
#[derive(Serialize, JsonSchema)]
pub(super) struct ErrorBody {
    /// What happened and what to do.
    error: String,
    /// By which the log of the agent names this request.
    request: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "log in: send a token for the audience trimtab, such as \
             `kubectl create token ACCOUNT --audience trimtab` makes it",
        )
    }

    pub(super) fn forbidden(name: &str, what: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("{name} may not {what}"))
    }

    pub(crate) fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    pub(super) fn busy(message: &str) -> Self {
        let message = format!("{message}, try again in a moment");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Somebody asks too often.
    pub(super) fn too_often() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests, try again in a moment",
        )
    }

    /// Something else that is needed does not answer as it should.
    pub(super) fn unavailable(message: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, message)
    }

    /// Whoever this is, they are not let in.
    pub(crate) fn refused(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        let status = match &error {
            ClusterError::NotFound { .. } | ClusterError::UnknownKind(_) => StatusCode::NOT_FOUND,
            ClusterError::Conflict { .. } | ClusterError::OperationPending { .. } => {
                StatusCode::CONFLICT
            }
            ClusterError::Api {
                code: 400 | 422, ..
            } => StatusCode::UNPROCESSABLE_ENTITY,
            ClusterError::Api { code: 409, .. } => StatusCode::CONFLICT,
            ClusterError::Api { code: 404, .. } => StatusCode::NOT_FOUND,
            ClusterError::TimedOut { .. } | ClusterError::Connection { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // What the agent itself may not do is not the visitor's fault.
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        let status = match &error {
            Unavailable::Application(_) | Unavailable::Deployment(_) => StatusCode::NOT_FOUND,
            Unavailable::Other(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request = request_id();
        match self.status {
            status if status.is_server_error() => {
                tracing::warn!(request, %status, error = self.message, "a request failed");
            }
            // Who asks too often is not to fill the log, nor is everybody's first visit.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED => {
                tracing::debug!(request, status = %self.status, error = self.message, "refused");
            }
            status => tracing::info!(request, %status, error = self.message, "refused"),
        }
        let body = ErrorBody {
            error: self.message.clone(),
            request: request.clone(),
        };
        let mut response = (self.status, Json(body)).into_response();
        // Pages show the same to people.
        let refusal = Refusal {
            problem: self.clone(),
            request,
        };
        response.extensions_mut().insert(Arc::new(refusal));
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"trimtab\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            let soon = HeaderValue::from_static("5");
            response.headers_mut().insert(RETRY_AFTER, soon);
        }
        response
    }
}

fn request_id() -> String {
    random_hex::<8>()
}

/// Random bytes in hexadecimal digits, unguessable when there are 16 or more.
pub(crate) fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
