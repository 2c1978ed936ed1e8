//! The log: lines on standard error, as text or as JSON.
//!
//! # Guarantees
//! The engine's and the server's wire libraries are never heard below `info`, whatever the filter
//! says: their debug lines carry whole requests, environments included (fault H10). For the same
//! reason nothing bridges the `log` crate's records into this log.

use std::{fmt, io::IsTerminal as _, str::FromStr, time::Duration};

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
};

use super::pen::Pen;

/// How long the last lines may take at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The crates that write payloads to their debug log.
const WIRE: [&str; 7] = ["bollard", "hyper", "hyper_util", "h2", "axum", "want", "tower"];

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter can't be read.
    #[error("`{filter}` is not a log filter")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log was set up twice")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// There is no thread for it.
    #[error("the log has no thread to write it")]
    Thread(#[from] std::io::Error),
}

/// Whether `filter` can be read, such as `info` or `berth=debug,berth::server=info`.
pub fn check_filter(filter: &str) -> Result<(), Error> {
    read_filter(filter).map(drop)
}

/// The log of this process, for as long as it runs.
#[derive(Debug)]
pub struct Log(Pen);

impl Log {
    /// Has what was said last reach who reads it.
    pub fn finish(self) {
        self.0.finish(PATIENCE);
    }
}

/// Sets up the log of this process. It holds up nobody, whether it is read or not.
pub fn init(format: Format, filter: &str) -> Result<Log, Error> {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let has_colour = !is_plain && std::io::stderr().is_terminal();
    let pen = Pen::new(std::io::stderr())?;
    let log = subscriber(format, filter, has_colour, pen.clone())?;
    tracing::subscriber::set_global_default(log)?;
    Ok(Log(pen))
}

fn read_filter(filter: &str) -> Result<EnvFilter, Error> {
    let wrong = |source| Error::Filter { filter: filter.to_owned(), source };
    EnvFilter::builder().parse(filter).map_err(wrong)
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    has_colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let capped = filter_fn(|line| !is_wire(line.target()) || *line.level() <= Level::INFO);
    let filter = read_filter(filter)?.and(capped);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(has_colour);
    let registry = tracing_subscriber::registry();
    Ok(match format {
        Format::Text => Box::new(registry.with(lines.with_filter(filter))),
        Format::Json => {
            Box::new(registry.with(lines.json().flatten_event(true).with_filter(filter)))
        }
    })
}

fn is_wire(target: &str) -> bool {
    WIRE.contains(&target.split("::").next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(log, say);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    /// Fault H10: bollard's debug lines carry whole payloads.
    #[test]
    fn no_filter_makes_the_wire_libraries_say_what_they_send() {
        let text = logged(Format::Text, "trace,bollard=trace,hyper=trace", || {
            tracing::debug!(target: "bollard::docker", "payload with SECRET");
            tracing::trace!(target: "hyper::proto", "payload with SECRET");
            tracing::info!(target: "bollard", "an info line");
            tracing::debug!(target: "berth::engine", "a debug line");
        });
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("an info line") && text.contains("a debug line"), "{text}");
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let text = logged(Format::Json, "info", || tracing::info!(app = "chat", "app started"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["message"], &line["app"]), (&"app started".into(), &"chat".into()));
    }

    /// Fault H07: what others write must not reach a terminal as control characters.
    #[test]
    fn a_value_cannot_send_escapes_to_the_terminal() {
        let text = logged(Format::Text, "info", || tracing::info!(ref_ = ?"\u{1b}[2J", "seen"));
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(check_filter("berth=loud").is_err());
        assert!(check_filter("info,berth::server=debug").is_ok());
    }
}
