//! `trimtab render`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::output::{complain, print_documents};
use super::{Outcome, manifests, target};
use crate::cluster::served_versions;
use crate::crd::{Application, names, read};
use crate::exec::{Priority, Sandbox};
use crate::object::{Object, Rendered, YamlLimits};
use crate::render::{Checkout, Isolation, Request, Tools, inputs, render, source_of};

/// How long kustomize or helm may take.
const RENDER: Duration = Duration::from_secs(60);
/// Bytes of memory that they may have.
const MEMORY: u64 = 2 << 30;

/// Print what a checkout renders to, as the agent does it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is applied or fetched. kustomize and helm are those of your PATH; what the agent refuses,
such as remote bases, is refused here too. Secrets are printed as they are.

Examples:
  trimtab render shop                          an application of the cluster, the checkout is here
  trimtab render shop --local ~/src/shop
  trimtab render -f application.yaml --local . without a cluster
  trimtab render -f application.yaml -a policy/v1/PodDisruptionBudget")]
pub(super) struct Args {
    /// The application's name
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    application: Option<String>,
    /// An Application in a file, or - for standard input, instead of one of the cluster
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The root of a checkout of its repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    local: PathBuf,
    /// The version of Kubernetes that charts see; the cluster's when not given
    #[arg(
        long,
        value_name = "VERSION",
        requires = "file",
        default_value = "1.35.0"
    )]
    kube_version: String,
    /// A version or kind that charts see besides those that every helm knows, such as
    /// monitoring.coreos.com/v1 or policy/v1/PodDisruptionBudget; with an application of the cluster
    /// besides those that it serves
    #[arg(short, long, value_name = "VERSION", value_delimiter = ',')]
    api_versions: Vec<String>,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let (application, mut kubernetes) = match (&args.file, &args.application) {
        (Some(file), _) => {
            let version = args.kube_version.trim_start_matches('v').to_owned();
            let versions = Vec::new();
            (of_file(file)?, Kubernetes { version, versions })
        }
        (None, Some(name)) => {
            let target = args.target.open().await?;
            let kubernetes = Kubernetes::of(target.applications.client()).await?;
            (read(target.find(name).await?), kubernetes)
        }
        (None, None) => bail!("name an application or a file"),
    };
    kubernetes.versions.extend(args.api_versions);
    let objects = of_checkout(&application, &args.local, &kubernetes).await?;
    print_documents(&objects)?;
    Ok(Outcome::Done)
}

fn of_file(file: &Path) -> Result<Application> {
    let mut all = manifests::read(file)?;
    all.retain(|object| object.kind() == names::KIND);
    let count = all.len();
    match (all.pop(), count) {
        (Some(object), 1) => {
            let application = read(object);
            if !application.faults.is_empty() {
                bail!("{}: {}", file.display(), application.faults.join("; "));
            }
            Ok(application)
        }
        _ => bail!(
            "{} holds {count} Applications, one is needed",
            file.display()
        ),
    }
}

/// What charts are told of the cluster.
pub(super) struct Kubernetes {
    version: String,
    versions: Vec<String>,
}

impl Kubernetes {
    /// What the agent tells them.
    pub(super) async fn of(client: &kube::Client) -> Result<Self> {
        let version = client.apiserver_version().await?.git_version;
        Ok(Self {
            version: version.trim_start_matches('v').to_owned(),
            versions: served_versions(client).await?,
        })
    }
}

/// Renders a checkout as the agent renders the application's source.
pub(super) async fn of_checkout(
    application: &Application,
    checkout: &Path,
    kubernetes: &Kubernetes,
) -> Result<Vec<Object>> {
    if application.spec.source.is_none() {
        bail!("the application has no source");
    }
    let source = source_of(application)?;
    let scratch = tempfile::tempdir().context("could not make a directory for temporary files")?;
    let open = Checkout::open(checkout);
    let open = open.with_context(|| format!("could not open {}", checkout.display()))?;
    let name = &application.key.name;
    let could_not = || format!("could not render {}", checkout.display());
    let reading = inputs(&source, name, &open).with_context(could_not)?;
    let request = Request {
        stage: open.root(),
        scratch: scratch.path(),
        left_out: &[],
        repeated_keys: &reading.repeated_keys,
        tool: reading.tool,
        source: &source,
        name,
        namespace: &application.spec.destination.namespace,
        kube_version: &kubernetes.version,
        api_versions: &kubernetes.versions,
        timeout: RENDER,
        priority: Priority::Usual,
        limits: YamlLimits::default(),
    };
    // As the agent does; a machine without Landlock renders too, and memory is no matter there.
    let sandbox = Sandbox {
        memory: MEMORY,
        lenient: true,
    };
    let tools = Tools::find(None).confined(Isolation::Sandbox(sandbox));
    let rendered = render(&tools, &request).await;
    let Rendered { objects, notes } = rendered.with_context(could_not)?;
    for key in notes.repeated_keys {
        complain(&format!("{key}; the last one counts"));
    }
    for file in notes.skipped_files {
        complain(&format!("{file} holds no manifest and is left out"));
    }
    Ok(objects)
}
