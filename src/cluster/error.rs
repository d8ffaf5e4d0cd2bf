//! What can go wrong between us and the API server.

use std::time::Duration;

use kube::client::AuthError;

use super::answers;
use super::dump::without_dumps;
use super::secret_text::{without_base64, without_values};
use crate::diff::{Cause, Refusal};
use crate::object::{Kind, Object, ResourceKey};

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
        /// The whole answer, for decisions.
        refusal: Box<Refusal>,
    },
    /// An object that cannot become what is declared, and what a person may do about it.
    #[error("{error}. {remedy}")]
    Stuck {
        error: Box<Self>,
        remedy: &'static str,
    },
    /// What was to be written is larger than what can be stored.
    #[error("could not {doing}: {reason}")]
    TooLarge { doing: String, reason: String },
    #[error("could not {doing}: the answer is larger than {} MiB", answers::MOST >> 20)]
    TooLong { doing: String },
    #[error("could not {doing}: the answer makes no sense: {reason}")]
    Unreadable { doing: String, reason: String },
    #[error("the cluster has no kind {0}; is its CustomResourceDefinition installed?")]
    UnknownKind(Kind),
    #[error("{0} is not deleted: {1}")]
    NotOurs(ResourceKey, &'static str),
}

impl Error {
    /// Sorts what the client library reports. Content of answers and of credential programs stays
    /// out of it.
    pub(crate) fn new(doing: impl Into<String>, error: kube::Error) -> Self {
        let doing = doing.into();
        if answers::is_too_large(&error) {
            return Self::TooLong { doing };
        }
        match error {
            kube::Error::Api(status) => Self::answered(doing, &status),
            kube::Error::Auth(error) => Self::Login(login_fault(&error)),
            kube::Error::Service(source) => match source.downcast::<AuthError>() {
                Ok(error) => Self::Login(login_fault(&error)),
                Err(source) => Self::Connection { doing, source },
            },
            kube::Error::SerdeError(error) => Self::no_json(doing, &error),
            error => Self::Connection {
                doing,
                source: error.into(),
            },
        }
    }

    /// An answer that is not what it should be; its content is not quoted.
    pub(super) fn no_json(doing: impl Into<String>, error: &serde_json::Error) -> Self {
        Self::Unreadable {
            doing: doing.into(),
            reason: format!("line {}, column {}", error.line(), error.column()),
        }
    }

    /// As [`Error::new`], for a request about a managed object. What the API server says about a
    /// Secret can quote its values: of that only the fields and the kind of fault are kept.
    pub(super) fn of_object(doing: String, secret: bool, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::new(doing, error);
        };
        // What the authoriser says names who may not do what, and never a value.
        let by_authoriser = status.code == 403 && status.message.contains("is forbidden: User \"");
        let message = if secret && !by_authoriser {
            without_values(&status)
        } else {
            bounded(&without_dumps(&status.message))
        };
        let reason = match status.reason.as_str() {
            "" => "Error".to_owned(),
            reason => reason.to_owned(),
        };
        Self::Api {
            doing,
            code: status.code,
            reason,
            message,
            refusal: Box::new(refusal_of(&status)),
        }
    }

    /// Says of a refused manifest what the API server does not: which values are no base64.
    pub(super) fn about(mut self, manifest: &Object) -> Self {
        if let Self::Api {
            message, refusal, ..
        } = &mut self
            && refusal.says(ILLEGAL_BASE64)
        {
            let keys = without_base64(manifest);
            if !keys.is_empty() {
                *message = format!("{message}: in {}", keys.join(", "));
            }
        }
        self
    }

    /// What the API server answered, where it refused a request about a managed object.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Api { refusal, .. } => Some(refusal),
            Self::Stuck { error, .. } => error.refusal(),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Api { code: 404, .. })
    }

    /// Whether a field was refused because it can never change.
    pub(crate) fn is_immutable(&self) -> bool {
        self.refusal().is_some_and(|refusal| {
            refusal.code == 422 && IMMUTABLE.iter().any(|words| refusal.says(words))
        })
    }

    /// Whether the manifest is wrong in itself.
    pub(crate) fn is_invalid(&self) -> bool {
        match self {
            Self::Api {
                code: 500, refusal, ..
            } => refusal.is_untyped(),
            Self::Api { code, .. } => matches!(code, 400 | 422),
            _ => false,
        }
    }

    /// Whether somebody else wrote in between, or a precondition did not hold.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Api { code: 409, .. })
    }

    /// Whether what was to be written is too large to be stored: for us, the API server or etcd.
    pub(crate) fn is_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Api { code, message, .. } => {
                *code == 413 || TOO_LARGE.iter().any(|words| message.contains(words))
            }
            _ => false,
        }
    }

    /// Whether the answer was larger than what is taken: a list may be asked for in smaller pages.
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }

    /// Whether the same call may succeed a little later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // The answer to what does not fit a schema is a 500, and stays one.
            Self::Api {
                code: 500, refusal, ..
            } => !refusal.is_lasting(),
            Self::TimedOut { .. } | Self::Connection { .. } | Self::Conflict { .. } => true,
            Self::Api { code, .. } => matches!(code, 409 | 410 | 429 | 500..=599),
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
                refusal: Box::new(refusal_of(status)),
                message,
            },
        }
    }
}

/// The whole of what a Status says.
fn refusal_of(status: &kube::core::Status) -> Refusal {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes = causes.map(|cause| Cause {
        reason: cause.reason.clone(),
        field: cause.field.clone(),
        message: cause.message.clone(),
    });
    Refusal::new(status.code, &status.message, causes)
}

/// The API server has no code for what can never change, only words.
const IMMUTABLE: [&str; 3] = ["immutable", "may not be changed", "Forbidden: updates to"];

/// What etcd, and the API server's connection to it, say about an object that is too large.
const TOO_LARGE: [&str; 2] = ["request is too large", "message larger than max"];

/// What the API server says of a value that should be base64, without its place.
const ILLEGAL_BASE64: &str = "illegal base64";

/// At most 1 KiB, in one line: messages end up in conditions.
fn bounded(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(1024).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// Why there is no credential. What a credential program printed stays out of it, apart from the
/// first line that it wrote to its error output: standard output may hold a token.
fn login_fault(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let said = stderr.lines().find(|line| !line.trim().is_empty());
            format!(
                "the credential program of the kubeconfig ended with {}: {}",
                out.status,
                said.unwrap_or("it does not say why").trim()
            )
        }
        AuthError::AuthExecParse(_) => {
            "the credential program of the kubeconfig printed no credential".to_owned()
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api(status: serde_json::Value) -> kube::Error {
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn a_secret_s_values_stay_out_of_the_text() {
        let status = json!({
            "code": 422, "reason": "Invalid", "message": "data: Invalid value: \"hunter2\"",
            "details": {"causes": [{"field": "data.password", "message": "hunter2", "reason": ""}]},
        });
        let error = Error::of_object("apply Secret/a/b".into(), true, api(status.clone()));
        assert_eq!(
            error.to_string(),
            "could not apply Secret/a/b: the API server answered 422 Invalid: data.password: Invalid value"
        );
        assert!(!error.is_immutable());
        let mut fixed = status.clone();
        fixed["message"] = json!("data: \"hunter2\": field is immutable when `immutable` is set");
        let error = Error::of_object("apply Secret/a/b".into(), true, api(fixed.clone()));
        assert!(error.is_immutable() && !error.to_string().contains("hunter2"));
        // A Job's refusal quotes its whole template before it says what is wrong.
        let quoted = format!("spec.template: {}: field is immutable", "x".repeat(4000));
        fixed["message"] = json!(quoted);
        let error = Error::of_object("apply Job/a/b".into(), false, api(fixed.clone()));
        assert!(error.is_immutable() && error.to_string().chars().count() < 1200);
        let template = "x".repeat(4000);
        let quoted =
            format!("spec.template: Invalid value: {{\"a\":\"{template}\"}}: field is immutable");
        fixed["message"] = json!(quoted);
        let error = Error::of_object("apply Job/a/b".into(), false, api(fixed));
        let text = "could not apply Job/a/b: the API server answered 422 Invalid: spec.template: \
                    Invalid value: {…}: field is immutable";
        assert!(error.is_immutable());
        assert_eq!(error.to_string(), text);
        let error = Error::of_object("apply ConfigMap/a/b".into(), false, api(status));
        assert!(error.to_string().contains("Invalid value"));
        let refused = "secrets \"b\" is forbidden: User \"shop\" cannot patch resource";
        let status = json!({"code": 403, "reason": "Forbidden", "message": refused});
        let error = Error::of_object("apply Secret/a/b".into(), true, api(status));
        assert!(error.to_string().contains(refused));
    }

    #[test]
    fn what_is_too_large_is_known_by_code_or_words() {
        let said = |code: u16, message: &str| {
            let status = json!({"code": code, "message": message, "reason": ""});
            Error::new("write the status", api(status)).is_too_large()
        };
        assert!(said(413, "Request entity too large: limit is 3145728"));
        assert!(said(500, "etcdserver: request is too large"));
        assert!(said(
            500,
            "rpc error: trying to send message larger than max (3 vs. 2)"
        ));
        assert!(!said(500, "etcdserver: leader changed"));
        assert!(!said(422, "spec.a: Too long"));
    }

    #[test]
    fn a_text_becomes_one_line() {
        let long = format!("errors:\n  .spec.a: no\n\t{}", "x".repeat(2000));
        let line = bounded(&long);
        assert!(line.starts_with("errors: .spec.a: no xxx") && line.ends_with('…'));
        assert_eq!(line.chars().count(), 1025);
        assert_eq!(bounded("as it is"), "as it is");
    }

    #[test]
    fn an_unknown_field_is_terminal_though_the_server_says_500() {
        let refused = |code: u16, message: &str| {
            let status = json!({"code": code, "message": message});
            Error::of_object("apply".into(), false, api(status))
        };
        let schema = "failed to prune fields: .spec.extra: field not declared in schema";
        assert!(!refused(500, schema).is_passing());
        assert!(refused(500, "etcd leader changed").is_passing());
        assert!(!refused(500, "failed to create typed patch object (a/b)").is_passing());
        assert!(refused(429, "").is_passing());
        assert!(!refused(422, "").is_passing());
        let secret =
            json!({"code": 500, "message": "failed to create typed patch object (a/b): x"});
        let error = Error::of_object("apply".into(), true, api(secret));
        assert!(error.is_invalid() && !error.to_string().contains("(a/b)"));
        for (code, message, expected) in [
            (422, "", true),
            (400, "", true),
            (500, "failed to create typed patch object (a/b)", true),
            (500, "etcd leader changed", false),
            (403, "", false),
            (404, "", false),
        ] {
            assert_eq!(refused(code, message).is_invalid(), expected, "{code}");
        }
    }
}
