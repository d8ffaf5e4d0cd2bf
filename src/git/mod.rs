//! One remote Git repository and its local mirror: ask what moved, fetch that, read trees.
//!
//! The only module that names gix. It never starts a program, never reads Git configuration, and
//! never lets a repository's content decide where something is written.

mod advertisement;
mod checkout;
mod client;
mod credential;
mod fetch;
mod generation;
mod ids;
mod links;
mod mirror;
mod names;
mod read;
mod revision;
mod session;
mod shelf;
mod url;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use checkout::CheckoutLimits;
pub(crate) use client::Transport;
pub(crate) use credential::Credential;
pub(crate) use fetch::Fetched;
pub(crate) use ids::TreeIds;
pub(crate) use mirror::Mirror;
pub(crate) use shelf::{OnDisk, Shelf};
pub(crate) use url::RepositoryUrl;

/// What one fetch may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the first byte sent to the last object stored.
    pub(crate) timeout: Duration,
    /// Bytes of all responses together.
    pub(crate) bytes: u64,
}

/// Why a repository could not be fetched or read. `url` is always without user and password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("repository URL {url:?}: {problem}")]
    Url { url: String, problem: &'static str },
    #[error("certificate authority for {url}: {problem}")]
    CertificateAuthority { url: String, problem: String },
    #[error("{url} {}", refusal(*.with_credential, *.status))]
    Unauthorized {
        url: String,
        status: u16,
        with_credential: bool,
    },
    #[error("{url} does not exist, or the credential may not see it")]
    NotFound { url: String },
    #[error("{url} answered with status {status}")]
    Status {
        url: String,
        status: u16,
        /// How long the server wants to be left alone, where it said so.
        retry_after: Option<Duration>,
    },
    #[error("{url} answered with {content_type}, not Git")]
    NotGit { url: String, content_type: String },
    #[error("{url}: {} repositories are not supported", named(.format))]
    ObjectFormat { url: String, format: String },
    #[error("{url} redirects to {target}, which is not followed; use the final address")]
    Redirect { url: String, target: String },
    #[error("{url} was not done after {} s", .after.as_secs_f32())]
    TimedOut { url: String, after: Duration },
    #[error("{url} sent more than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("could not talk to {url}: {problem}")]
    Connection { url: String, problem: String },
    #[error("{url} broke the Git protocol: {problem}")]
    Protocol { url: String, problem: String },
    #[error("the mirror of {url} is damaged: {problem}")]
    Damaged { url: String, problem: String },
    #[error("the fetch of {url} was given up")]
    Cancelled { url: String },
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("commit {commit} is not in the mirror of {url}")]
    MissingCommit { url: String, commit: String },
    #[error("path {path:?} {problem}")]
    Path { path: String, problem: &'static str },
    #[error("{path} in the repository: {problem}")]
    Refused { path: String, problem: String },
    /// An entry that is not read; a fault only for those who need it.
    #[error("{path} {problem}")]
    LeftOut { path: String, problem: String },
    #[error("{path} in the repository passes the limit of {limit} {what}")]
    Limit {
        path: String,
        limit: u64,
        what: &'static str,
    },
}

fn refusal(with_credential: bool, status: u16) -> String {
    if with_credential {
        format!("refused the credential (status {status})")
    } else {
        format!("asks for a credential (status {status})")
    }
}

/// An object format as people write it.
fn named(format: &str) -> String {
    match format.strip_prefix("sha") {
        Some(bits) => format!("SHA-{bits}"),
        None => format.to_owned(),
    }
}

impl Error {
    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// One line of foreign text for an error: no control characters, bounded.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(400).collect()
}
