//! Many applications: the first sync of all, a push to one, a push to all, a restart.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::rig::{Options, Rig, Row, manifest};
use super::{memory, push, steady};

/// Applications when no number is given.
const MANY: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn measure(binary: &Path, options: &Options) -> Result<Vec<Row>> {
    let apps = options.apps.unwrap_or(MANY);
    let mut rig = Rig::start(binary, apps, options.objects).await?;
    let mut rows = memory::first(&rig)?;
    rows.extend(push::measure(&rig, options.pushes).await?);
    rows.push(push_to_all(&rig).await?);
    rows.push(memory::now(&rig, "after a push to each")?);
    rows.extend(steady::restart(&mut rig).await?);
    rows.push(memory::now(&rig, "after a restart")?);
    Ok(rows)
}

/// One commit that changes one object of every application, until the last is live.
async fn push_to_all(rig: &Rig) -> Result<Row> {
    eprintln!("pushing to all {} applications ...", rig.apps);
    let files: Vec<_> = (0..rig.apps)
        .map(|app| (format!("apps/{app}/m0.yaml"), manifest(app, 0, "to all")))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    let commit_id = rig.repository.commit("main", &files, "to all")?;
    let started = Instant::now();
    rig.agent.push_github(&rig.url, "main", &commit_id).await?;
    let path = "/api/v1/namespaces/bench/configmaps";
    loop {
        let maps = rig.control_plane.cluster.get(path).await?["items"].take();
        let maps = maps.as_array().cloned().unwrap_or_default();
        let live = maps.iter().filter(|map| map["data"]["value"] == "to all");
        let live = live.count();
        if live == rig.apps {
            break;
        }
        if started.elapsed() > PATIENCE {
            bail!("{live} of {} went live", rig.apps);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let per_second = rig.apps as f64 / started.elapsed().as_secs_f64();
    Ok(Row {
        measurement: format!(
            "a push to all of {} applications, until the last is live",
            rig.apps
        ),
        p50_ms: Some(started.elapsed().as_secs_f64() * 1000.0),
        objects_per_second: Some(per_second),
        ..Row::default()
    })
}
