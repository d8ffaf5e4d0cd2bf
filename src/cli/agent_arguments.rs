//! What `trimtab agent` is told on its command line.

use std::{net::SocketAddr, path::PathBuf};

use crate::crd::names::{GROUP, KIND, VERSION};
use crate::object::Kind;
use crate::telemetry;

/// Keep this cluster as Git says
#[derive(clap::Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Examples:
  trimtab agent                                        in a pod, as the chart starts it
  trimtab agent --kubeconfig k.yaml --work-dir /tmp/t  from outside, against a cluster you name")]
pub(crate) struct Args {
    /// Reach the cluster through this kubeconfig instead of the pod's own account
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The agent's namespace: its Applications and repository Secrets
    #[arg(long, short, default_value = "trimtab", value_name = "NAME")]
    pub(super) namespace: String,
    /// More namespaces with Applications, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(super) application_namespaces: Vec<String>,
    /// Watch live objects in these namespaces only, separated by commas: where the agent may read no
    /// others. All when not given
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(super) destination_namespaces: Vec<String>,
    /// The API group of Applications; argoproj.io takes over those of Argo CD
    #[arg(long, default_value = GROUP, value_name = "GROUP")]
    pub(super) application_group: String,
    /// Do not create or update the CustomResourceDefinition, only check that it is not too old
    #[arg(long)]
    pub(super) no_install_crd: bool,
    /// The settings file, trimtab.yaml; re-read when it changes. Defaults when not given
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where mirrors and bundles are kept; a cache that may vanish
    #[arg(long, default_value = "/var/cache/trimtab", value_name = "DIR")]
    pub(super) work_dir: PathBuf,
    /// Where sources are staged for a render, best in memory; below the work directory when not given
    #[arg(long, value_name = "DIR")]
    pub(super) stage_dir: Option<PathBuf>,
    /// The directory with kustomize and helm; searched in PATH when not given
    #[arg(long, value_name = "DIR")]
    pub(super) tools_dir: Option<PathBuf>,
    /// Where webhooks are received
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub(super) webhook_address: SocketAddr,
    /// Where the API and the pages for people are served
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub(super) address: SocketAddr,
    /// A host name under which people reach it, besides localhost and addresses; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) host: Vec<String>,
    /// Where health and metrics are served
    #[arg(long, default_value = "0.0.0.0:8082", value_name = "ADDRESS")]
    pub(super) operations_address: SocketAddr,
    #[command(flatten)]
    pub(super) telemetry: telemetry::Args,
}

pub(super) fn application_kind(args: &Args) -> Kind {
    Kind {
        group: args.application_group.clone(),
        version: VERSION.to_owned(),
        kind: KIND.to_owned(),
    }
}
