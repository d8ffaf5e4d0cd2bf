//! A signed push until the changed object is live, beside the same by hand in the same run.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{AsyncBufReadExt, StreamExt};
use http::Request;
use serde_json::Value;
use tokio::sync::mpsc;

use super::baseline::Baseline;
use super::rig::{Rig, Row, percentile};

/// The agent, the floor and the shell in turn, so that all three see the same machine.
pub(crate) async fn measure(rig: &Rig, pushes: usize) -> Result<Vec<Row>> {
    let mut changes = watch(rig)?;
    let baseline = Baseline::prepare(rig)?;
    let (mut ours, mut floor, mut shell) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = 0.0;
    // One of each is not counted: it warms caches and connections.
    for n in 0..=pushes {
        progress(n, pushes)?;
        let app = n % rig.apps;
        let value = format!("push {n}");
        let commit_id = rig.commit(app, &value)?;
        let before = rig.agent.processor_seconds()?;
        let started = Instant::now();
        match rig.agent.push_github(&rig.url, "main", &commit_id).await? {
            202 => {}
            status => bail!("the push was answered with {status}"),
        }
        let live = wait(&mut changes, &value).await?;
        // What comes after, the status and the bundle, belongs to the push as well.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let took = rig.agent.processor_seconds()? - before;
        // By hand it goes to a namespace that the agent does not keep, and back in Git.
        let by_hand = rig.commit(app, &format!("floor {n}"))?;
        let floor_took = baseline.floor(rig, app, &by_hand).await?;
        let by_hand = rig.commit(app, &format!("shell {n}"))?;
        let shell_took = baseline.shell(rig, app, &by_hand)?;
        rig.commit(app, &value)?;
        if n > 0 {
            used += took;
            ours.push(live.duration_since(started));
            floor.push(floor_took);
            shell.push(shell_took);
        }
    }
    eprintln!();
    let name = |what: &str| format!("push, {} applications: {what}", rig.apps);
    let mut row = Row::of_times(name("accepted → live"), &ours);
    row.ratio_to_floor = Some(percentile(&ours, 50) / percentile(&floor, 50));
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let each = used / pushes.max(1) as f64;
    row.cpu_seconds = Some(each);
    row.ratio_to_shell = Some(percentile(&ours, 50) / percentile(&shell, 50));
    let mut rows = vec![row];
    rows.push(Row::of_times(name("floor"), &floor));
    rows.push(Row::of_times(name("shell"), &shell));
    for stage in ["fetched", "rendered", "applied"] {
        let labels = [format!("stage=\"{stage}\""), "trigger=\"push\"".to_owned()];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        let sum = rig
            .agent
            .metric("trimtab_push_stage_seconds_sum", &labels)
            .await?;
        let count = rig
            .agent
            .metric("trimtab_push_stage_seconds_count", &labels)
            .await?;
        rows.push(Row {
            measurement: name(&format!("{stage} (mean)")),
            p50_ms: Some(sum / count.max(1.0) * 1000.0),
            ..Row::default()
        });
    }
    Ok(rows)
}

fn progress(n: usize, of: usize) -> Result<()> {
    if std::io::stderr().is_terminal() {
        eprint!("\r  push {n} of {of}");
        std::io::stderr().flush()?;
    } else if n == 0 {
        eprintln!("  {of} pushes");
    }
    Ok(())
}

/// The values of the ConfigMaps as a watch shows them, with the moment of arrival.
fn watch(rig: &Rig) -> Result<mpsc::UnboundedReceiver<(Instant, String)>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let client = rig.control_plane.cluster.client();
    let path = "/api/v1/namespaces/bench/configmaps?watch=true&resourceVersion=0";
    let request = Request::get(path).body(Vec::new())?;
    tokio::spawn(async move {
        let Ok(stream) = client.request_stream(request).await else {
            return;
        };
        let mut lines = std::pin::pin!(stream.lines());
        while let Some(Ok(line)) = lines.next().await {
            let at = Instant::now();
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let value = event["object"]["data"]["value"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if sender.send((at, value)).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

async fn wait(
    changes: &mut mpsc::UnboundedReceiver<(Instant, String)>,
    value: &str,
) -> Result<Instant> {
    let found = async {
        while let Some((at, seen)) = changes.recv().await {
            if seen == value {
                return Some(at);
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(60), found)
        .await
        .with_context(|| format!("\"{value}\" did not go live"))?
        .context("the watch ended")
}
