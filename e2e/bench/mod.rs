//! The benchmarks: what a user waits for and what the agent costs, on the lab.
//!
//! A measurement is a function from the lab to rows; adding one is adding a line to `MEASUREMENTS`.

mod baseline;
mod drift;
mod launch;
mod memory;
mod push;
mod rig;
mod scale;
mod size;
mod start;
mod steady;
mod ui;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;

use rig::{Options, Row};

const USAGE: &str = "\
Usage: hack/bench [all|push|drift|memory|steady|sync|scale|start|launch|ui|size|micro] [--apps N] [--objects M]
                  [--pushes K] [--seconds S] [--polls P] [-o table|json]

Measures the dist build on a real control plane and a real Git server, on loopback.

  push     a signed push until the change is live, beside the same by hand: the floor (git,
           kustomize, one apply on a warm connection) and the shell (git, kustomize, kubectl)
  drift    a foreign write to an owned field until it is put back, ten in a row
  memory   resident memory of the agent: idle, with applications, after many pushes, after the
           polls of a day
  steady   requests and processor time while nothing changes, and what a restart applies
  sync     the first sync of 1,000 objects in one application of plain manifests, beside the
           same applies by hand
  scale    1,000 applications: first sync, a push to one, a push to all, a restart
  start    an agent without applications until it is ready
  launch   a child in the sandbox of renderers, beside the same child without it
  ui       the pages with 1,000 applications, in plain requests and in Chromium; open streams
  size     the binary, the image, and the crates with the largest share
  micro    single units of work, with what they allocate (takes names, no other options)

  --apps N     applications in the repository (default: 1 and 100)
  --objects M  objects of each application (default: 10)
  --pushes K   pushes that are measured (default: 20)
  --seconds S  how long steady counts (default: 300)
  --polls P    polls of the simulated day (default: 480)

Examples:
  hack/bench push --apps 100 --pushes 50
  hack/bench all -o json > bench.json
";

/// Runs what was asked for.
pub(crate) async fn run(arguments: &[&str]) -> Result<()> {
    let binary = PathBuf::from(std::env::var_os("TRIMTAB_BIN").context("start hack/bench")?);
    let (measurement, options, as_json) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(help) if help.is_empty() => {
            print!("{USAGE}");
            return Ok(());
        }
        Err(problem) => bail!("{problem}\n{USAGE}"),
    };
    let mut rows: Vec<Row> = Vec::new();
    let before = processor_time();
    let wants = |name: &str| measurement == "all" || measurement == name;
    if wants("start") {
        rows.push(start::measure(&binary).await?);
    }
    if wants("launch") {
        rows.extend(launch::measure(&binary)?);
    }
    if wants("size") {
        rows.extend(size::measure(&binary)?);
    }
    if wants("sync") {
        let rig = rig::Rig::start_plain(&binary, 1, 1000).await?;
        rows.extend(memory::first(&rig)?);
        let floor = beside_floor(&rig, rows.last_mut()).await?;
        rows.push(floor);
    }
    for apps in options.sizes() {
        if ["push", "drift", "memory", "steady"].into_iter().any(wants) {
            let mut rig = rig::Rig::start(&binary, apps, options.objects).await?;
            if wants("memory") {
                rows.extend(memory::first(&rig)?);
            }
            if wants("push") {
                rows.extend(push::measure(&rig, options.pushes).await?);
            }
            if wants("drift") {
                rows.push(drift::measure(&rig).await?);
            }
            if wants("steady") {
                let time = Duration::from_secs(options.seconds);
                rows.extend(steady::measure(&rig, time).await?);
                rows.extend(steady::restart(&mut rig).await?);
            }
            if wants("memory") {
                rows.extend(memory::later(&mut rig, &options).await?);
            }
        }
    }
    if wants("scale") {
        rows.extend(scale::measure(&binary, &options).await?);
    }
    if wants("ui") {
        rows.extend(ui::measure(&binary, &options).await?);
    }
    let machine = format!("{}, {}", machine(), stolen(before, processor_time()));
    if as_json {
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({"machine": machine, "rows": rows}))?
        );
    } else {
        println!("\n{machine}\n");
        rig::table(&rows);
    }
    Ok(())
}

/// The floor of a first sync, and its row beside that.
async fn beside_floor(rig: &rig::Rig, row: Option<&mut Row>) -> Result<Row> {
    let floor = baseline::first_sync(rig).await?;
    if let Some(row) = row {
        row.ratio_to_floor = Some(rig.first_sync.time.as_secs_f64() / floor.as_secs_f64());
    }
    Ok(Row {
        measurement: "first sync: floor".to_owned(),
        p50_ms: Some(floor.as_secs_f64() * 1000.0),
        ..Row::default()
    })
}

fn parse(arguments: &[&str]) -> Result<(String, Options, bool), String> {
    let mut measurement = "all".to_owned();
    let mut options = Options::default();
    let mut as_json = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = |name: &str| -> Result<usize, String> {
            let text = words
                .next()
                .ok_or_else(|| format!("{name} needs a number"))?;
            text.parse()
                .map_err(|_| format!("{name}: \"{text}\" is no number"))
        };
        match *word {
            "all" | "push" | "drift" | "memory" | "steady" | "sync" | "scale" | "start"
            | "launch" | "ui" | "size" => {
                measurement = (*word).to_owned();
            }
            "--seconds" => {
                options.seconds = u64::try_from(number("--seconds")?).unwrap_or(300);
            }
            "--polls" => options.polls = number("--polls")?.max(1),
            "--apps" => options.apps = Some(number("--apps")?),
            "--objects" => options.objects = number("--objects")?.max(1),
            "--pushes" => options.pushes = number("--pushes")?.max(1),
            "-o" => match words.next() {
                Some(&"json") => as_json = true,
                Some(&"table") => {}
                other => return Err(format!("-o takes table or json, not {other:?}")),
            },
            "-h" | "--help" => return Err(String::new()),
            other => return Err(format!("there is no \"{other}\"")),
        }
    }
    Ok((measurement, options, as_json))
}

/// The machine in one line.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores ({}), {} GiB, Linux {}",
        model.trim_start_matches([':', '\t', ' ']),
        memory >> 20,
        kernel.trim()
    )
}

/// Processor time since the machine was started, in ticks: used, and taken by other machines on
/// the same host.
fn processor_time() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split(' ').filter_map(|it| it.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    (at(0) + at(1) + at(2), at(7))
}

/// Absolute times mean little where others took the processor away.
fn stolen(before: (u64, u64), after: (u64, u64)) -> String {
    let (used, stolen) = (after.0 - before.0, after.1 - before.1);
    format!(
        "{} % of the wanted processor time was taken by other machines",
        stolen * 100 / (used + stolen).max(1)
    )
}
