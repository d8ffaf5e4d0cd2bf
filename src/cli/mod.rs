//! The command line.

mod agent;
mod hooks;

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::crd::definition;
use crate::crd::names::GROUP;
use crate::object::to_yaml;

/// A GitOps agent for one Kubernetes cluster: it watches Git, applies what changed, and shows what
/// differs.
#[derive(Parser, Debug)]
#[command(name = "trimtab", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Keep this cluster as Git says
    Agent(Box<agent::Args>),
    /// Print the CustomResourceDefinition
    Crd {
        /// The API group
        #[arg(long, default_value = GROUP)]
        group: String,
    },
}

/// Runs the command line. Exit codes: 0 done, 1 differs or degraded, 2 error.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match cli.command {
        Command::Agent(args) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(1 << 20)
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| {
                let result = runtime.block_on(agent::run(*args));
                // Threads that sit in a fetch or a checkout are not waited for.
                runtime.shutdown_timeout(std::time::Duration::from_secs(1));
                result
            }),
        Command::Crd { group } => {
            to_yaml(&definition(&group))
                .map_err(Into::into)
                .and_then(|text| {
                    std::io::stdout()
                        .write_all(text.as_bytes())
                        .map_err(Into::into)
                })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}
