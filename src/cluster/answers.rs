//! A cap on what the API server answers: much of it was written by people of other namespaces, and
//! an answer is held whole while it is read.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, Uri};
use http_body_util::{LengthLimitError, Limited};
use kube::client::Body;
use tower::{Layer, Service};

/// Bytes of one answer. Ten of the largest objects that etcd takes fit.
pub(super) const MOST: usize = 16 << 20;

/// Ends an answer that is larger than [`MOST`] with an error. Streams (watches, logs) go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap;

/// A client whose answers are capped.
#[derive(Clone, Debug)]
pub(super) struct Capped<S>(S);

impl<S> Layer<S> for Cap {
    type Service = Capped<S>;

    fn layer(&self, inner: S) -> Capped<S> {
        Capped(inner)
    }
}

impl<S, B> Service<Request<Body>> for Capped<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Limited<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let most = if is_stream(request.uri()) {
            usize::MAX
        } else {
            MOST
        };
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Limited::new(body, most)))
        })
    }
}

/// Whether the answer to a request comes bit by bit and is never held whole.
fn is_stream(uri: &Uri) -> bool {
    let watches = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"));
    watches || uri.path().ends_with("/log")
}

/// Whether an answer was larger than [`MOST`].
pub(super) fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The next smaller page to ask for; none below one object.
pub(super) fn smaller(page: u32) -> Option<u32> {
    match page {
        0 | 1 => None,
        page => Some((page / 10).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use kube::Client;
    use tower::{ServiceBuilder, service_fn};

    use super::*;

    /// Answers everything with so many bytes.
    fn answering(bytes: usize) -> Client {
        let answer = move |_| async move {
            let body = Full::new(Bytes::from(vec![b' '; bytes]));
            Ok::<_, std::convert::Infallible>(Response::new(body))
        };
        let service = ServiceBuilder::new().layer(Cap).service(service_fn(answer));
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn what_is_held_whole_is_capped_and_a_stream_is_not() {
        for (path, bytes, fits) in [
            ("/api/v1/pods?limit=100", MOST, true),
            ("/api/v1/pods?limit=100", MOST + 1, false),
            ("/api/v1/namespaces/a/pods/b", MOST + 1, false),
            ("/api/v1/pods?limit=1&watch=true", MOST + 1, true),
            (
                "/api/v1/namespaces/a/pods/b/log?follow=true",
                MOST + 1,
                true,
            ),
            (
                "/api/v1/namespaces/a/pods?fieldSelector=x%3Dwatch=true",
                MOST + 1,
                false,
            ),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = answering(bytes).send(request).await.unwrap();
            let read = answer.into_body().collect().await;
            assert_eq!(read.is_ok(), fits, "{path}");
            if let Err(error) = read {
                assert!(is_too_large(&error), "{error:?}");
            }
        }
    }

    #[test]
    fn pages_shrink_to_one_object() {
        let pages: Vec<_> = std::iter::successors(Some(500), |page| smaller(*page)).collect();
        assert_eq!(pages, [500, 50, 5, 1]);
    }
}
