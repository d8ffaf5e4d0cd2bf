//! `trimtab sync`.

use anyhow::Result;

use super::Outcome;
use super::chosen::{Chosen, worst};
use super::operate::{Waiting, operate};
use super::target::{self, Target};
use crate::crd::{Operation, ResourceSelector, SyncOperation, options};

/// Apply the desired state now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Hooks run again. With --resource only those objects are applied, and no hooks.

With --wait: ends with 0 when the application is as desired, with 1 when it is OutOfSync or
Degraded afterwards, with 2 when the sync failed. A dry run ends with 1 when something would
change.

Examples:
  trimtab sync shop
  trimtab sync shop --wait --timeout 10m
  trimtab sync shop --prune --wait    also delete what is no longer desired
  trimtab sync shop --dry-run         say what would be done and do nothing
  trimtab sync shop --revision v1.2   until the next commit; `trimtab rollback shop --undo` ends it
  trimtab sync shop --resource apps:Deployment:web --resource :ConfigMap:shop/settings
  trimtab sync -l team=shop --wait    one after the other
  trimtab sync shop --replace --resource apps:Deployment:web")]
pub(super) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Delete objects that are no longer desired
    #[arg(long)]
    prune: bool,
    /// Say what would be done and do nothing; waits for the answer
    #[arg(long)]
    dry_run: bool,
    /// A branch, tag or commit instead of the newest; it stays until the source has a newer commit
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        conflicts_with = "dry_run"
    )]
    revision: String,
    /// Only this object: GROUP:KIND:NAME or GROUP:KIND:NAMESPACE/NAME, the group empty for the
    /// core; `*` stands for any
    #[arg(long, value_name = "OBJECT", value_parser = selector)]
    resource: Vec<ResourceSelector>,
    /// Write the objects whole, so that fields of others go
    #[arg(long)]
    replace: bool,
    /// Delete and create again what cannot change
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    target: target::Args,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = args.target.open().await?;
    let mut outcome = Outcome::Done;
    for name in args.chosen.names(&target).await? {
        outcome = worst(outcome, one(&target, &name, &args).await?);
    }
    Ok(outcome)
}

async fn one(target: &Target, name: &str, args: &Args) -> Result<Outcome> {
    let given = [(args.replace, "Replace=true"), (args.force, "Force=true")];
    let sync_options = given.iter().filter(|(given, _)| *given);
    let sync_options: Vec<_> = sync_options
        .map(|(_, option)| (*option).to_owned())
        .collect();
    debug_assert!(sync_options.iter().all(|option| options::is_known(option)));
    let operation = Operation {
        sync: Some(SyncOperation {
            prune: args.prune,
            dry_run: args.dry_run,
            revision: args.revision.clone(),
            resources: args.resource.clone(),
            sync_options,
            sync_strategy: None,
        }),
        ..Operation::default()
    };
    operate(target, name, "a sync", operation, &args.waiting).await
}

/// An object as `argocd app sync --resource` names it.
fn selector(text: &str) -> Result<ResourceSelector, String> {
    let wrong = || "an object is GROUP:KIND:NAME or GROUP:KIND:NAMESPACE/NAME".to_owned();
    let (group, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (kind, name) = rest.split_once(':').ok_or_else(wrong)?;
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    if kind.is_empty() || name.is_empty() {
        return Err(wrong());
    }
    Ok(ResourceSelector {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_in_argo_cd() {
        let read = selector("apps:Deployment:shop/web").unwrap();
        let expected = ResourceSelector {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        assert_eq!(read, expected);
        assert_eq!(selector(":ConfigMap:a").unwrap().namespace, "");
        // A colon is part of some RBAC names.
        assert_eq!(selector("rbac:Role:a:b").unwrap().name, "a:b");
        for wrong in ["", "web", "Deployment:web", "apps::web", "apps:Deployment:"] {
            selector(wrong).unwrap_err();
        }
    }
}
