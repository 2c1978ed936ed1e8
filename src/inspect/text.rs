//! Texts beside a model: configurations, indexes of shards, model cards, Python source.

use std::{
    collections::BTreeSet,
    io::{self, BufReader},
};

use serde::de::DeserializeSeed as _;
use serde_json::{Deserializer, Map, Value};

use super::{
    Format, Limits, Report, Safety,
    bounded::{Budget, Wanted},
    input::{Result, Source, Span, read_up_to},
};

/// What is lifted from configurations.
const LIFTED: [&str; 8] = [
    "model_type",
    "architectures",
    "torch_dtype",
    "dtype",
    "tokenizer_class",
    "transformers_version",
    "quantization_config",
    "pipeline_tag",
];
/// What is lifted from a model card.
const CARD: [&str; 8] = [
    "license",
    "tags",
    "pipeline_tag",
    "base_model",
    "language",
    "library_name",
    "datasets",
    "model_name",
];
/// How much of a model card is read.
const HEAD: usize = 64 << 10;

/// Whether these first bytes are of a text.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let is_text = match std::str::from_utf8(head) {
        Ok(_) => true,
        // Cut in the middle of a character.
        Err(error) => error.error_len().is_none() && !head.is_empty(),
    };
    is_text && !head.iter().any(|byte| *byte < 0x09)
}

/// JSON runs nothing by itself; it may name code that loaders run when they are told to.
pub(super) fn json(
    name: &str,
    source: &dyn Source,
    limits: &Limits,
    report: &mut Report,
) -> Result<()> {
    report.format = Format::Json;
    if limits.header < source.size() {
        return Ok(());
    }
    let has_weights = name.to_ascii_lowercase().ends_with(".index.json");
    let wanted = Wanted { names: &LIFTED, has_weights, budget: Budget::default() };
    let mut json = Deserializer::from_reader(BufReader::new(Span::new(source, 0, u64::MAX)));
    let found = wanted.deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    let found = match found {
        Ok(found) => found,
        Err(error) if error.is_io() => return Err(io::Error::from(error).into()),
        Err(error) => {
            report.find(Safety::Safe, "json.invalid", format!("it is not valid JSON: {error}"));
            return Ok(());
        }
    };
    if found.has_code {
        let detail = "it names code of the repository, which runs under `trust_remote_code`";
        report.find(Safety::Suspicious, "config.auto-map", detail);
    }
    for name in LIFTED {
        if let Some(value) = found.values.get(name) {
            report.fact(name, value.clone());
        }
    }
    if let Some(shards) = found.shards {
        index(&shards, found.total, report);
    }
    Ok(())
}

/// The files that a model's shards stand in.
fn index(shards: &BTreeSet<String>, total: Option<u64>, report: &mut Report) {
    if let Some(bad) = shards.iter().find(|shard| shard.contains(['/', '\\']) || **shard == "..") {
        let detail = format!("a shard at `{bad}`, outside the model's folder");
        report.find(Safety::Dangerous, "index.path", detail);
    }
    report.fact("shards", shards.iter().map(String::as_str).collect::<Vec<_>>());
    report.weight_bytes = total;
}

/// Another text: Python's source is told of, a model card's head is read.
pub(super) fn text(
    name: &str,
    source: &dyn Source,
    limits: &Limits,
    report: &mut Report,
) -> Result<()> {
    report.format = Format::Text;
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    if name.rsplit_once('.').is_some_and(|(_, ending)| ending == "py") {
        report.find(Safety::Suspicious, "text.python", "it is Python's source");
    }
    if name == "readme.md" {
        let mut head = vec![0; HEAD.min(usize::try_from(limits.header).unwrap_or(HEAD))];
        let got = read_up_to(source, 0, &mut head)?;
        card(&String::from_utf8_lossy(&head[..got]), report);
    }
    Ok(())
}

/// The head of a model card: YAML between two lines of dashes.
fn card(text: &str, report: &mut Report) {
    let text = text.trim_start_matches('\u{feff}');
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else {
        return;
    };
    let Some(end) = rest.find("\n---") else { return };
    let Ok(head) = serde_yaml::from_str::<Map<String, Value>>(&rest[..end]) else {
        report.find(Safety::Safe, "card.invalid", "the head of the model card is not valid YAML");
        return;
    };
    for name in CARD {
        if let Some(value) = head.get(name) {
            report.fact(name, value.clone());
        }
    }
}
