//! What the agent asks for while nothing changes, and what a restart costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use http::Request;

use super::rig::{Rig, Row};
use crate::lab::Agent;

const REQUESTS: &str = "trimtab_kube_requests_total";
const READS: [&str; 2] = ["get", "list"];
const WRITES: [&str; 5] = ["apply", "dry_run", "delete", "status", "bundle"];

/// Sum of these verbs so far.
async fn requests(agent: &Agent, verbs: &[&str]) -> Result<f64> {
    let mut sum = 0.0;
    for verb in verbs {
        sum += agent
            .metric(REQUESTS, &[&format!("verb=\"{verb}\"")])
            .await?;
    }
    Ok(sum)
}

/// Writes and reads of the API server so far, watches apart.
pub(super) async fn asked(agent: &Agent) -> Result<(f64, f64)> {
    Ok((
        requests(agent, &WRITES).await?,
        requests(agent, &READS).await?,
    ))
}

/// Counts over a time in which nobody changes anything.
pub(crate) async fn measure(rig: &Rig, time: Duration) -> Result<Vec<Row>> {
    eprintln!("counting for {} s ...", time.as_secs());
    // What the last sync reports is over, and so is what others do about new objects: Kubernetes'
    // own garbage collector looks once at the Application that owns a Secret.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let agent = &rig.agent;
    let before = (asked(agent).await?, agent.processor_seconds()?);
    let asked = agent.metric("trimtab_git_requests_total", &[]).await?;
    let counted = counted(rig).await?;
    tokio::time::sleep(time).await;
    let counted = {
        let after = self::counted(rig).await?;
        (after.0 - counted.0, after.1 - counted.1)
    };
    let asked = agent.metric("trimtab_git_requests_total", &[]).await? - asked;
    let after = self::asked(agent).await?;
    let row = Row {
        measurement: format!(
            "steady for {} s, {} applications, {} objects",
            time.as_secs(),
            rig.apps,
            rig.apps * rig.objects
        ),
        writes: Some(after.0 - before.0.0),
        reads: Some(after.1 - before.0.1),
        cpu_seconds: Some(agent.processor_seconds()? - before.1),
        ..Row::default()
    };
    let by_server = Row {
        measurement: format!(
            "the same by the API server (reads of Applications); {asked:.0} requests at Git"
        ),
        writes: Some(counted.0),
        reads: Some(counted.1),
        ..Row::default()
    };
    Ok(vec![row, by_server])
}

/// As the API server counted them, watches apart: writes of Applications, ConfigMaps and Secrets,
/// which nobody else writes here, and reads of Applications. Others read the rest as well.
async fn counted(rig: &Rig) -> Result<(f64, f64)> {
    let request = Request::get("/metrics").body(Vec::new())?;
    let client = rig.control_plane.cluster.client();
    let text = client.request_text(request).await?;
    let (mut writes, mut reads) = (0.0, 0.0);
    for line in text.lines() {
        let Some(labels) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let says = |label: &str| labels.contains(label);
        let of = |resource: &str| says(&format!("resource=\"{resource}\""));
        let value = line.rsplit(' ').next().and_then(|it| it.parse().ok());
        let value: f64 = value.unwrap_or(0.0);
        if says("verb=\"WATCH\"") {
            continue;
        }
        if says("verb=\"GET\"") || says("verb=\"LIST\"") {
            if of("applications") {
                reads += value;
            }
        } else if of("applications") || of("configmaps") || of("secrets") {
            writes += value;
        }
    }
    Ok((writes, reads))
}

/// Ends the agent and starts it again: how long until it is ready, and what it applies.
pub(crate) async fn restart(rig: &mut Rig) -> Result<Vec<Row>> {
    eprintln!("restarting ...");
    rig.agent.process.kill();
    let started = Instant::now();
    rig.agent = rig.start_agent("180s").await?;
    let ready = started.elapsed();
    // Every application is looked at once its source was.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let agent = &rig.agent;
    Ok(vec![
        Row::of_times(
            format!("start to ready, {} applications", rig.apps),
            &[ready],
        ),
        Row {
            measurement: format!(
                "after a restart, {} applications (one write is the definition)",
                rig.apps
            ),
            writes: Some(requests(agent, &["apply", "dry_run", "delete"]).await?),
            reads: Some(requests(agent, &READS).await?),
            ..Row::default()
        },
    ])
}
