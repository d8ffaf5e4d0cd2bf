//! `trimtab render`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::output::print_documents;
use super::{Outcome, manifests, target};
use crate::crd::{Application, names, read};
use crate::object::{Object, YamlLimits};
use crate::render::{Request, Tools, render};

/// How long kustomize or helm may take.
const RENDER: Duration = Duration::from_secs(60);

/// Print what a checkout renders to, as the agent does it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is applied or fetched. kustomize and helm are those of your PATH; what the agent refuses,
such as remote bases, is refused here too. Secrets are printed as they are.

Examples:
  trimtab render shop                          an application of the cluster, the checkout is here
  trimtab render shop --local ~/src/shop
  trimtab render -f application.yaml --local . without a cluster")]
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
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let (application, version) = match (&args.file, &args.application) {
        (Some(file), _) => (of_file(file)?, args.kube_version.clone()),
        (None, Some(name)) => {
            let target = args.target.open().await?;
            let version = target.applications.client().apiserver_version().await?;
            (read(target.find(name).await?), version.git_version)
        }
        (None, None) => bail!("name an application or a file"),
    };
    let version = version.trim_start_matches('v');
    let objects = of_checkout(&application, &args.local, version).await?;
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

/// Renders a checkout as the agent renders the application's source.
pub(super) async fn of_checkout(
    application: &Application,
    checkout: &Path,
    kube_version: &str,
) -> Result<Vec<Object>> {
    let source = application.spec.source.clone();
    let source = source.context("the application has no source")?;
    let scratch = tempfile::tempdir().context("could not make a directory for temporary files")?;
    let stage = checkout.canonicalize();
    let stage = stage.with_context(|| format!("could not open {}", checkout.display()))?;
    let request = Request {
        stage: &stage,
        scratch: scratch.path(),
        source: &source,
        name: &application.key.name,
        namespace: &application.spec.destination.namespace,
        kube_version,
        timeout: RENDER,
        limits: YamlLimits::default(),
    };
    let rendered = render(&Tools::find(None), &request).await;
    let rendered = rendered.with_context(|| format!("could not render {}", checkout.display()))?;
    Ok(rendered.1)
}
