//! `trimtab agent`: the one place that builds the parts, wires them and ends them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::bundle::Bundles;
use crate::cluster::{
    Applications, ClientOptions, Cluster, Mode, Selection, WatchEvent, connect,
};
use crate::config::{Receiver, Settings};
use crate::controller::{Context, LiveTable, Registry, watch_applications};
use crate::crd::definition;
use crate::crd::names::{GROUP, PLURAL, SECRET_TYPE_LABELS, VERSION};
use crate::git::Limits as GitLimits;
use crate::object::{Kind, Object, YamlLimits};
use crate::reload::Reloaded;
use crate::render::Tools;
use crate::server;
use crate::source::{Credentials, Options, Pushed, SourceLoop};
use crate::sync::Engine;
use crate::telemetry::{self, Metrics};
use crate::webhook::{Event, Secret, Secrets};

/// How the agent runs.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Reach the cluster through this kubeconfig instead of the pod's own account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The agent's namespace: its Applications and repository Secrets
    #[arg(long, short, default_value = "trimtab", value_name = "NAME")]
    namespace: String,
    /// More namespaces with Applications, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    application_namespaces: Vec<String>,
    /// The API group of Applications; argoproj.io takes over those of Argo CD
    #[arg(long, default_value = GROUP, value_name = "GROUP")]
    application_group: String,
    /// Do not create or update the CustomResourceDefinition, only check that it is there
    #[arg(long)]
    no_install_crd: bool,
    /// The settings file, trimtab.yaml; re-read when it changes. Defaults when not given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where mirrors and bundles are kept; a cache that may vanish
    #[arg(long, default_value = "/var/cache/trimtab", value_name = "DIR")]
    work_dir: PathBuf,
    /// Where sources are staged for a render, best in memory; below the work directory when not given
    #[arg(long, value_name = "DIR")]
    stage_dir: Option<PathBuf>,
    /// The directory with kustomize and helm; searched in PATH when not given
    #[arg(long, value_name = "DIR")]
    tools_dir: Option<PathBuf>,
    /// Where webhooks are received
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    webhook_address: SocketAddr,
    /// Where health and metrics are served
    #[arg(long, default_value = "0.0.0.0:8082", value_name = "ADDRESS")]
    operations_address: SocketAddr,
    #[command(flatten)]
    telemetry: telemetry::Args,
}

/// Runs until SIGTERM or SIGINT; a second one ends at once.
pub(crate) async fn run(args: Args) -> Result<()> {
    telemetry::init(&args.telemetry)?;
    let metrics = Arc::new(Metrics::new());
    let settings = Arc::new(read_settings(args.config.as_deref()).await?);
    let webhooks = bind(args.webhook_address).await?;
    let operations = bind(args.operations_address).await?;
    tracing::info!(
        webhooks = %webhooks.local_addr()?,
        operations = %operations.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    let pending = Arc::new(AtomicUsize::new(usize::MAX));
    let stop = Arc::new(tokio::sync::Notify::new());
    let readiness = {
        let pending = Arc::clone(&pending);
        move || match pending.load(Ordering::Relaxed) {
            0 => Ok(()),
            usize::MAX => Err("connecting to the cluster".to_owned()),
            n => Err(format!("{n} lists of Applications are not complete")),
        }
    };
    let operations = tokio::spawn(server::serve(
        operations,
        server::operations_router(Arc::clone(&metrics), readiness),
        server::Limits::default(),
        stopped(&stop),
    ));
    let parts = tokio::select! {
        parts = build(&args, &settings, &metrics, &pending) => parts?,
        () = terminated() => return Ok(()),
    };
    let webhooks = tokio::spawn(server::serve(
        webhooks,
        webhook_router(&settings, &parts, &metrics),
        server::Limits::default(),
        stopped(&stop),
    ));
    tokio::select! {
        () = terminated() => tracing::info!("asked to end"),
        result = webhooks => bail!("the webhook server ended: {result:?}"),
        result = operations => bail!("the operations server ended: {result:?}"),
    }
    stop.notify_waiters();
    Ok(())
}
