//! What can go wrong between the agent and the API server.

use std::time::Duration;

use crate::object::{Kind, ResourceKey};

/// A request that did not do what it was sent for. Says what was being done and to what.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not {doing}: {message}")]
    Refused {
        doing: String,
        code: u16,
        message: String,
    },
    #[error("could not {doing}: no answer within {} s", after.as_secs())]
    TimedOut { doing: String, after: Duration },
    #[error("could not {doing}: {message}")]
    Unreachable { doing: String, message: String },
    #[error("the cluster has no kind {0}; is its CustomResourceDefinition installed?")]
    UnknownKind(Kind),
    #[error("{0} is not deleted: {1}")]
    NotOurs(ResourceKey, &'static str),
}

impl Error {
    /// Whether the object that was asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// Whether somebody else wrote in between, or a precondition did not hold.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Whether the same request may well succeed later without any change by a person.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::Refused { code, message, .. } => match code {
                409 | 429 | 502 | 503 | 504 => true,
                // The answer to an unknown field in an apply is a 500, and stays one.
                500 => !message.contains("failed to create typed patch object"),
                _ => false,
            },
            Self::UnknownKind(_) | Self::NotOurs(..) => false,
        }
    }

    /// From the client's error; `doing` completes "could not ...". The texts that the API server
    /// sends about a Secret can quote its values, so they are reduced to the fields they are about.
    pub(super) fn from_kube(error: kube::Error, doing: String, secret: bool) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = if secret {
                    let fields: Vec<_> = status
                        .details
                        .iter()
                        .flat_map(|details| &details.causes)
                        .map(|cause| cause.field.as_str())
                        .collect();
                    format!("{} {}", status.reason, fields.join(", "))
                        .trim()
                        .to_owned()
                } else {
                    bounded(&status.message)
                };
                Self::Refused {
                    doing,
                    code: status.code,
                    message,
                }
            }
            other => {
                let mut message = other.to_string();
                let mut source = std::error::Error::source(&other);
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    if !message.contains(&cause_text) {
                        message = format!("{message}: {cause_text}");
                    }
                    source = cause.source();
                }
                Self::Unreachable {
                    doing,
                    message: bounded(&message),
                }
            }
        }
    }
}

/// At most 1 KiB: messages end up in conditions.
fn bounded(text: &str) -> String {
    let mut text: String = text.chars().take(1024).collect();
    if text.len() == 1024 {
        text.push('…');
    }
    text
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
        let error = Error::from_kube(api(status.clone()), "apply Secret/a/b".into(), true);
        assert_eq!(
            error.to_string(),
            "could not apply Secret/a/b: Invalid data.password"
        );
        let error = Error::from_kube(api(status), "apply ConfigMap/a/b".into(), false);
        assert!(error.to_string().contains("Invalid value"));
    }

    #[test]
    fn an_unknown_field_is_terminal_though_the_server_says_500() {
        let refused = |code, message: &str| Error::Refused {
            doing: "apply".into(),
            code,
            message: message.into(),
        };
        assert!(refused(500, "etcd leader changed").is_transient());
        assert!(!refused(500, "failed to create typed patch object (a/b)").is_transient());
        assert!(refused(429, "").is_transient());
        assert!(!refused(422, "").is_transient());
    }
}
