//! What the agent waits for when it starts. The API server may be away, as after the restart of a
//! node: an agent that ended then would be started again later and later. And the
//! CustomResourceDefinition: it is installed or brought up to date where the
//! agent may do that; where it may not, an older one is refused with what it lacks and how that is
//! mended, until somebody has done so. One of a newer agent stays as it is.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::watch;

use super::agent_arguments::{Args, application_kind};
use crate::cluster::{Cluster, Error, Mode};
use crate::crd::names::{GROUP, PLURAL};
use crate::crd::{Installed, compare_definitions, definition};
use crate::object::{Kind, Object};

/// How often a definition that is too old is compared again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a definition may take until its kind is served.
const SERVED: Duration = Duration::from_secs(30);
/// What it lacks, as far as it is named.
const NAMED: usize = 5;

/// Says why the agent does not get on, where that is news.
fn say(waits_for: &watch::Sender<String>, fault: String) {
    if *waits_for.borrow() != fault {
        tracing::error!("{fault}");
        waits_for.send_replace(fault);
    }
}

/// Returns when the API server answers; `waits_for` says why it does not.
pub(super) async fn answered(cluster: &Cluster, waits_for: &watch::Sender<String>) {
    let mut pause = Duration::from_millis(100);
    while let Err(error) = cluster.version().await {
        say(waits_for, format!("{error}; it is asked again"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN);
    }
}

/// Returns when the definition is good enough; `waits_for` says why it is not yet. One of another group
/// is somebody else's: it is only looked for.
pub(super) async fn prepare(
    args: &Args,
    cluster: &Cluster,
    waits_for: &watch::Sender<String>,
) -> Result<()> {
    if args.application_group != GROUP {
        return Ok(());
    }
    let own = Object::new(definition(GROUP))?;
    let kind = Kind {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
    };
    loop {
        let live = match cluster.find(&kind, &own.key()).await {
            Err(error) if is_denied(&error) => {
                tracing::warn!(%error, "the CustomResourceDefinition is not compared");
                return Ok(());
            }
            // It may have only begun to answer.
            Err(error) => {
                say(waits_for, format!("{error}; it is asked again"));
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Ok(live) => live,
        };
        let live = live.map(Object::into_value);
        let state = compare_definitions(&definition(GROUP), live.as_ref());
        match &state {
            Installed::Same => return Ok(()),
            Installed::Newer => {
                tracing::info!("the CustomResourceDefinition is of a newer agent and stays");
                return Ok(());
            }
            Installed::Absent | Installed::Lacking(_) | Installed::Older => {}
        }
        let denied = match args.no_install_crd {
            true => "it was started with --no-install-crd".to_owned(),
            false => match install(args, cluster, &kind, &own).await {
                Ok(()) => return Ok(()),
                Err(error) if is_denied(&error) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
        };
        let Some(fault) = fault(&state, &denied) else {
            tracing::info!(
                why = denied,
                "the CustomResourceDefinition stays an older one"
            );
            return Ok(());
        };
        say(waits_for, fault);
        tokio::time::sleep(AGAIN).await;
    }
}

fn is_denied(error: &Error) -> bool {
    matches!(
        error,
        Error::Forbidden { .. } | Error::Api { code: 403, .. }
    )
}

/// Writes it and waits until its kind is served.
async fn install(args: &Args, cluster: &Cluster, kind: &Kind, own: &Object) -> Result<(), Error> {
    let served = cluster.served(kind).await?;
    cluster.apply(&served, own, Mode::Write).await?;
    tracing::info!("the CustomResourceDefinition is installed");
    let deadline = Instant::now() + SERVED;
    while let Err(error) = cluster.served(&application_kind(args)).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Why the agent does not go on with this definition, which it may not write; none when it can.
fn fault(state: &Installed, denied: &str) -> Option<String> {
    let what = match state {
        Installed::Absent => "is not installed".to_owned(),
        Installed::Lacking(fields) => {
            let named = fields.iter().take(NAMED).cloned().collect::<Vec<_>>();
            let more = match fields.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "is older than this agent ({}): the API server would drop or refuse {}{more}",
                env!("CARGO_PKG_VERSION"),
                named.join(", ")
            )
        }
        Installed::Older | Installed::Same | Installed::Newer => return None,
    };
    Some(format!(
        "the CustomResourceDefinition {PLURAL}.{GROUP} {what}. The agent did not mend that: {denied}. \
         With the command line of this version do: trimtab crd | kubectl apply --server-side \
         --force-conflicts -f -. The agent goes on by itself then"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missed_stops_the_agent() {
        let many = (0..8).map(|n| format!("status.f{n}")).collect();
        for (state, expected) in [
            (Installed::Absent, Some("is not installed")),
            (
                Installed::Lacking(vec!["status.a".to_owned()]),
                Some("would drop or refuse status.a. The agent"),
            ),
            (Installed::Lacking(many), Some("status.f4 and 3 more. ")),
            (Installed::Older, None),
            (Installed::Newer, None),
        ] {
            let fault = fault(&state, "denied");
            assert_eq!(fault.is_some(), expected.is_some(), "{state:?}");
            let (fault, expected) = (fault.unwrap_or_default(), expected.unwrap_or_default());
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
