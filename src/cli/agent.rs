//! `trimtab agent`: the one place that builds the parts, wires them and ends them.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use super::hooks::Receivers;
use crate::bundle::Bundles;
use crate::cluster::{Applications, ClientOptions, Cluster, Mode, Selection, WatchEvent, connect};
use crate::config::Settings;
use crate::controller::{Context, LiveTable, Registry, watch_applications};
use crate::crd::definition;
use crate::crd::names::{GROUP, PLURAL, SECRET_TYPE_LABELS, VERSION};
use crate::git::Limits;
use crate::object::{Kind, Object, YamlLimits};
use crate::reload::{self, Content, Reloaded};
use crate::render::Tools;
use crate::server::{ServeLimits, WebhookLimits, operations, serve, webhooks};
use crate::source::{Credentials, Options, SourceLoop};
use crate::sync::Engine;
use crate::telemetry::{self, Metrics};

/// How the agent runs.
#[derive(clap::Args, Debug)]
#[group(id = "agent")]
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

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: Args) -> Result<()> {
    telemetry::init(&args.telemetry)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let settings = follow_settings(&args)?.get();
    let hooks_port = bind(args.webhook_address).await?;
    let operations_port = bind(args.operations_address).await?;
    tracing::info!(
        webhooks = %hooks_port.local_addr()?,
        operations = %operations_port.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    // How many lists of Applications are missing; none is known before the cluster is reached.
    let pending = Arc::new(AtomicUsize::new(usize::MAX));
    let (stop, stopped) = watch::channel(false);
    let ready = {
        let pending = Arc::clone(&pending);
        move || match pending.load(Ordering::Relaxed) {
            0 => Ok(()),
            usize::MAX => Err("not connected to the cluster yet".to_owned()),
            missing => Err(format!("{missing} lists of Applications are not complete")),
        }
    };
    let router = operations(|| Ok(()), ready, Arc::clone(&metrics));
    let mut operations = tokio::spawn(serve(
        operations_port,
        router,
        ServeLimits::default(),
        ended(stopped.clone()),
    ));
    let sources = tokio::select! {
        sources = build(&args, &settings, &metrics, &pending) => sources?,
        () = terminated() => return Ok(()),
    };
    let receivers = Arc::new(Receivers::new(&settings, sources)?);
    let limits = WebhookLimits {
        body: settings.limits.webhook_body,
        ..WebhookLimits::default()
    };
    let router = webhooks(receivers, Arc::clone(&metrics), limits);
    let mut hooks = tokio::spawn(serve(
        hooks_port,
        router,
        ServeLimits::default(),
        ended(stopped),
    ));
    tokio::select! {
        () = terminated() => tracing::info!("asked to end"),
        result = &mut hooks => bail!("the webhook port ended: {result:?}"),
        result = &mut operations => bail!("the operations port ended: {result:?}"),
    }
    stop.send_replace(true);
    let _ = tokio::join!(hooks, operations);
    Ok(())
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Follows the settings file; all defaults when none is named.
fn follow_settings(args: &Args) -> Result<Reloaded<Settings>> {
    let paths: Vec<PathBuf> = args.config.iter().cloned().collect();
    let read = move |contents: &[Content]| match contents.first() {
        None => Ok(Settings::default()),
        Some(None) => Err("the settings file is not there".to_owned()),
        Some(Some(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            Settings::parse(text).map_err(|error| error.to_string())
        }
    };
    let (settings, following) = Reloaded::follow(paths, reload::Options::default(), read)?;
    tokio::spawn(following);
    Ok(settings)
}

async fn build(
    args: &Args,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    pending: &Arc<AtomicUsize>,
) -> Result<Arc<SourceLoop>> {
    let options = ClientOptions {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        in_cluster: true,
    };
    let cluster = Cluster::new(connect(&options).await?, Arc::clone(metrics));
    let status_subresource = prepare_definition(args, &cluster).await?;
    let applications =
        Applications::new(cluster.clone(), &args.application_group, status_subresource);
    let credentials = Arc::new(Credentials::default());
    watch_secrets(&cluster, &args.namespace, &credentials).await?;
    let registry = Arc::new(Registry::default());
    let sources = Arc::new(SourceLoop::new(
        Options {
            mirrors: args.work_dir.join("mirrors"),
            poll_interval: settings.poll_interval,
            limits: Limits {
                timeout: settings.limits.fetch_timeout,
                bytes: settings.limits.fetch_bytes,
            },
        },
        credentials,
        Arc::clone(&registry) as _,
        Arc::clone(metrics),
    ));
    let live = {
        let registry = Arc::clone(&registry);
        LiveTable::new(cluster.clone(), move |application| {
            registry.live_changed(application)
        })
    };
    let (announcer, announcing) = cluster.announcer();
    tokio::spawn(announcing);
    let mirrors = Arc::clone(&sources);
    registry.begin(Arc::new(Context {
        engine: engine(args, settings, &cluster, metrics).await?,
        applications: applications.clone(),
        sources: Arc::clone(&sources) as _,
        mirror_of: Box::new(move |application| mirrors.mirror(application)),
        live,
        announcer,
    }));
    let mut namespaces = args.application_namespaces.clone();
    namespaces.push(args.namespace.clone());
    namespaces.sort();
    namespaces.dedup();
    pending.store(namespaces.len(), Ordering::Relaxed);
    for namespace in namespaces {
        let pending = Arc::clone(pending);
        let listed = OnceLock::new();
        let ready = move || {
            listed.get_or_init(|| pending.fetch_sub(1, Ordering::Relaxed));
        };
        let served = applications.served().clone();
        tokio::spawn(watch_applications(
            Arc::clone(&registry),
            cluster.clone(),
            served,
            namespace,
            ready,
        ));
    }
    Ok(sources)
}

async fn engine(
    args: &Args,
    settings: &Settings,
    cluster: &Cluster,
    metrics: &Arc<Metrics>,
) -> Result<Engine> {
    let stages = args
        .stage_dir
        .clone()
        .unwrap_or_else(|| args.work_dir.join("stages"));
    // What an earlier run left behind when it was killed.
    if let Err(error) = std::fs::remove_dir_all(&stages)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "could not empty the stage directory");
    }
    Ok(Engine {
        cluster: cluster.clone(),
        tools: Arc::new(Tools::find(args.tools_dir.as_deref())),
        bundles: Bundles::new(args.work_dir.join("bundles")),
        metrics: Arc::clone(metrics),
        stages,
        kube_version: cluster.version().await?.into(),
        render_slots: Arc::new(Semaphore::new(2)),
        apply_slots: Arc::new(Semaphore::new(16)),
        render_timeout: settings.limits.render_timeout,
        yaml_limits: YamlLimits::default(),
    })
}

/// Installs the CustomResourceDefinition, or checks that it is there. Returns whether the status
/// has an endpoint of its own.
async fn prepare_definition(args: &Args, cluster: &Cluster) -> Result<bool> {
    let kind = Kind {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
    };
    let served = cluster.served(&kind).await?;
    let wanted = Object::new(definition(&args.application_group))?;
    let found = if args.application_group == GROUP && !args.no_install_crd {
        cluster.apply(&served, &wanted, Mode::Write).await?
    } else {
        let name = format!("{PLURAL}.{}", args.application_group);
        cluster.get(&served, &wanted.key()).await?.with_context(|| {
            format!("there is no CustomResourceDefinition {name}: install it with trimtab crd | kubectl apply -f -")
        })?
    };
    let kind = Kind {
        group: args.application_group.clone(),
        version: VERSION.to_owned(),
        kind: "Application".to_owned(),
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while let Err(error) = cluster.served(&kind).await {
        if std::time::Instant::now() > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let versions = found
        .get("/spec/versions")
        .and_then(serde_json::Value::as_array);
    let own = versions
        .into_iter()
        .flatten()
        .find(|version| version["name"] == VERSION);
    Ok(own.is_some_and(|version| version["subresources"]["status"].is_object()))
}

/// Follows the labelled Secrets; returns when the first lists are complete, so that no source is
/// tried without its credential.
async fn watch_secrets(
    cluster: &Cluster,
    namespace: &str,
    credentials: &Arc<Credentials>,
) -> Result<()> {
    let kind = Kind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Secret".to_owned(),
    };
    let served = cluster.served(&kind).await?;
    for label in SECRET_TYPE_LABELS {
        let (listed, first) = tokio::sync::oneshot::channel();
        let mut listed = Some(listed);
        let (cluster, served) = (cluster.clone(), served.clone());
        let credentials = Arc::clone(credentials);
        let selection = Selection {
            namespace: Some(namespace.to_owned()),
            labels: Some(label.to_owned()),
        };
        tokio::spawn(async move {
            let handle = |event| match event {
                WatchEvent::Applied(secret) => credentials.set(&secret),
                WatchEvent::Deleted(secret) => credentials.remove(&secret),
                WatchEvent::Listed => drop(listed.take().map(|listed| listed.send(()))),
                WatchEvent::Listing => {}
                WatchEvent::Failed(message) => {
                    tracing::warn!(message, "the watch of repository Secrets failed");
                }
            };
            cluster.watch(&served, selection, handle).await;
        });
        if tokio::time::timeout(Duration::from_secs(30), first)
            .await
            .is_err()
        {
            bail!("could not list the Secrets of namespace {namespace} within 30 s");
        }
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address}"))
}

/// Ends with SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    if let (Ok(mut terminate), Ok(mut interrupt)) = both {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
