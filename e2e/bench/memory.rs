//! Resident memory of the agent.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::rig::{Options, Rig, Row};

pub(crate) fn row(measurement: String, (resident, anonymous): (u64, u64)) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = |kib: u64| Some(kib as f64 / 1024.0);
    Row {
        measurement,
        mib: mib(resident),
        anonymous_mib: mib(anonymous),
        ..Row::default()
    }
}

fn load(rig: &Rig) -> String {
    let objects = rig.apps * rig.objects;
    format!("{} applications, {objects} objects", rig.apps)
}

/// What it has now.
pub(crate) fn now(rig: &Rig, when: &str) -> Result<Row> {
    let name = format!("memory, {}, {when}", load(rig));
    Ok(row(name, rig.agent.memory()?))
}

/// Idle, and with the applications in sync, and the most of it; how long the first sync took.
pub(crate) fn first(rig: &Rig) -> Result<Vec<Row>> {
    let load = load(rig);
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let per_second = (rig.apps * rig.objects) as f64 / rig.first_sync.time.as_secs_f64();
    Ok(vec![
        row("memory, idle".to_owned(), rig.idle),
        row(format!("memory, {load}"), rig.agent.memory()?),
        Row {
            anonymous_mib: None,
            ..row(
                format!("memory, {load}, peak so far"),
                (rig.agent.peak()?, 0),
            )
        },
        Row {
            measurement: format!("first sync, {load}"),
            objects_per_second: Some(per_second),
            p50_ms: Some(rig.first_sync.time.as_secs_f64() * 1000.0),
            writes: Some(rig.first_sync.writes),
            reads: Some(rig.first_sync.reads),
            cpu_seconds: Some(rig.first_sync.cpu_seconds),
            ..Row::default()
        },
    ])
}

/// After many pushes, and after a day of polls in a few minutes.
pub(crate) async fn later(rig: &mut Rig, options: &Options) -> Result<Vec<Row>> {
    let pushes = options.pushes * 50;
    eprintln!("pushing {pushes} times ...");
    for n in 0..pushes {
        let commit_id = rig.commit(n % rig.apps, &format!("memory {n}"))?;
        let answer = rig.agent.push_github(&rig.url, "main", &commit_id).await?;
        ensure!(answer == 202, "push {n} was answered with {answer}");
        if n % rig.apps == 0 {
            rig.value_live(n % rig.apps, &format!("memory {n}")).await?;
        }
    }
    let mut rows = vec![now(rig, &format!("after {pushes} more pushes"))?];
    eprintln!("polling {} times ...", options.polls);
    rig.agent.process.kill();
    rig.agent = rig.start_agent("500ms").await?;
    let asked = rig.agent.metric("trimtab_git_requests_total", &[]).await?;
    tokio::time::sleep(Duration::from_millis(500) * u32::try_from(options.polls)?).await;
    let asked = rig.agent.metric("trimtab_git_requests_total", &[]).await? - asked;
    rows.push(now(
        rig,
        &format!("after a restart and a day of polls ({asked:.0} at Git)"),
    )?);
    Ok(rows)
}
