//! From flags, environment and files to a client of one cluster. Retries are off: whoever calls
//! knows how often and how long.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::answers::Cap;
use super::{Error, bounded};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a watch without any event may last (290 s, asked for by the watcher itself), so
/// that it ends only what is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(310);
/// Where a pod finds its own credential.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How a cluster is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientOptions {
    /// The file to use, whatever else is there.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context to use instead of the file's current one.
    pub(crate) context: Option<String>,
    /// Without a flag above only the pod's service account will do (the agent); otherwise it is
    /// the last resort (the command line).
    pub(crate) prefer_service_account: bool,
    /// [`Client::default_namespace`] where the context names none; `default` when not given.
    pub(crate) fallback_namespace: Option<String>,
}

/// Makes a client. No request is sent, but a credential program of the kubeconfig may run.
pub(crate) async fn connect(options: &ClientOptions) -> Result<Client, Error> {
    let in_pod = Path::new(SERVICE_ACCOUNT_TOKEN).exists();
    let chosen = options.kubeconfig.is_some() || options.context.is_some();
    if options.prefer_service_account && !in_pod && !chosen {
        // The agent writes: it never takes up the cluster of whoever happens to start it.
        return Err(Error::NoKubeconfig {
            looked_at: SERVICE_ACCOUNT_TOKEN.to_owned(),
        });
    }
    let mut config = if in_pod && options.prefer_service_account && !chosen {
        service_account()?
    } else {
        let home = env::home_dir();
        let candidates = candidates(
            options.kubeconfig.as_deref(),
            env::var_os("KUBECONFIG").as_deref(),
            home.as_deref(),
        );
        let mut found = candidates.clone();
        // As kubectl: of several files, those that do not exist are passed over.
        if options.kubeconfig.is_none() {
            found.retain(|path| path.exists());
        }
        match found.is_empty() {
            true if in_pod && options.context.is_none() => service_account()?,
            true => {
                return Err(Error::NoKubeconfig {
                    looked_at: shown(&candidates),
                });
            }
            false => from_files(&found, options).await?,
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // A pooled connection's idle time must not count against the answer to the next request.
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let user_agent = concat!("trimtab/", env!("CARGO_PKG_VERSION"));
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(user_agent)));
    let client = ClientBuilder::try_from(config);
    let client = client.map_err(|error| Error::new("set up the connection", error))?;
    Ok(client.with_layer(&Cap).build())
}

/// The name by which the API server knows the caller.
pub(crate) async fn who_am_i(client: &Client) -> Result<String, Error> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = SelfSubjectReview::default();
    let params = PostParams::default();
    let review = bounded("ask who I am", api.create(&params, &review)).await?;
    let user = review.status.and_then(|status| status.user_info);
    Ok(user.and_then(|user| user.username).unwrap_or_default())
}

/// The kubeconfig files in question: the flag alone, else what KUBECONFIG lists, else the one in
/// the home directory.
fn candidates(
    flag: Option<&Path>,
    listed: Option<&std::ffi::OsStr>,
    home: Option<&Path>,
) -> Vec<PathBuf> {
    if let Some(path) = flag {
        return vec![path.to_owned()];
    }
    let listed: Vec<PathBuf> = listed
        .map(|paths| env::split_paths(paths).collect())
        .unwrap_or_default();
    let mut paths: Vec<PathBuf> = listed
        .into_iter()
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if paths.is_empty() {
        paths.extend(home.map(|home| home.join(".kube").join("config")));
    }
    paths
}

fn service_account() -> Result<Config, Error> {
    Config::incluster()
        .map_err(|error| Error::Login(format!("the service account of this pod: {error}")))
}

async fn from_files(paths: &[PathBuf], options: &ClientOptions) -> Result<Config, Error> {
    let refused = |path: String, error: &KubeconfigError| Error::Kubeconfig {
        path,
        reason: fault(error),
    };
    let mut merged = Kubeconfig::default();
    for path in paths {
        let path_shown = path.display().to_string();
        merged = Kubeconfig::read_from(path)
            .and_then(|next| merged.merge(next))
            .map_err(|error| refused(path_shown, &error))?;
    }
    let name = options.context.as_ref().or(merged.current_context.as_ref());
    let context = merged
        .contexts
        .iter()
        .find(|context| Some(&context.name) == name)
        .and_then(|context| context.context.clone())
        .unwrap_or_default();
    let own_proxy = merged
        .clusters
        .iter()
        .filter(|named| named.name == context.cluster)
        .filter_map(|named| named.cluster.as_ref()?.proxy_url.as_ref())
        .any(|proxy| !proxy.is_empty());
    let choice = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(merged, &choice)
        .await
        .map_err(|error| refused(shown(paths), &error))?;
    // The library takes HTTPS_PROXY for every cluster, also for one on this machine.
    if !own_proxy {
        config.proxy_url = None;
    }
    if let (None, Some(namespace)) = (&context.namespace, &options.fallback_namespace) {
        config.default_namespace.clone_from(namespace);
    }
    Ok(config)
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match shown.is_empty() {
        true => "no home directory".to_owned(),
        false => shown.join(", "),
    }
}

/// What is wrong with a kubeconfig, without a word of its content beyond names and paths.
fn fault(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => error.location().map_or_else(
            || "it is no kubeconfig".to_owned(),
            |at| {
                let (line, column) = (at.line(), at.column());
                format!("it is no kubeconfig, see line {line}, column {column}")
            },
        ),
        KubeconfigError::CurrentContextNotSet => {
            "it has no current context: name one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => format!("it has no context \"{name}\""),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster \"{name}\""),
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
        users: [{name: u, user: {token: hunter2}}]\n\
        contexts:\n- {name: here, context: {cluster: c, user: u}}\n\
        - {name: there, context: {cluster: c, user: u, namespace: shop}}\n";

    async fn load(text: &str, context: Option<&str>) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, text).unwrap();
        let options = ClientOptions {
            context: context.map(str::to_owned),
            fallback_namespace: Some("trimtab".to_owned()),
            ..ClientOptions::default()
        };
        let loaded = from_files(std::slice::from_ref(&path), &options).await;
        loaded.map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_comes_before_the_environment_and_that_before_the_home_directory() {
        let check = |flag: Option<&str>, listed: Option<&str>, expected: &[&str]| {
            let found = candidates(
                flag.map(Path::new),
                listed.map(std::ffi::OsStr::new),
                Some(Path::new("/home/a")),
            );
            assert_eq!(
                found,
                expected.iter().map(PathBuf::from).collect::<Vec<_>>()
            );
        };
        check(Some("/f"), Some("/a:/b"), &["/f"]);
        check(None, Some("/a::/b"), &["/a", "/b"]);
        check(None, Some(""), &["/home/a/.kube/config"]);
        check(None, None, &["/home/a/.kube/config"]);
    }

    #[tokio::test]
    async fn a_context_without_a_namespace_takes_ours() {
        assert_eq!(load(GOOD, None).await.unwrap().default_namespace, "trimtab");
        let there = load(GOOD, Some("there")).await.unwrap();
        assert_eq!(there.default_namespace, "shop");
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_is_named_and_not_quoted() {
        for (text, context, expected) in [
            (GOOD, Some("moon"), "it has no context \"moon\""),
            (
                "users: [{name: u, user: {token: hunter2",
                None,
                "no kubeconfig",
            ),
            ("users: hunter2", None, "no kubeconfig"),
            ("kind: Config", None, "no current context"),
        ] {
            let error = load(text, context).await.unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
