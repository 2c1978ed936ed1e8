//! The API's documents, as the verbs read them.

use std::ffi::OsStr;

use clap::{
    Arg, Command,
    builder::{PossibleValue, TypedValueParser, ValueParserFactory},
};
use serde_json::Value;

use super::{
    error::{Error, Exit},
    jsonpath::JsonPath,
    output::Output,
};
use crate::clock::Clock;
use crate::model::{Timestamp, format_duration};

/// How an answer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Parts of the API's document.
    Path(JsonPath),
}

/// What a format is called, and what it is.
const FORMATS: &[(&str, Format, &str)] = &[
    ("table", Format::Table, "A table for people"),
    ("wide", Format::Wide, "A table with more columns and absolute times"),
    ("json", Format::Json, "The API's document, as JSON"),
    ("yaml", Format::Yaml, "The API's document, as YAML"),
    ("name", Format::Name, "Names only"),
];

/// Reads a format.
#[derive(Clone)]
pub(super) struct FormatParser;

impl ValueParserFactory for Format {
    type Parser = FormatParser;

    fn value_parser() -> FormatParser {
        FormatParser
    }
}

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        if let Some((_, format, _)) = FORMATS.iter().find(|(name, ..)| *name == text) {
            return Ok(format.clone());
        }
        let why = match text.strip_prefix("jsonpath=") {
            Some(path) => match JsonPath::parse(path) {
                Ok(path) => return Ok(Format::Path(path)),
                Err(why) => why,
            },
            None => "table, wide, json, yaml, name and jsonpath=PATH are known".to_owned(),
        };
        let option = arg.map_or_else(|| "--output".to_owned(), ToString::to_string);
        let message = format!("invalid value '{text}' for '{option}': {why}\n");
        Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, message).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let named = FORMATS.iter().map(|(name, _, help)| PossibleValue::new(*name).help(*help));
        let path = PossibleValue::new("jsonpath=PATH")
            .help("Parts of the API's document, such as jsonpath={.status.url}");
        Some(Box::new(named.chain([path])))
    }
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

/// By how many commits that is behind its source, as that was looked at last; none when nobody can
/// tell.
pub(super) fn behind(app: &Value) -> Option<String> {
    let commits = app.pointer("/status/commitsBehind").and_then(Value::as_u64)?;
    let is_minimum = app.pointer("/status/commitsBehindIsMinimum") == Some(&Value::Bool(true));
    Some(format!("{commits}{}", if is_minimum { "+" } else { "" }))
}

/// The same in words, where it is behind.
pub(super) fn behind_in_words(app: &Value) -> Option<String> {
    let commits = behind(app).filter(|commits| commits != "0")?;
    let word = if commits == "1" { "commit" } else { "commits" };
    Some(format!("{commits} {word}"))
}

/// How long ago a time was.
pub(super) fn ago(time: &str) -> String {
    match Timestamp::parse(time) {
        Some(at) => format_duration(Clock::System.now().since(at)),
        None => String::new(),
    }
}

/// Writes a document as a program wants it; false when a person is to get a table or names.
pub(super) fn write_as(
    output: &mut Output,
    document: &Value,
    format: &Format,
) -> Result<bool, Error> {
    match format {
        Format::Json => write(output, document, false)?,
        Format::Yaml => write(output, document, true)?,
        Format::Path(path) => {
            let shown = path.show(document);
            output.line(shown.strip_suffix('\n').unwrap_or(&shown))?;
        }
        Format::Table | Format::Wide | Format::Name => return Ok(false),
    }
    Ok(true)
}

/// Writes a document as JSON, or as YAML.
pub(super) fn write(output: &mut Output, document: &Value, is_yaml: bool) -> Result<(), Error> {
    let text = if is_yaml {
        yaml(document)?
    } else {
        serde_json::to_string_pretty(document).map_err(|error| unwritable(&error))?
    };
    output.line(text.trim_end())
}

/// A document as YAML.
pub(super) fn yaml(document: &Value) -> Result<String, Error> {
    serde_yaml::to_string(document).map_err(|error| unwritable(&error))
}

fn unwritable(why: &dyn std::fmt::Display) -> Error {
    Error::new(Exit::NotSo, "the document can't be written").why(why.to_string())
}
