//! Resident memory of the agent.

use anyhow::Result;

use super::rig::{Rig, Row};

fn row(measurement: String, (resident, anonymous): (u64, u64)) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = |kib: u64| Some(kib as f64 / 1024.0);
    Row {
        measurement,
        mib: mib(resident),
        anonymous_mib: mib(anonymous),
        ..Row::default()
    }
}

/// Idle, and with the applications in sync; how long the first sync took.
pub(crate) fn first(rig: &Rig) -> Result<Vec<Row>> {
    let apps = format!(
        "{} applications, {} objects",
        rig.apps,
        rig.apps * rig.objects
    );
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let per_second = (rig.apps * rig.objects) as f64 / rig.first_sync.as_secs_f64();
    Ok(vec![
        row("memory, idle".to_owned(), rig.idle),
        row(format!("memory, {apps}"), rig.agent.memory()?),
        Row {
            measurement: format!("first sync, {apps}"),
            objects_per_second: Some(per_second),
            p50_ms: Some(rig.first_sync.as_secs_f64() * 1000.0),
            ..Row::default()
        },
    ])
}

/// After pushes; without the push measurement these are made here.
pub(crate) async fn after_pushes(rig: &Rig, pushes: usize) -> Result<Row> {
    for n in 0..pushes {
        let commit_id = rig.commit(n % rig.apps, &format!("memory {n}"))?;
        rig.agent.push_github(&rig.url, "main", &commit_id).await?;
    }
    Ok(row(
        format!(
            "memory, {} applications, after {pushes} more pushes",
            rig.apps
        ),
        rig.agent.memory()?,
    ))
}
