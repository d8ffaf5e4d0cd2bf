//! How long an agent without applications takes until it is ready.

use std::{path::Path, time::Instant};

use anyhow::Result;

use super::rig::{Rig, Row};

const STARTS: usize = 10;

pub(crate) async fn measure(binary: &Path) -> Result<Row> {
    let mut rig = Rig::start(binary, 0, 1).await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        rig.agent.process.kill();
        let started = Instant::now();
        rig.agent = rig.start_agent("180s").await?;
        times.push(started.elapsed());
    }
    Ok(Row::of_times(
        "start to ready, no applications".to_owned(),
        &times,
    ))
}
