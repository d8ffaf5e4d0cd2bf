//! What people look at and the agent itself has no use for: lists of children, Events and logs.

use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value;

use super::answers::smaller;
use super::objects::request;
use super::{Cluster, DEADLINE, Error, Served};
use crate::object::{Object, ResourceKey};
use crate::telemetry::KubeVerb;

/// Objects of one list at most, ...
const MOST: usize = 5000;
/// ... bytes of it, as the API server writes them, ...
const MOST_BYTES: usize = 16 << 20;
/// ... and objects that are asked for at once.
const PAGE: u32 = 500;
/// Bytes of one line of a log; what is longer is cut.
const LINE: usize = 16 << 10;

/// One page of a list.
#[derive(serde::Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<Value>>,
}

#[derive(Default, serde::Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Which lines of a container's log are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogRequest {
    /// The pod's only one when empty.
    pub(crate) container: String,
    pub(crate) follow: bool,
    /// Of the container before its last restart.
    pub(crate) previous: bool,
    /// Only what is younger, in seconds.
    pub(crate) since: Option<i64>,
    /// So many of the last lines.
    pub(crate) tail: Option<i64>,
}

impl Cluster {
    /// The objects of a kind in a namespace, as they are now: the first 5,000, or as many as 16 MiB
    /// hold.
    pub(crate) async fn list(
        &self,
        served: &Served,
        namespace: &str,
        fields: &str,
    ) -> Result<Vec<Object>, Error> {
        let encoded = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let doing = format!("list {} in namespace {namespace}", served.plural);
        let any = ResourceKey {
            group: served.kind.group.clone(),
            kind: served.kind.kind.clone(),
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let (mut limit, mut next, mut bytes) = (PAGE, String::new(), 0);
        let mut items = Vec::new();
        while items.len() < MOST && bytes < MOST_BYTES {
            let mut url = format!("{}?limit={limit}", served.path(namespace));
            for (name, value) in [("fieldSelector", fields), ("continue", &next)] {
                if !value.is_empty() {
                    url.push_str(&format!("&{name}={}", encoded(value)));
                }
            }
            let request = request(Method::GET, &url, "", &Value::Null)?;
            let answer = match self.sent_text(KubeVerb::Get, &doing, &any, request).await {
                Err(error) if error.is_too_long() => match smaller(limit) {
                    Some(page) => {
                        limit = page;
                        continue;
                    }
                    None => return Err(error),
                },
                answer => answer?,
            };
            bytes += answer.len();
            let page: Page =
                serde_json::from_str(&answer).map_err(|error| Error::no_json(&doing, &error))?;
            items.extend(page.items.unwrap_or_default());
            next = page.metadata.next.unwrap_or_default();
            if next.is_empty() {
                break;
            }
        }
        items.truncate(MOST);
        let whole = |mut item: Value| {
            // Items of a list come without their type.
            let fields = item.as_object_mut()?;
            fields
                .entry("apiVersion")
                .or_insert_with(|| served.kind.api_version().into());
            fields
                .entry("kind")
                .or_insert_with(|| served.kind.kind.clone().into());
            Object::new(item).ok()
        };
        Ok(items.into_iter().filter_map(whole).collect())
    }

    /// The lines of a container's log, as they come. Ends with the log, or goes on when followed.
    pub(crate) async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        wanted: &LogRequest,
    ) -> Result<impl Stream<Item = std::io::Result<String>> + Send + use<>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = LogParams {
            container: (!wanted.container.is_empty()).then(|| wanted.container.clone()),
            follow: wanted.follow,
            previous: wanted.previous,
            since_seconds: wanted.since,
            tail_lines: wanted.tail,
            ..LogParams::default()
        };
        let doing = format!("read the log of Pod {namespace}/{pod}");
        let opened = tokio::time::timeout(DEADLINE, api.log_stream(pod, &params)).await;
        let timed_out = || Error::TimedOut {
            doing: doing.clone(),
            after: DEADLINE,
        };
        match opened.map_err(|_| timed_out())? {
            Ok(reader) => Ok(lines(reader)),
            Err(error) => Err(Error::new(doing, error)),
        }
    }

    /// Writes a field of a live object for a person, as a merge patch with a field manager of its
    /// own, so that who looks at the object sees that it was a person and not the agent.
    pub(crate) async fn patch_live(
        &self,
        served: &Served,
        key: &ResourceKey,
        subresource: &str,
        patch: &Value,
    ) -> Result<(), Error> {
        let mut url = served.object_path(key);
        if !subresource.is_empty() {
            url = format!("{url}/{subresource}");
        }
        url.push_str("?fieldManager=trimtab-ui");
        let request = request(Method::PATCH, &url, "application/merge-patch+json", patch)?;
        let doing = format!("change {key}");
        self.sent(KubeVerb::Apply, &doing, key, request)
            .await
            .map(drop)
    }

    /// Deletes a live object for a person, if it is still the one that was looked at.
    pub(crate) async fn delete_live(
        &self,
        served: &Served,
        key: &ResourceKey,
        uid: &str,
    ) -> Result<(), Error> {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        let url = served.object_path(key);
        let request = request(Method::DELETE, &url, "application/json", &body)?;
        let doing = format!("delete {key}");
        self.sent(KubeVerb::Delete, &doing, key, request)
            .await
            .map(drop)
    }
}

/// Whole lines, cut where they are too long; bytes that are no UTF-8 are replaced.
fn lines(
    reader: impl AsyncBufRead + Send + 'static,
) -> impl Stream<Item = std::io::Result<String>> + Send {
    let reader = Box::pin(reader);
    futures::stream::try_unfold((reader, Vec::new()), async |(mut reader, mut line)| {
        line.clear();
        loop {
            let part = reader.fill_buf().await?;
            if part.is_empty() {
                break;
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            let room = LINE.saturating_sub(line.len());
            let taken = end.unwrap_or(part.len());
            line.extend_from_slice(&part[..taken.min(room)]);
            let used = end.map_or(part.len(), |end| end + 1);
            reader.consume_unpin(used);
            if end.is_some() {
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok(Some((text, (reader, line))));
            }
        }
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        Ok(Some((text, (reader, line))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_and_bounded() {
        let long = "x".repeat(3 * LINE);
        let text = format!("a\n\n{long}\nlast");
        let reader = futures::io::BufReader::with_capacity(7, futures::io::Cursor::new(text));
        let found: Vec<String> = lines(reader).try_collect().await.unwrap();
        assert_eq!(found, ["a", "", &long[..LINE], "last"]);
    }
}
