//! HTTP for gix, within one fetch: one deadline, one byte budget, one host.
//!
//! gix calls this from a blocking thread. The first failure is kept as a typed error in [`Wire`];
//! what gix makes of it is a text only.

use std::cell::RefCell;
use std::io::{BufRead, Cursor, Read, Write};
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use gix::protocol::transport::client::blocking_io::http;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};

use super::Error;
use super::advertisement::{Advertisement, object_format};
use super::wire::{Wire, location};

/// Forges choose between Git and a page for people by a user agent that starts with `git/`.
const AGENT: &str = concat!("git/2.0 (trimtab/", env!("CARGO_PKG_VERSION"), ")");
/// A forge sends one from `name` to `name.git`; more is a loop.
const MAX_REDIRECTS: usize = 3;

/// One fetch's view of HTTP, as gix wants it.
pub(super) struct Session {
    wire: Rc<Wire>,
    /// Used instead of asking, when there is one.
    known: Option<Advertisement>,
    /// What the server said this time.
    learned: Rc<RefCell<Option<Advertisement>>>,
    base: Option<String>,
    last: Option<Rc<RefCell<Stage>>>,
}

impl Session {
    pub(super) fn new(
        wire: Rc<Wire>,
        known: Option<Advertisement>,
        learned: Rc<RefCell<Option<Advertisement>>>,
    ) -> Self {
        Self {
            wire,
            known,
            learned,
            base: None,
            last: None,
        }
    }

    fn request(
        &self,
        method: Method,
        url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().map_err(|error| self.wire.connection(&error))?;
        for line in headers {
            let Some((name, value)) = line.as_ref().split_once(':') else {
                continue;
            };
            let name = HeaderName::try_from(name.trim());
            let value = HeaderValue::try_from(value.trim());
            if let (Ok(name), Ok(value)) = (name, value) {
                request.headers_mut().insert(name, value);
            }
        }
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = &self.wire.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    fn advertisement(&mut self, url: &str, base: &str, headers: &[String]) -> Result<Bytes, Error> {
        if let Some(known) = &self.known {
            self.base = Some(known.base.clone());
            return Ok(known.body.clone());
        }
        let tail = url.strip_prefix(base).unwrap_or_default().to_owned();
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(Method::GET, &url, headers, Bytes::new())?;
            let response = self.wire.send(&request)?;
            if response.status().is_redirection() {
                let target = location(&response).unwrap_or_default();
                let target = absolute(&target, &url);
                let same = same_host(&url, &target) && target.ends_with(&tail);
                if !same {
                    return Err(self.wire.redirect(&target));
                }
                url = target;
                continue;
            }
            self.wire
                .check(&response, "application/x-git-upload-pack-advertisement")?;
            let mut body = Vec::new();
            let mut reader = Stage::received(response);
            while let Some(chunk) = reader.next(&self.wire)? {
                body.extend_from_slice(&chunk);
            }
            let body = Bytes::from(body);
            let format = object_format(&body);
            if format != "sha1" {
                return Err(Error::ObjectFormat {
                    url: self.wire.url.clone(),
                    format: super::one_line(&format),
                });
            }
            let base = url.strip_suffix(&tail).unwrap_or(base).to_owned();
            self.learned.replace(Advertisement::new(&base, &body));
            self.base = Some(base);
            return Ok(body);
        }
        Err(self.wire.redirect(&url))
    }

    fn raise(&self, error: Error) -> gix::Error {
        gix::Error::from_error(self.wire.keep(error))
    }
}

/// A redirect may name a path only.
fn absolute(target: &str, from: &str) -> String {
    let origin_end = from.find("://").map_or(0, |at| at + 3);
    let origin_end = from[origin_end..]
        .find('/')
        .map_or(from.len(), |at| origin_end + at);
    if target.starts_with('/') && !target.starts_with("//") {
        format!("{}{target}", &from[..origin_end])
    } else {
        target.to_owned()
    }
}

/// Same scheme, host and port: the only place where the credential may go.
fn same_host(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<hyper::Uri>(), b.parse::<hyper::Uri>()) else {
        return false;
    };
    a.scheme() == b.scheme() && a.authority() == b.authority() && a.authority().is_some()
}

impl http::Http for Session {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<http::GetResponse<Headers, Body>> {
        let headers = headers.into_iter().map(|line| line.as_ref().to_owned());
        let headers: Vec<String> = headers.collect();
        let body = self
            .advertisement(url, base_url, &headers)
            .map_err(|error| self.raise(error))?;
        let stage = Rc::new(RefCell::new(Stage::Open(None)));
        Ok(http::GetResponse {
            headers: Headers::known("advertisement"),
            body: Body {
                wire: Rc::clone(&self.wire),
                stage,
                chunk: body,
            },
        })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: http::PostBodyDataKind,
    ) -> gix::Result<http::PostResponse<Headers, Body, PostBody>> {
        let request = self
            .request(Method::POST, url, headers, Bytes::new())
            .map_err(|error| self.raise(error))?;
        let stage = Rc::new(RefCell::new(Stage::Collecting(
            Box::new(request),
            Vec::new(),
        )));
        self.last = Some(Rc::clone(&stage));
        Ok(http::PostResponse {
            post_body: PostBody(Rc::clone(&stage)),
            headers: Headers {
                text: Cursor::new(Vec::new()),
                answer: Some((Rc::clone(&self.wire), Rc::clone(&stage))),
            },
            body: Body {
                wire: Rc::clone(&self.wire),
                stage,
                chunk: Bytes::new(),
            },
        })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.base.clone()
    }
}

/// A POST on its way: gix writes the body, then reads the head, then the answer.
enum Stage {
    Collecting(Box<Request<Full<Bytes>>>, Vec<u8>),
    Open(Option<Incoming>),
}

impl Stage {
    fn received(response: Response<Incoming>) -> Self {
        Self::Open(Some(response.into_body()))
    }

    fn run(&mut self, wire: &Wire) -> Result<(), Error> {
        let Self::Collecting(request, body) = self else {
            return Ok(());
        };
        *request.body_mut() = Full::new(Bytes::from(std::mem::take(body)));
        let response = wire.send(request)?;
        wire.check(&response, "application/x-git-upload-pack-result")?;
        *self = Self::received(response);
        Ok(())
    }

    fn next(&mut self, wire: &Wire) -> Result<Option<Bytes>, Error> {
        self.run(wire)?;
        let Self::Open(Some(incoming)) = self else {
            return Ok(None);
        };
        loop {
            let frame = match wire.wait(incoming.frame())? {
                Some(frame) => frame.map_err(|error| wire.connection(&error))?,
                None => break,
            };
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                wire.spend(bytes.len() as u64)?;
                return Ok(Some(bytes));
            }
        }
        *self = Self::Open(None);
        Ok(None)
    }
}

pub(super) struct PostBody(Rc<RefCell<Stage>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Stage::Collecting(_, body) = &mut *self.0.borrow_mut() {
            body.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The head of an answer: gix looks for the content type only, which was checked already.
pub(super) struct Headers {
    text: Cursor<Vec<u8>>,
    answer: Option<(Rc<Wire>, Rc<RefCell<Stage>>)>,
}

impl Headers {
    fn known(kind: &str) -> Self {
        let line = format!("content-type: application/x-git-upload-pack-{kind}\n");
        Self {
            text: Cursor::new(line.into_bytes()),
            answer: None,
        }
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if let Some((wire, stage)) = self.answer.take() {
            let ran = stage.borrow_mut().run(&wire);
            ran.map_err(|error| wire.keep(error))?;
            *self = Self::known("result");
        }
        self.text.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.text.consume(amount);
    }
}

pub(super) struct Body {
    wire: Rc<Wire>,
    stage: Rc<RefCell<Stage>>,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.chunk.is_empty() {
            let next = self.stage.borrow_mut().next(&self.wire);
            let next = next.map_err(|error| self.wire.keep(error))?;
            self.chunk = next.unwrap_or_default();
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

/// Reads what is left of the last answer, so that its connection can be used again.
impl Drop for Session {
    fn drop(&mut self) {
        if self.wire.failure.borrow().is_some() {
            return;
        }
        let Some(stage) = self.last.take() else {
            return;
        };
        let mut stage = stage.borrow_mut();
        if matches!(*stage, Stage::Open(Some(_))) {
            // At most one small chunk follows the final flush packet.
            drop(stage.next(&self.wire));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_scheme_host_and_port_is_the_same_place() {
        let check = |target: &str, expected| {
            let from = "https://host/a/info/refs";
            assert_eq!(
                same_host(from, &absolute(target, from)),
                expected,
                "{target}"
            );
        };
        check("/b/info/refs", true);
        check("https://host/b/info/refs", true);
        check("http://host/b/info/refs", false);
        check("https://host:8443/b/info/refs", false);
        check("https://host.evil.com/b/info/refs", false);
        check("https://host@evil.com/b/info/refs", false);
        check("//evil.com/b/info/refs", false);
        check("", false);
    }
}
