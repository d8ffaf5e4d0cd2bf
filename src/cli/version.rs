//! `trimtab version`.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use super::output::{DataFormat, Format, print, print_data};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print the version of this program
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab version
  trimtab version -o json")]
pub(super) struct Args {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: DataFormat,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let format = Format::from(args.output);
    match format.is_data() {
        true => print_data(&json!({"version": VERSION}), format)?,
        false => print(&format!("trimtab {VERSION}\n"))?,
    }
    Ok(Outcome::Done)
}
