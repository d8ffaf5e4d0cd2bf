//! The Kubernetes API server, and nothing else: every call is bounded and every error says what
//! was being done. Never decides what should be done.

mod applications;
mod client;
mod patch;

use std::{future::Future, time::Duration};

pub(crate) use applications::Applications;
pub(crate) use client::{ClientOptions, connect, who_am_i};

/// How long one request may take. A watch is bounded by the connection's read timeout instead.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call brought nothing. `doing` completes "could not ...".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "no kubeconfig found (looked at {looked_at}): name one with --kubeconfig or in KUBECONFIG"
    )]
    NoKubeconfig { looked_at: String },
    /// `reason` never quotes the file: it holds keys and tokens.
    #[error("could not use the kubeconfig {path}: {reason}")]
    Kubeconfig { path: String, reason: String },
    #[error("could not log in to the cluster: {0}")]
    Login(String),
    #[error("could not {doing}: the API server did not answer within {} s", after.as_secs())]
    TimedOut { doing: String, after: Duration },
    #[error("could not {doing}: the connection to the API server failed")]
    Connection {
        doing: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not {doing}: it does not exist")]
    NotFound { doing: String },
    #[error(
        "could not {doing}: the cluster does not know applications.{group}; \
         `trimtab crd --group {group} | kubectl apply --server-side -f -` installs it"
    )]
    NoDefinition { doing: String, group: String },
    #[error("could not {doing}: not allowed: {message}")]
    Forbidden { doing: String, message: String },
    #[error("could not {doing}: it was changed by somebody else at the same time")]
    Conflict { doing: String },
    #[error(
        "could not {doing}: an operation by {by} is waiting already, try again when it is over"
    )]
    OperationPending { doing: String, by: String },
    #[error("could not {doing}: the API server answered {code} {reason}: {message}")]
    Api {
        doing: String,
        code: u16,
        reason: String,
        message: String,
    },
    #[error("could not {doing}: the answer makes no sense: {reason}")]
    Unreadable { doing: String, reason: String },
}

impl Error {
    /// Sorts what the client library reports. Content of answers and of credential programs stays
    /// out of it.
    pub(crate) fn new(doing: impl Into<String>, error: kube::Error) -> Self {
        let doing = doing.into();
        match error {
            kube::Error::Api(status) => Self::answered(doing, &status),
            kube::Error::Auth(error) => Self::Login(client::login_fault(&error)),
            kube::Error::Service(source) => match source.downcast::<kube::client::AuthError>() {
                Ok(error) => Self::Login(client::login_fault(&error)),
                Err(source) => Self::Connection { doing, source },
            },
            kube::Error::SerdeError(error) => Self::Unreadable {
                doing,
                reason: format!("line {}, column {}", error.line(), error.column()),
            },
            error => Self::Connection {
                doing,
                source: error.into(),
            },
        }
    }

    /// Whether the same call may succeed a little later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Connection { .. } | Self::Conflict { .. } => true,
            Self::Api { code, .. } => matches!(code, 410 | 429 | 500..=599),
            _ => false,
        }
    }

    /// What a Status of the API server means.
    pub(crate) fn answered(doing: String, status: &kube::core::Status) -> Self {
        let message = status.message.clone();
        match status.code {
            401 => Self::Login("the API server does not accept the credentials".to_owned()),
            403 => Self::Forbidden { doing, message },
            404 => Self::NotFound { doing },
            409 if status.reason == "Conflict" => Self::Conflict { doing },
            code => Self::Api {
                doing,
                code,
                reason: status.reason.clone(),
                message,
            },
        }
    }
}

/// Runs one request with a deadline. `doing` completes "could not ...".
pub(crate) async fn bounded<T>(
    doing: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| Error::new(doing, error)),
        Err(_) => Err(Error::TimedOut {
            doing: doing.to_owned(),
            after: CALL_TIMEOUT,
        }),
    }
}
