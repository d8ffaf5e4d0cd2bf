//! What it takes to start a child in the sandbox, beside the same child without: the time, and the
//! processor time, which others at work on the machine change less.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::rig::{Row, percentile};
use crate::lab::tools;

const LAUNCHES: usize = 300;

/// Bare and confined in turn, so that both see the same machine.
pub(crate) fn measure(binary: &Path) -> Result<Vec<Row>> {
    let tools = tools()?;
    let mut rows = Vec::new();
    for (name, program, arguments) in [
        ("true", Path::new("/bin/true").to_owned(), &[][..]),
        ("kustomize version", tools.join("kustomize"), &["version"]),
    ] {
        let (mut bare, mut confined) = (Vec::new(), Vec::new());
        // The first of each is not counted: it brings the files into memory.
        for n in 0..=LAUNCHES {
            let mut command = Command::new(&program);
            let without = launch(command.args(arguments))?;
            let mut command = Command::new(binary);
            command.args(rights(&tools)).arg("--").arg(&program);
            let within = launch(command.args(arguments))?;
            if n > 0 {
                bare.push(without);
                confined.push(within);
            }
        }
        let of = |what: &str| format!("launch of {name}: {what}");
        for (what, pick) in [("time", 0), ("processor time", 1)] {
            let [bare, confined] = [&bare, &confined]
                .map(|all| all.iter().map(|launch| launch[pick]).collect::<Vec<_>>());
            let sandbox = percentile(&confined, 50) - percentile(&bare, 50);
            rows.push(Row::of_times(of(&format!("{what}, bare")), &bare));
            rows.push(Row::of_times(of(&format!("{what}, confined")), &confined));
            rows.push(Row {
                measurement: of(&format!("{what} of the sandbox")),
                p50_ms: Some(sandbox),
                ..Row::default()
            });
        }
    }
    Ok(rows)
}

/// As the agent says to itself what a renderer may do.
fn rights(tools: &Path) -> Vec<String> {
    let (parent, tools) = (std::process::id().to_string(), tools.display().to_string());
    [
        ("--parent", parent.as_str()),
        ("--memory", "536870912"),
        ("--processor", "20"),
        ("--file-size", "67108864"),
        ("--read", &tools),
        ("--write", "/tmp"),
    ]
    .into_iter()
    .fold(vec!["__confined".to_owned()], |mut all, (name, value)| {
        all.extend([name.to_owned(), value.to_owned()]);
        all
    })
}

/// The time that a child takes, and its processor time.
fn launch(command: &mut Command) -> Result<[Duration; 2]> {
    let command = command.env_clear().current_dir("/").stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let before = processor_time()?;
    let started = Instant::now();
    let output = command.output()?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok([took, processor_time()?.saturating_sub(before)])
}

/// Of all children so far.
fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |time: TimeVal| -> Result<Duration> {
        let (seconds, micros) = (time.tv_sec().try_into()?, time.tv_usec().try_into()?);
        Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
    };
    Ok(of(usage.user_time())? + of(usage.system_time())?)
}
