//! `trimtab man`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use super::output::print;
use super::{Cli, Outcome};

/// Print the manual page, or write one for each verb into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab man | man -l -
  trimtab man ~/.local/share/man/man1
  man trimtab-sync")]
pub(super) struct Args {
    /// Where the pages go; it is created when it is missing.
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    match &args.directory {
        None => print(&String::from_utf8_lossy(&page(Cli::command())?))?,
        Some(directory) => {
            let count = write(directory)?;
            print(&format!("{count} pages are in {}\n", directory.display()))?;
        }
    }
    Ok(Outcome::Done)
}

/// Writes all pages and returns how many there are.
fn write(directory: &Path) -> Result<usize> {
    fs::create_dir_all(directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
        .with_context(|| format!("could not write into {}", directory.display()))?;
    Ok(Cli::command().get_subcommands().count() + 1)
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_flags() {
        let directory = tempfile::tempdir().unwrap();
        let count = write(directory.path()).unwrap();
        let verbs: Vec<_> = Cli::command()
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned())
            .collect();
        assert_eq!(count, verbs.len() + 1);
        for verb in verbs {
            let path = directory.path().join(format!("trimtab-{verb}.1"));
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{verb}");
        }
        let sync = fs::read_to_string(directory.path().join("trimtab-sync.1")).unwrap();
        assert!(sync.contains("prune"), "{sync}");
    }
}
