//! The command line: what was typed, and the exit codes: 0 done, 1 differs or degraded, 2 error.

mod agent;
mod agent_arguments;
mod approve;
mod chosen;
mod completion;
mod crd;
mod definition;
mod delete;
mod diff;
mod explain;
mod follow;
mod get;
mod going;
mod health;
mod history;
mod hooks;
mod import;
mod isolation;
mod link;
mod list;
mod man;
mod manifests;
mod operate;
mod output;
mod pause;
mod provider;
mod rbac;
mod refresh;
mod render;
mod rollback;
mod sync;
mod table;
mod target;
mod terminate;
mod text;
mod ui;
mod version;
mod view;
mod wait;
mod webhook;
mod words;

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Trimtab keeps one Kubernetes cluster as Git says
#[derive(Debug, Parser)]
#[command(
    name = "trimtab",
    version,
    propagate_version = true,
    after_help = "\
Exit codes: 0 done, 1 something is out of sync or degraded, 2 error, 130 interrupted.

Examples:
  trimtab list -A                     what runs here and how it does
  trimtab get shop                    one application, object by object
  trimtab diff shop                   what a sync would change
  trimtab ui                          the same in a browser
  trimtab sync shop --wait            apply now and say what changed
  trimtab rollback shop               the deployment before the last
  trimtab crd | kubectl apply --server-side -f -"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(Box<agent_arguments::Args>),
    List(list::Args),
    Get(get::Args),
    Diff(Box<diff::Args>),
    Ui(Box<ui::Args>),
    Sync(sync::Args),
    Refresh(refresh::Args),
    Explain(Box<explain::Args>),
    History(history::Args),
    Rollback(rollback::Args),
    Wait(wait::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Terminate(terminate::Args),
    Approve(approve::Args),
    Delete(delete::Args),
    Render(Box<render::Args>),
    Health(health::Args),
    Import(import::Args),
    Webhook(webhook::Args),
    Rbac(rbac::Args),
    Crd(crd::Args),
    Completion(completion::Args),
    Man(man::Args),
    Version(version::Args),
}

/// How a command ended that did what it was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Something is out of sync or degraded.
    Differs,
}

/// A person stopped waiting; what is to be said was said.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Runs the program with its arguments, the first of which is its own name.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Fails only where a provider is installed already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let code = match Cli::try_parse_from(args) {
        Ok(cli) => exit_code(dispatch(cli.command)),
        Err(error) => {
            // Help that nobody reads to its end is no error.
            error.print().ok();
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    };
    ExitCode::from(code)
}

fn dispatch(command: Command) -> Result<Outcome> {
    match command {
        Command::Agent(args) => agent::start(*args),
        Command::List(args) => wait_for(list::run(args)),
        Command::Get(args) => wait_for(get::run(args)),
        Command::Ui(args) => wait_for(ui::run(*args)),
        Command::Diff(args) => wait_for(diff::run(*args)),
        Command::Sync(args) => wait_for(sync::run(args)),
        Command::Refresh(args) => wait_for(refresh::run(args)),
        Command::History(args) => wait_for(history::run(args)),
        Command::Explain(args) => wait_for(explain::run(*args)),
        Command::Rollback(args) => wait_for(rollback::run(args)),
        Command::Wait(args) => wait_for(wait::run(args)),
        Command::Pause(args) => wait_for(pause::pause(args)),
        Command::Resume(args) => wait_for(pause::resume(args)),
        Command::Terminate(args) => wait_for(terminate::run(args)),
        Command::Approve(args) => wait_for(approve::run(args)),
        Command::Delete(args) => wait_for(delete::run(args)),
        Command::Render(args) => wait_for(render::run(*args)),
        Command::Health(args) => health::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Webhook(args) => wait_for(webhook::run(args)),
        Command::Rbac(args) => rbac::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version::run(&args),
    }
}

/// Runs what talks to a cluster; one thread is plenty for that.
fn wait_for(command: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start")?;
    runtime.block_on(command)
}

/// The exit code, after saying what went wrong. A reader that went away is no error.
fn exit_code(result: Result<Outcome>) -> u8 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Differs) => 1,
        Err(error) if output::is_broken_pipe(&error) => 0,
        // As shells have it: 128 and the number of the signal.
        Err(error) if error.is::<Interrupted>() => 130,
        Err(error) => {
            output::complain(&format!("error: {}", output::error_line(&error)));
            2
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;

    /// Flags that several verbs have.
    const SHARED: [&str; 8] = [
        "namespace",
        "kubeconfig",
        "context",
        "output",
        "wait",
        "timeout",
        "watch",
        "selector",
    ];

    fn refused(line: &str) -> clap::Error {
        Cli::try_parse_from(line.split(' ')).unwrap_err()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What the page for people who know other tools says of our commands.
    #[test]
    fn the_commands_of_the_documentation_are_there() {
        let page = include_str!("../../docs/commands.md");
        let command = Cli::command();
        let mut told = Vec::new();
        let quoted = page.split('`').skip(1).step_by(2);
        for line in quoted.filter_map(|quoted| quoted.strip_prefix("trimtab ")) {
            let mut words = line.split_whitespace();
            let verb = words.next().unwrap();
            let found = command.find_subcommand(verb);
            let found = found.unwrap_or_else(|| panic!("there is no trimtab {verb}"));
            told.push(verb);
            for flag in words.filter_map(|word| word.strip_prefix("--")) {
                let known = found.get_arguments().any(|it| it.get_long() == Some(flag));
                assert!(known, "trimtab {verb} has no --{flag}");
            }
        }
        for verb in command.get_subcommands().map(clap::Command::get_name) {
            let known = told.contains(&verb) || matches!(verb, "agent" | "help");
            assert!(known, "docs/commands.md does not tell of trimtab {verb}");
        }
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name}");
            let help = verb.get_after_help().unwrap().to_string();
            assert!(help.contains(&format!("trimtab {name}")), "{name}: {help}");
        }
    }

    /// A flag means the same wherever it is: the same letter, value and beginning of its help.
    #[test]
    fn flags_are_the_same_everywhere() {
        let mut known: BTreeMap<String, (Option<char>, String, String)> = BTreeMap::new();
        for verb in Cli::command().get_subcommands() {
            // The agent is no verb of people.
            if verb.get_name() == "agent" {
                continue;
            }
            for flag in verb.get_arguments().filter(|flag| !flag.is_positional()) {
                let long = flag.get_long().unwrap_or_default().to_owned();
                let value = flag.get_value_names().map(|names| names.concat());
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                let begin: String = help.split(' ').take(2).collect();
                let found = (flag.get_short(), value.unwrap_or_default(), begin);
                if SHARED.contains(&long.as_str()) {
                    let first = known.entry(long.clone()).or_insert_with(|| found.clone());
                    assert_eq!(
                        (first.0, &first.1),
                        (found.0, &found.1),
                        "{} --{long}",
                        verb.get_name()
                    );
                }
                assert!(
                    !help.is_empty() && !help.ends_with('.'),
                    "{} --{long}",
                    verb.get_name()
                );
            }
        }
        for shared in SHARED {
            assert!(known.contains_key(shared), "--{shared}");
        }
    }

    #[test]
    fn wrong_usage_says_what_is_right_and_ends_with_2() {
        for (line, expected) in [
            ("trimtab", "Usage: trimtab <COMMAND>"),
            ("trimtab lst", "'list'"),
            ("trimtab get", "<APPLICATION>"),
            ("trimtab get shop --watsh", "--watch"),
            (
                "trimtab list -o xml",
                "possible values: table, wide, json, yaml",
            ),
            (
                "trimtab history shop -o wide",
                "possible values: table, json, yaml",
            ),
            ("trimtab list -A -n shop", "cannot be used with"),
            ("trimtab sync shop --timeout soon", "such as 90s or 5m"),
            ("trimtab sync shop --timeout 0s", "such as 90s or 5m"),
            ("trimtab crd --group Trimtab", "such as trimtab.dev"),
            (
                "trimtab completion powershell",
                "possible values: bash, zsh, fish",
            ),
        ] {
            let error = refused(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_end_with_0() {
        for line in ["trimtab --help", "trimtab --version", "trimtab get --help"] {
            assert_eq!(refused(line).exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn exit_codes_tell_done_differs_and_error_apart() {
        assert_eq!(exit_code(Ok(Outcome::Done)), 0);
        assert_eq!(exit_code(Ok(Outcome::Differs)), 1);
        assert_eq!(exit_code(Err(anyhow::anyhow!("an error of a test"))), 2);
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(exit_code(Err(broken.into())), 0);
    }
}
