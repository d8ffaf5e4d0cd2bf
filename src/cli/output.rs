//! The one way out: standard output and standard error, what they can show, and in which form.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

use super::table::Style;
use super::text::{cut, one_line};
use crate::object::to_yaml;
use crate::text::escaped_in_json;

/// The form in which something is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with more columns
    Wide,
    /// The objects as they are stored
    Json,
    /// The objects as they are stored
    Yaml,
}

impl Format {
    /// Whether it is for a machine, which gets everything as it is.
    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

/// The same without `wide`, where there are no more columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum DataFormat {
    /// For people
    #[default]
    Table,
    /// As it is stored
    Json,
    /// As it is stored
    Yaml,
}

impl From<DataFormat> for Format {
    fn from(format: DataFormat) -> Self {
        match format {
            DataFormat::Table => Self::Table,
            DataFormat::Json => Self::Json,
            DataFormat::Yaml => Self::Yaml,
        }
    }
}

/// What standard output can show.
pub(super) fn style() -> Style {
    let stdout = io::stdout();
    style_of(stdout.is_terminal(), width_of(&stdout), |name| {
        env::var(name).ok()
    })
}

fn style_of(terminal: bool, width: usize, variable: impl Fn(&str) -> Option<String>) -> Style {
    let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
        || variable("TERM").is_some_and(|term| term == "dumb");
    Style {
        width: terminal.then_some(width),
        colour: terminal && !refused,
    }
}

#[cfg(unix)]
fn width_of(stream: impl std::os::fd::AsFd) -> usize {
    match terminal_size_of(stream) {
        Some((Width(width), _)) if width > 0 => width.into(),
        _ => 80,
    }
}

/// Writes a text to standard output, at once.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes one line to standard error. What cannot be said there cannot be said at all.
pub(super) fn complain(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Writes a value to standard output as JSON or YAML.
pub(super) fn print_data(value: &impl Serialize, format: Format) -> Result<()> {
    Ok(print(&data(value, format)?)?)
}

/// A value as JSON or YAML.
pub(super) fn data(value: &impl Serialize, format: Format) -> Result<String> {
    if format == Format::Yaml {
        return Ok(to_yaml(value)?);
    }
    Ok(escaped_in_json(&serde_json::to_string_pretty(value)?) + "\n")
}

/// Prints values as documents of one YAML stream.
pub(super) fn print_documents(values: &[impl Serialize]) -> Result<()> {
    let documents: Result<Vec<String>> = values
        .iter()
        .map(|value| data(value, Format::Yaml))
        .collect();
    Ok(print(&documents?.join("---\n"))?)
}

/// Whether an error is only that nobody reads any more.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes as one line. Causes that only repeat what was said are left out.
pub(super) fn error_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = one_line(&cause.to_string());
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// What happens meanwhile, on standard error: one line that changes on a terminal, one line per
/// change elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    width: Option<usize>,
    said: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let stderr = io::stderr();
        Self {
            width: stderr.is_terminal().then(|| width_of(&stderr)),
            said: String::new(),
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        let text = one_line(text);
        if text == self.said {
            return;
        }
        match self.width {
            // Nothing may touch the last column: the line would wrap and stay.
            Some(width) => {
                let line = cut(&text, width.saturating_sub(1));
                let mut stderr = io::stderr().lock();
                write!(stderr, "\r\x1b[K{line}").ok();
                stderr.flush().ok();
            }
            None => complain(&text),
        }
        self.said = text;
    }
}

/// The line goes when what it told about is over, so that the result stands alone.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.width.is_some() && !self.said.is_empty() {
            let mut stderr = io::stderr().lock();
            write!(stderr, "\r\x1b[K").ok();
            stderr.flush().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let check = |terminal, name: &str, value: &str, expected| {
            let variable = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(style_of(terminal, 100, variable).colour, expected);
        };
        check(true, "TERM", "xterm", true);
        check(true, "TERM", "dumb", false);
        check(true, "NO_COLOR", "1", false);
        check(true, "NO_COLOR", "", true);
        check(false, "TERM", "xterm", false);
        assert_eq!(style_of(false, 100, |_| None).width, None);
    }

    #[test]
    fn an_error_says_everything_once() {
        let error = anyhow::anyhow!("connection refused").context("connect: connection refused");
        let error = Err::<(), _>(error)
            .context("could not list\x1b[1m")
            .unwrap_err();
        assert_eq!(
            error_line(&error),
            "could not list?[1m: connect: connection refused"
        );
    }

    #[test]
    fn yaml_reads_back_and_controls_nothing() {
        let value =
            serde_json::json!({"a": "\u{9b}2J\x1b[1m", "b": "yes", "c": "0644", "d": "\u{202e}"});
        let yaml = data(&value, Format::Yaml).unwrap();
        assert_eq!(crate::object::parse_document(&yaml).unwrap(), value);
        assert!(
            !yaml.chars().any(|c| c != '\n' && c.is_control()),
            "{yaml:?}"
        );
    }

    #[test]
    fn nobody_reading_is_no_error() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(
            &anyhow::Error::from(broken).context("print")
        ));
        assert!(!is_broken_pipe(&anyhow::anyhow!("print")));
    }
}
