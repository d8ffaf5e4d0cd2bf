//! How a person's command reaches the agent: a token for one of its accounts, and a way through
//! the API server to its port.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Error, bounded};

/// What an agent's pod is labelled with.
const AGENT: &str = "app.kubernetes.io/name=trimtab";

/// Asks for a token of a ServiceAccount for one audience; whoever may `create` its
/// `serviceaccounts/token` gets it.
pub(crate) async fn request_token(
    client: &Client,
    namespace: &str,
    account: &str,
    audience: &str,
    seconds: i64,
) -> Result<String, Error> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(seconds),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let doing = format!("get a token of ServiceAccount {namespace}/{account}");
    let params = PostParams::default();
    let asked = api.create_token_request(account, &params, &request);
    let answer = bounded(&doing, asked).await?;
    let status = answer.status.ok_or(Error::Unreadable {
        doing,
        reason: "there is no token in it".to_owned(),
    })?;
    Ok(status.token)
}

/// A ready pod of the agent.
pub(crate) async fn find_agent(client: &Client, namespace: &str) -> Result<String, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let doing = format!("find the agent's pod in namespace {namespace}");
    let params = ListParams::default().labels(AGENT);
    let pods = bounded(&doing, api.list(&params)).await?;
    let ready = pods.items.into_iter().find(|pod| {
        let conditions = pod.status.iter().flat_map(|status| &status.conditions);
        let mut conditions = conditions.flatten();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    let name = ready.and_then(|pod| pod.metadata.name);
    name.ok_or(Error::NotFound { doing })
}

/// A connection to a port of a pod, through the API server.
pub(crate) async fn forward(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let doing = format!("reach port {port} of Pod {namespace}/{pod}");
    let mut forwarder = bounded(&doing, api.portforward(pod, &[port])).await?;
    forwarder.take_stream(port).ok_or(Error::Unreadable {
        doing,
        reason: "the API server opened no stream".to_owned(),
    })
}
