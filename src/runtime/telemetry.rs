//! The program's own log: to standard error, as text for people or as JSON for collectors.
//!
//! Invariant: no secrets (product law 12). Libraries log what passes through them (headers, statements) below `info`, so their
//! levels below that stay off whatever the filter says; our own events name only what the audit line names.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines for people; coloured when `colour` of [`init`] says so.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter: expected for instance `info` or `warn,jitgate::sync=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// Where it is wrong.
        #[source]
        source: ParseError,
    },
    /// It was set up before.
    #[error("logging was set up twice")]
    Twice(#[source] TryInitError),
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With terminal sequences.
    On,
    /// Plain.
    Off,
}

/// Sets up logging for the whole process. `filter` is the value that `main` read from the environment or the command line;
/// `info` without one.
///
/// # Errors
/// [`TelemetryError`] for a filter that cannot be read, or a second call.
pub fn init(format: Format, colour: Colour, filter: Option<&str>) -> Result<(), TelemetryError> {
    subscriber(format, colour, filter, std::io::stderr)?.try_init().map_err(TelemetryError::Twice)
}

fn subscriber<W>(
    format: Format,
    colour: Colour,
    filter: Option<&str>,
    to: W,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let text = filter.unwrap_or("info");
    let wanted = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(text)
        .map_err(|source| TelemetryError::Filter { filter: text.to_owned(), source })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(to);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => lines.with_ansi(colour == Colour::On).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(wanted.and(filter_fn(is_safe)))))
}

/// Our own events, and those of libraries from `info` up. One of them tells there of every message, with what callers wrote.
fn is_safe(event: &Metadata<'_>) -> bool {
    if event.target() == "rmcp" || event.target().starts_with("rmcp::") {
        return *event.level() <= Level::ERROR;
    }
    *event.level() <= Level::INFO || event.target() == "jitgate" || event.target().starts_with("jitgate::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io::Write;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, events: fn()) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        let subscriber = subscriber(format, Colour::Off, Some(filter), move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_stay_silent_about_what_passes_through_them() {
        let text = logged(Format::Text, "trace", || {
            tracing::debug!(target: "h2::codec", "authorization: secret");
            tracing::trace!(target: "jitgatekeeper", "secret");
            tracing::warn!(target: "rmcp::service", "secret arguments");
            tracing::warn!(target: "h2::codec", "a library warns");
            tracing::trace!(target: "jitgate::sync", "ours");
        });
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("a library warns") && text.contains("ours"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_and_text_of_callers_is_escaped() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(target: "jitgate", path = "a\nb\"\u{1b}[31m", "one");
            tracing::debug!(target: "jitgate", "not wanted");
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["message"].as_str(), line["level"].as_str()), (Some("one"), Some("INFO")));
        let text = logged(Format::Text, "info", || {
            tracing::info!(target: "jitgate", "seen {}", "\u{1b}[31m");
        });
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_told() {
        let error = subscriber(Format::Text, Colour::Off, Some("a=b=c"), std::io::stderr).err().unwrap();
        assert!(error.to_string().contains("a=b=c"));
    }
}
