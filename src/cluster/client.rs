//! The connection to the API server.

use std::{path::PathBuf, time::Duration};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::Error;

/// Which cluster to reach and as whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientOptions {
    /// This file, else `KUBECONFIG`, else `~/.kube/config`.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The file's current context when none.
    pub(crate) context: Option<String>,
    /// Use the pod's own account when no file is named.
    pub(crate) in_cluster: bool,
}

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Connects. No request is sent yet.
pub(crate) async fn connect(options: &ClientOptions) -> Result<kube::Client, Error> {
    let failed = |message: String| Error::Unreachable {
        doing: "connect to a cluster".to_owned(),
        message,
    };
    let unnamed = options.kubeconfig.is_none() && options.context.is_none();
    let in_pod = std::path::Path::new(ACCOUNT).exists();
    if options.in_cluster && unnamed && !in_pod {
        // A cluster is used only when somebody named it: the agent never picks up what is in the
        // home directory of whoever tries it.
        return Err(failed(format!(
            "not in a pod ({ACCOUNT} is not there): give --kubeconfig"
        )));
    }
    let mut config = if options.in_cluster && unnamed {
        Config::incluster().map_err(|error| failed(error.to_string()))?
    } else {
        let kubeconfig = match &options.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .map_err(|error| failed(format!("{}: {error}", path.display())))?,
            None => Kubeconfig::read().map_err(|error| {
                failed(format!(
                    "no kubeconfig ({error}): set KUBECONFIG or give --kubeconfig"
                ))
            })?,
        };
        let context = KubeConfigOptions {
            context: options.context.clone(),
            ..Default::default()
        };
        Config::from_custom_kubeconfig(kubeconfig, &context)
            .await
            .map_err(|error| failed(error.to_string()))?
    };
    config.connect_timeout = Some(Duration::from_secs(10));
    config.read_timeout = None;
    // Requests are bounded and tried again by whoever knows what for.
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| failed(error.to_string()))
}
