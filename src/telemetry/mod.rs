//! What the process tells about itself: log lines on stderr, and metrics.
//!
//! Text that comes from outside never starts a new line and never reaches the terminal as a
//! control sequence: the fields of a line are escaped in one place, [`escape_fields`], and JSON in
//! another, [`JsonLines`].

mod labels;
mod metrics;

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _},
    panic,
};

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    filter::filter_fn,
    fmt::{FormatFields, MakeWriter, format::debug_fn},
    layer::SubscriberExt as _,
    registry::Registry,
    util::SubscriberInitExt as _,
};

use crate::text::{escaped_in_json, is_unseen};

pub(crate) use labels::{
    Answer, Delivery, GitRequest, KubeVerb, Outcome, Removal, RenderResult, Stage, Task, Tool,
    Trigger,
};
pub(crate) use metrics::Metrics;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("\"{filter}\" is no log filter such as info or trimtab=debug,kube=warn")]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error(
        "\"{directive}\" is not logged: libraries write whole answers of the API server there, Secrets \
         among them; ask for debug or trace of trimtab, and info or less of others"
    )]
    Library { directive: String },
    #[error("logging was set up already")]
    Twice,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One line for people, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// What is logged: error, warn, info, debug, trace, or a list such as trimtab=debug,kube=warn; of
    /// libraries never more than info [default: RUST_LOG, or info]
    #[arg(long, value_name = "FILTER", global = true)]
    pub(crate) log_level: Option<String>,
    /// How log lines look
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        global = true
    )]
    pub(crate) log_format: Format,
}

/// Sends log lines and panics to stderr from now on. Works once per process.
pub(crate) fn init(args: &Args) -> Result<(), Error> {
    let environment = std::env::var("RUST_LOG").ok();
    let filter = filter(args.log_level.as_deref().or(environment.as_deref()))?;
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = io::stderr().is_terminal() && !plain;
    subscriber(args.log_format, colour, filter, io::stderr)
        .try_init()
        .map_err(|_| Error::Twice)?;
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        match info.location() {
            Some(at) => tracing::error!(at = %at, "panicked: {message}"),
            None => tracing::error!("panicked: {message}"),
        }
    }));
    Ok(())
}

/// Where this program's own lines come from.
const OWN: &str = "trimtab";

fn filter(wanted: Option<&str>) -> Result<EnvFilter, Error> {
    let wanted = wanted.filter(|wanted| !wanted.is_empty()).unwrap_or("info");
    if let Some(directive) = wanted.split(',').find(|it| details_of_a_library(it)) {
        let directive = directive.trim().to_owned();
        return Err(Error::Library { directive });
    }
    EnvFilter::try_new(wanted).map_err(|source| Error::Filter {
        filter: wanted.to_owned(),
        source,
    })
}

/// Whether a directive asks for the details of a library.
fn details_of_a_library(directive: &str) -> bool {
    let is_detail = |level: &str| {
        level
            .parse::<LevelFilter>()
            .is_ok_and(|level| level > LevelFilter::INFO)
    };
    let (target, level) = directive.rsplit_once('=').unwrap_or((directive, "trace"));
    let target = target.split('[').next().unwrap_or_default().trim();
    let is_level = target.parse::<LevelFilter>().is_ok();
    !target.is_empty() && !is_level && !target.starts_with(OWN) && is_detail(level.trim())
}

/// Keeps the details of libraries out whatever is asked for: they quote what the API server answers,
/// its client also in warnings.
fn is_ours_or_important(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let most = if target.starts_with("kube_client") {
        Level::ERROR
    } else {
        Level::INFO
    };
    *metadata.level() <= most || target.starts_with(OWN)
}

fn subscriber<W>(
    format: Format,
    colour: bool,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = Registry::default()
        .with(filter)
        .with(filter_fn(is_ours_or_important));
    let layer = tracing_subscriber::fmt::layer();
    match format {
        Format::Json => {
            let layer = layer.with_writer(JsonLines(writer));
            Box::new(registry.with(layer.json().flatten_event(true)))
        }
        Format::Text => {
            let layer = layer.with_writer(writer).with_ansi(colour);
            Box::new(registry.with(layer.fmt_fields(escape_fields())))
        }
    }
}

/// Writes `message key=value key=value`, escaped. The library's own format would pass control
/// characters in `%` fields and line breaks in messages.
fn escape_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escaping(writer), "{value:?}")
    })
    .delimited(" ")
}

/// Passes text on with everything escaped that could move the cursor, break the line or reorder it.
struct Escaping<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_unseen(c) {
                write!(self.0, "{}", c.escape_default())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Writes lines of JSON with the same characters escaped as JSON does: by itself it escapes only
/// those that JSON may not hold.
struct JsonLines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for JsonLines<W> {
    type Writer = JsonLines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLines(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for JsonLines<W> {
    /// Takes whole lines, as the library writes them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let escaped = escaped_in_json(&String::from_utf8_lossy(bytes));
        self.0.write_all(escaped.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, colour: bool, say: impl FnOnce()) -> String {
        logged_at("info", format, colour, say)
    }

    fn logged_at(level: &str, format: Format, colour: bool, say: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = filter(Some(level)).unwrap();
        let subscriber = subscriber(format, colour, filter, move || writer.clone());
        tracing::subscriber::with_default(subscriber, say);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str = "a\nb\r\u{1b}[31mc\u{9b}2J\u{202e}d\u{2028}e";

    fn say_evil() {
        let error = io::Error::other(EVIL);
        let span = tracing::info_span!("reconcile", app.name = %EVIL, raw = EVIL);
        let _entered = span.enter();
        tracing::info!(shown = %EVIL, debugged = ?EVIL, plain = EVIL, error = &error as &(dyn std::error::Error + 'static), "said {EVIL}");
    }

    #[test]
    fn details_of_libraries_are_not_logged_at_any_level() {
        for format in [Format::Text, Format::Json] {
            let text = logged_at("trace", format, false, || {
                tracing::debug!(target: "kube_client::client", "an answer");
                tracing::trace!(target: "hyper", "some bytes");
                tracing::warn!(target: "kube_client::client", "an answer that it could not read");
                tracing::info!(target: "kube_runtime", "a library");
                tracing::trace!("of its own");
            });
            assert!(
                !text.contains("answer") && !text.contains("some bytes"),
                "{text}"
            );
            assert!(
                text.contains("a library") && text.contains("of its own"),
                "{text}"
            );
        }
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        let text = logged(Format::Text, false, say_evil);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_unseen), "{text:?}");
        assert!(text.contains("said a\\nb\\r\\u{1b}[31mc"), "{text}");
        for field in [
            "app.name=",
            "raw=",
            "shown=",
            "debugged=",
            "plain=",
            "error=",
        ] {
            assert!(text.contains(field), "{field} is missing in {text}");
        }
    }

    #[test]
    fn foreign_text_stays_in_its_json_string() {
        let text = logged(Format::Json, false, say_evil);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_unseen), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], format!("said {EVIL}"));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn colour_is_only_for_terminals() {
        let hello = || tracing::warn!("hello");
        assert!(!logged(Format::Text, false, hello).contains('\u{1b}'));
        assert!(logged(Format::Text, true, hello).contains('\u{1b}'));
        assert!(!logged(Format::Json, true, hello).contains('\u{1b}'));
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        assert_eq!(logged(Format::Text, false, || tracing::debug!("no")), "");
        assert!(filter(None).unwrap().to_string().contains("info"));
        assert!(filter(Some("trimtab=debug,kube=warn")).is_ok());
        for own in [
            "debug",
            "trace",
            "trimtab=trace,info",
            "trimtab[reconcile]=debug",
            "kube=info",
        ] {
            assert!(filter(Some(own)).is_ok(), "{own}");
        }
        for library in [
            "kube_client=debug",
            "info, hyper=TRACE",
            "kube",
            "kube[span]=5",
            "gix=4",
        ] {
            let error = filter(Some(library)).unwrap_err().to_string();
            assert!(error.contains("Secrets"), "{library}: {error}");
        }
        let error = filter(Some("a=b=c")).unwrap_err().to_string();
        assert!(error.contains("\"a=b=c\""), "{error}");
    }
}
