//! The API's documents, as the verbs read them.

use clap::ValueEnum;
use serde_json::Value;

use super::{
    error::{Error, Exit},
    output::Output,
};
use crate::clock::Clock;
use crate::model::{Timestamp, format_duration};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people.
    Table,
    /// A table with more columns and absolute times.
    Wide,
    /// The API's document, as JSON.
    Json,
    /// The API's document, as YAML.
    Yaml,
    /// Names only.
    Name,
}

/// The text at `pointer`; empty when there is none.
pub(super) fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `pointer`; empty when there is none.
pub(super) fn list<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    document.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The status of an app's condition.
pub(super) fn condition<'a>(app: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = list(app, "/status/conditions");
    conditions.iter().find(|c| text(c, "/type") == kind).map(|c| text(c, "/status"))
}

/// What an app runs, in few characters: its commit, or its shape.
pub(super) fn revision(app: &Value) -> String {
    let shape = text(app, "/status/revision");
    let shape = shape.split_once(':').map_or(shape, |(_, digits)| digits);
    let (text, length) = match text(app, "/status/commit") {
        "" => (shape, 8),
        commit => (commit, 7),
    };
    text.chars().take(length).collect()
}

/// How long ago a time was.
pub(super) fn ago(time: &str) -> String {
    match Timestamp::parse(time) {
        Some(at) => format_duration(Clock::System.now().since(at)),
        None => String::new(),
    }
}

/// Writes a document as JSON, or as YAML.
pub(super) fn write(output: &mut Output, document: &Value, is_yaml: bool) -> Result<(), Error> {
    let text = if is_yaml {
        serde_yaml::to_string(document).map_err(|error| error.to_string())
    } else {
        serde_json::to_string_pretty(document).map_err(|error| error.to_string())
    };
    let text =
        text.map_err(|why| Error::new(Exit::NotSo, "the document can't be written").why(why))?;
    output.line(text.trim_end())
}
