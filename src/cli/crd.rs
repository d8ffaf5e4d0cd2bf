//! `trimtab crd`.

use anyhow::Result;

use super::output::{Format, print_data};
use super::{Outcome, target};
use crate::crd::{definition, names};

/// Print the CustomResourceDefinition of Application as YAML
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trimtab crd | kubectl apply --server-side -f -
  trimtab crd --group argoproj.io     for an agent with --application-group=argoproj.io")]
pub(super) struct Args {
    /// API group of the Applications
    #[arg(long, value_name = "GROUP", default_value = names::GROUP, value_parser = target::group)]
    group: String,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    print_data(&definition(&args.group), Format::Yaml)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::super::output::data;
    use super::*;
    use crate::object::parse_document;

    #[test]
    fn what_is_printed_reads_back() {
        let definition = definition("example.com");
        for format in [Format::Yaml, Format::Json] {
            let text = data(&definition, format).unwrap();
            assert_eq!(parse_document(&text).unwrap(), definition, "{format:?}");
        }
    }
}
