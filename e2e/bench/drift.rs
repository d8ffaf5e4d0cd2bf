//! A foreign write to an owned field until it is put back, one application after the other: no
//! object is fought over.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::rig::{Rig, Row};

/// How many writes.
const WRITES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(rig: &Rig) -> Result<Row> {
    eprintln!("writing {WRITES} times to live objects ...");
    let cluster = &rig.control_plane.cluster;
    let mut times = Vec::new();
    for n in 0..WRITES {
        let app = n % rig.apps;
        let object = n / rig.apps % rig.objects;
        let path = format!("/api/v1/namespaces/bench/configmaps/app-{app}-m{object}");
        let desired = cluster.get(&path).await?["data"]["value"].take();
        let foreign = format!("by hand {n}");
        let started = Instant::now();
        cluster
            .patch(&path, &json!({"data": {"value": foreign}}))
            .await?;
        // A read takes about a millisecond, which is the resolution.
        while cluster.get(&path).await?["data"]["value"] != desired {
            if started.elapsed() > PATIENCE {
                bail!("{path} was not repaired within {} s", PATIENCE.as_secs());
            }
        }
        times.push(started.elapsed());
    }
    let name = format!("drift repaired, {} applications", rig.apps);
    Ok(Row::of_times(name, &times))
}
