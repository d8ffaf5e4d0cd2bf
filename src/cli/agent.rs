//! `trimtab agent`: the one place that builds the parts, wires them and ends them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use super::Outcome;
use super::agent_arguments::{Args, application_kind};
use super::definition;
use super::going::{keep, watch_all, watch_secrets};
use super::hooks::Receivers;
use super::isolation::{Renders, Verdict, renders};
use super::provider::{host, provider};
use crate::api::{self, About, Api};
use crate::bundle::Bundles;
use crate::cluster::{Applications, ClientOptions, Cluster, connect};
use crate::config::{Ranges, Settings};
use crate::controller::{Claims, Context, Dependencies, LiveTable, ProjectsInForce, Registry};
use crate::git::Limits;
use crate::reload::{self, Content, Reloaded};
use crate::server::{ServeLimits, WebhookLimits, operations, serve, webhooks};
use crate::source::{Credentials, Options, SourceLoop};
use crate::sync::{Capabilities, Engine};
use crate::telemetry::{self, Metrics};
use crate::trigger::Journal;
use crate::ui::site;

/// Runs the agent on threads of its own.
pub(super) fn start(args: Args) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("could not start")?;
    let result = runtime.block_on(run(args));
    // Threads that sit in a fetch or a checkout are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| Outcome::Done)
}

/// Runs until SIGTERM or SIGINT.
async fn run(args: Args) -> Result<()> {
    telemetry::init(&args.telemetry)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let following = follow_settings(&args)?;
    let settings = following.get();
    let port = bind(args.address).await?;
    let hooks_port = bind(args.webhook_address).await?;
    let operations_port = bind(args.operations_address).await?;
    tracing::info!(
        address = %port.local_addr()?,
        webhooks = %hooks_port.local_addr()?,
        operations = %operations_port.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    // How many lists of Applications are missing; none is known before the cluster is reached.
    let pending = Arc::new(AtomicUsize::new(usize::MAX));
    let (stop, stopped) = watch::channel(false);
    // Why it does not get on, until the cluster is reached.
    let (waits_for, said) = watch::channel("not connected to the cluster yet".to_owned());
    let ready = {
        let pending = Arc::clone(&pending);
        move || match pending.load(Ordering::Relaxed) {
            0 => Ok(()),
            usize::MAX => Err(said.borrow().clone()),
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
    let Parts {
        sources,
        api,
        registry,
        projects,
        journal,
    } = tokio::select! {
        built = build(&args, &settings, &metrics, &pending, &waits_for, stopped.clone()) => built?,
        () = terminated() => return Ok(()),
    };
    let proxies = Arc::new(settings.trusted_proxies.clone());
    let limits = limits_of_people(Arc::clone(&proxies));
    let router = site(&api);
    let mut people = tokio::spawn(serve(port, router, limits, ended(stopped.clone())));
    let receivers = Receivers::new(&settings, Arc::clone(&sources), journal)?;
    let receivers = Arc::new(receivers);
    let take_projects = taker(projects, registry);
    let taking = take_settings(following, sources, Arc::clone(&receivers), take_projects);
    tokio::spawn(taking);
    let limits = WebhookLimits {
        body: settings.limits.webhook_body,
        ..WebhookLimits::default()
    };
    let router = webhooks(receivers, Arc::clone(&metrics), limits);
    let mut hooks = tokio::spawn(serve(
        hooks_port,
        router,
        ServeLimits {
            connections: 256,
            proxies,
            ..ServeLimits::default()
        },
        ended(stopped),
    ));
    tokio::select! {
        () = terminated() => tracing::info!("asked to end"),
        result = &mut hooks => bail!("the webhook port ended: {result:?}"),
        result = &mut people => bail!("the port for people ended: {result:?}"),
        result = &mut operations => bail!("the operations port ended: {result:?}"),
    }
    stop.send_replace(true);
    let _ = tokio::join!(hooks, operations, people);
    Ok(())
}

/// Pages and streams of many people at once.
fn limits_of_people(proxies: Arc<Ranges>) -> ServeLimits {
    ServeLimits {
        connections: 512,
        per_address: 128,
        proxies,
        header_bytes: 32 << 10,
        grace: Duration::from_secs(3),
        ..ServeLimits::default()
    }
}

/// Takes new projects; all applications look whether they may still do what they do.
fn taker(projects: Arc<ProjectsInForce>, registry: Arc<Registry>) -> impl Fn(&Settings) {
    move |settings: &Settings| {
        let account = settings.default_service_account_name.clone();
        if projects.set(settings.projects.clone(), account) {
            registry.wake_all();
        }
    }
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Takes new settings as they come. Limits and addresses hold from the next start on.
async fn take_settings(
    mut following: Reloaded<Settings>,
    sources: Arc<SourceLoop>,
    receivers: Arc<Receivers>,
    take_projects: impl Fn(&Settings),
) {
    loop {
        following.changed().await;
        let settings = following.get();
        sources.set_poll_interval(settings.poll_interval);
        take_projects(&settings);
        match receivers.set(&settings) {
            Ok(()) => tracing::info!(receivers = settings.receivers.len(), "new settings"),
            Err(error) => tracing::error!(%error, "the receivers stay as they were"),
        }
    }
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

/// What runs.
struct Parts {
    sources: Arc<SourceLoop>,
    api: Arc<Api>,
    registry: Arc<Registry>,
    projects: Arc<ProjectsInForce>,
    journal: Arc<Journal>,
}

async fn build(
    args: &Args,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    pending: &Arc<AtomicUsize>,
    waits_for: &watch::Sender<String>,
    stopped: watch::Receiver<bool>,
) -> Result<Parts> {
    let cluster = reach(args, metrics).await?;
    definition::answered(&cluster, waits_for).await;
    definition::prepare(args, &cluster, waits_for).await?;
    let applications = Applications::discover(cluster.client(), &args.application_group).await?;
    let served = cluster.served(&application_kind(args)).await?;
    let credentials = Arc::new(Credentials::default());
    watch_secrets(&cluster, &args.namespace, &credentials).await?;
    let registry = Arc::new(Registry::default());
    let journal = Arc::new(Journal::default());
    let sources = source_loop(args, settings, credentials, &registry, metrics, &journal);
    let live = live_table(args, &cluster, &registry);
    let home = &args.namespace;
    keep(&cluster, &applications, &registry, &live, home);
    let projects = Arc::new(ProjectsInForce::new(
        &args.namespace,
        settings.projects.clone(),
        settings.default_service_account_name.clone(),
    ));
    let (announcer, announcing) = cluster.announcer();
    tokio::spawn(announcing);
    let (mirrors, fetches) = (Arc::clone(&sources), Arc::clone(&sources));
    let (renders, verdict) = renders(args, settings).await;
    metrics.sandbox(verdict.holds);
    registry.begin(Arc::new(Context {
        engine: engine(
            settings,
            &cluster,
            &args.work_dir,
            metrics,
            (renders, &registry),
        )
        .await?,
        applications: applications.clone(),
        sources: Arc::clone(&sources) as _,
        mirror_of: Box::new(move |application| mirrors.mirror(application)),
        fetch: Box::new(move |application, revision| {
            let fetches = Arc::clone(&fetches);
            Box::pin(async move { fetches.fetch(&application, revision).await })
        }),
        live,
        announcer,
        journal: Arc::clone(&journal),
        projects: Arc::clone(&projects),
        claims: Claims::default(),
        dependencies: Dependencies::default(),
        wake: {
            let registry = Arc::clone(&registry);
            Box::new(move |application| registry.live_changed(application))
        },
    }));
    let namespaces = namespaces(args);
    let about = about(args, settings, &cluster, &namespaces, verdict).await?;
    let api = Arc::new(Api::new(
        api::Parts {
            registry: Arc::clone(&registry),
            applications,
            cluster: cluster.clone(),
            sources: Arc::clone(&sources),
            journal: Arc::clone(&journal),
            metrics: Arc::clone(metrics),
            provider: provider(settings)?,
        },
        args.host.iter().cloned().chain(host(settings)).collect(),
        stopped,
        about,
    ));
    watch_all(&registry, &cluster, &served, namespaces, pending);
    tokio::spawn(keep_mirrors(Arc::clone(&sources), Arc::clone(pending)));
    Ok(Parts {
        sources,
        api,
        registry,
        projects,
        journal,
    })
}

async fn reach(args: &Args, metrics: &Arc<Metrics>) -> Result<Cluster> {
    let options = ClientOptions {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        prefer_service_account: true,
        ..ClientOptions::default()
    };
    Ok(Cluster::new(connect(&options).await?, Arc::clone(metrics)))
}

fn live_table(args: &Args, cluster: &Cluster, registry: &Arc<Registry>) -> Arc<LiveTable> {
    let registry = Arc::clone(registry);
    let namespaces = args.destination_namespaces.clone();
    LiveTable::new(cluster.clone(), namespaces, move |application| {
        registry.live_changed(application);
    })
}

async fn about(
    args: &Args,
    settings: &Settings,
    cluster: &Cluster,
    namespaces: &[String],
    verdict: Verdict,
) -> Result<About> {
    Ok(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kube_version: cluster.version().await?,
        home: args.namespace.clone(),
        namespaces: namespaces.to_owned(),
        group: args.application_group.clone(),
        poll_seconds: settings.poll_interval.as_secs(),
        limits: settings.limits.described(),
        sandbox: verdict.summary,
        sandbox_checks: verdict
            .checks
            .into_iter()
            .map(|check| (check.what, check.holds))
            .collect(),
    })
}

fn source_loop(
    args: &Args,
    settings: &Settings,
    credentials: Arc<Credentials>,
    registry: &Arc<Registry>,
    metrics: &Arc<Metrics>,
    journal: &Arc<Journal>,
) -> Arc<SourceLoop> {
    Arc::new(SourceLoop::new(
        Options {
            mirrors: args.work_dir.join("mirrors"),
            poll_interval: settings.poll_interval,
            limits: Limits {
                timeout: settings.limits.fetch_timeout,
                bytes: settings.limits.fetch_bytes,
            },
            mirror_bytes: settings.limits.mirror_bytes,
        },
        credentials,
        Arc::clone(registry) as _,
        Arc::clone(metrics),
        Arc::clone(journal),
    ))
}

/// Looks after the mirrors on disk once it is known which Applications there are.
async fn keep_mirrors(sources: Arc<SourceLoop>, pending: Arc<AtomicUsize>) {
    while pending.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    sources.keep_mirrors().await;
}

/// Every namespace with Applications, once.
fn namespaces(args: &Args) -> Vec<String> {
    let mut namespaces = args.application_namespaces.clone();
    namespaces.push(args.namespace.clone());
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

async fn engine(
    settings: &Settings,
    cluster: &Cluster,
    work_dir: &Path,
    metrics: &Arc<Metrics>,
    (renders, registry): (Renders, &Arc<Registry>),
) -> Result<Engine> {
    let registry = Arc::clone(registry);
    let wake = Box::new(move |application: &_| registry.live_changed(application));
    Ok(Engine {
        cluster: cluster.clone(),
        tools: Arc::new(renders.tools),
        bundles: Bundles::new(work_dir.join("bundles")),
        metrics: Arc::clone(metrics),
        stages: renders.stages,
        stage_bytes: renders.stage_bytes,
        capabilities: Capabilities::start(cluster, wake).await?,
        reading_slots: renders.reading,
        render_slots: renders.slots,
        directory_slots: renders.directories,
        apply_slots: Arc::new(Semaphore::new(16)),
        render_timeout: settings.limits.render_timeout,
        yaml_limits: renders.limits,
        verify_interval: settings.verify_interval,
        ignore_differences: settings.ignore_differences.clone().into(),
    })
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
