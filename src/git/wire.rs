//! The requests of one fetch: sent, bounded in time and bytes, and judged.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Client;
use super::{Error, Limits, one_line};

/// Bytes of an answer that is kept in memory: a greeting of protocol 1 lists every ref, so this is
/// some 60,000 of them; one of protocol 2 has a hundred bytes, and its list only what was asked for.
const SMALL_ANSWER: u64 = 4 << 20;

/// How long a server may take until it begins to greet or to list.
const SILENCE: Duration = Duration::from_secs(15);

/// What the answers of the present stage may be like: what is kept in memory is small and comes
/// soon; a pack goes to disk, and a server may have to think before it sends one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// Bytes that may still come ...
    left: u64,
    /// ... of so many.
    limit: u64,
    soon: bool,
}

impl Expected {
    fn new(limit: u64, soon: bool) -> Self {
        Self {
            left: limit,
            limit,
            soon,
        }
    }
}

/// What all requests of one fetch share.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) runtime: Handle,
    pub(super) url: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) limits: Limits,
    pub(super) deadline: Instant,
    /// Ends when the caller of the fetch is gone.
    pub(super) cancelled: watch::Receiver<()>,
    /// Bytes that may still come.
    pub(super) budget: Cell<u64>,
    pub(super) expected: Cell<Expected>,
    pub(super) requests: Cell<u32>,
    pub(super) failure: RefCell<Option<Error>>,
}

impl Wire {
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut cancelled = self.cancelled.clone();
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = tokio::time::sleep_until(self.deadline) => Err(self.timed_out()),
                _ = cancelled.changed() => Err(Error::Cancelled { url: self.url.clone() }),
            }
        })
    }

    /// Waits for the head of an answer: a small one comes soon or not at all.
    fn wait_for_head<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        if !self.expected.get().soon {
            return self.wait(work);
        }
        let after = SILENCE.min(self.limits.timeout);
        let url = self.url.clone();
        self.wait(tokio::time::timeout(after, work))?
            .map_err(|_| Error::TimedOut { url, after })
    }

    pub(super) fn timed_out(&self) -> Error {
        Error::TimedOut {
            url: self.url.clone(),
            after: self.limits.timeout,
        }
    }

    pub(super) fn connection(&self, error: &dyn std::error::Error) -> Error {
        let mut problem = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            problem = format!("{problem}: {error}");
            source = error.source();
        }
        Error::Connection {
            url: self.url.clone(),
            problem: one_line(&problem),
        }
    }

    /// The answers that follow are small: a greeting or a list of refs.
    pub(super) fn expect_small(&self) {
        self.expected.set(Expected::new(SMALL_ANSWER, true));
    }

    /// The answers that follow carry a pack.
    pub(super) fn expect_pack(&self) {
        self.expected.set(Expected::new(self.limits.bytes, false));
    }

    pub(super) fn spend(&self, bytes: u64) -> Result<(), Error> {
        let too_large = |limit| Error::TooLarge {
            url: self.url.clone(),
            limit,
        };
        let rest = self.budget.get().checked_sub(bytes);
        self.budget
            .set(rest.ok_or_else(|| too_large(self.limits.bytes))?);
        let mut expected = self.expected.get();
        let left = expected.left.checked_sub(bytes);
        expected.left = left.ok_or_else(|| too_large(expected.limit))?;
        self.expected.set(expected);
        Ok(())
    }

    /// Sends a request, and once more when the kept-alive connection turns out to be closed:
    /// everything a fetch sends can be repeated.
    pub(super) fn send(&self, request: &Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.requests.set(self.requests.get() + 1);
            match self.wait_for_head(self.client.request(request.clone()))? {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() || attempts == 2 => {
                    return Err(self.connection(&error));
                }
                Err(_) => {}
            }
        }
    }

    /// The status and the content type decide whether this is an answer at all.
    pub(super) fn check(&self, response: &Response<Incoming>, wanted: &str) -> Result<(), Error> {
        let url = self.url.clone();
        let status = response.status().as_u16();
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let with_credential = self.authorization.is_some();
                return Err(Error::Unauthorized {
                    url,
                    status,
                    with_credential,
                });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Error::NotFound { url }),
            code if code.is_redirection() => {
                let target = location(response).unwrap_or_default();
                return Err(self.redirect(&target));
            }
            _ => {
                return Err(Error::Status {
                    url,
                    status,
                    retry_after: retry_after(response),
                });
            }
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no content type");
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        let content_type = one_line(essence);
        Err(Error::NotGit { url, content_type })
    }

    /// Remembers the first failure; what gix passes on is only a pointer to it.
    pub(super) fn keep(&self, error: Error) -> std::io::Error {
        self.failure.borrow_mut().get_or_insert(error);
        std::io::Error::other("the connection failed")
    }

    /// Names the host only: a redirect's path and query may carry a token.
    pub(super) fn redirect(&self, target: &str) -> Error {
        let uri = target.parse::<hyper::Uri>().ok();
        let host = uri.as_ref().and_then(|uri| uri.host());
        Error::Redirect {
            url: self.url.clone(),
            target: one_line(host.unwrap_or("another address of the same host")),
        }
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3); forges do not send its other form, a date.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?;
    value
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

pub(super) fn location(response: &Response<Incoming>) -> Option<String> {
    let value = response.headers().get(LOCATION)?;
    value.to_str().ok().map(str::to_owned)
}
