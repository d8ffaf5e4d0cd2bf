//! The demo and the benchmarks: programs on the lab. `hack/demo`, `hack/bench` and `hack/screenshots` start them.

#![expect(
    dead_code,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program for people, which uses a part of the lab"
)]

mod bench;
mod demo;
mod lab;
mod screenshots;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["demo", rest @ ..] => demo::run(rest).await,
        ["bench", rest @ ..] => bench::run(rest).await,
        ["screenshots", rest @ ..] => screenshots::run(rest).await,
        _ => bail!("start hack/demo, hack/bench or hack/screenshots"),
    }
}
