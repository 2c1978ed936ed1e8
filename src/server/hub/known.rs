//! What is inside files, as clients of the Hub read it: whether they are safe to load, how many
//! parameters they have, what their model card says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::inspect::{Format, Report, Safety};
use crate::store::{FoundCommit, Store};

/// Of how many files of a repository the reports are read at once.
const FILES_MAX: usize = 1000;
/// What a model card may say of a repository as a whole.
const CARD: &str = "README.md";

/// The word for how safe a file is; what nobody could look into to its end is not said to be safe.
fn status(report: Option<&Report>) -> &'static str {
    match report.map(|report| report.safety) {
        None => "queued",
        Some(Safety::Safe) => "safe",
        Some(Safety::Suspicious) => "suspicious",
        Some(Safety::Inconclusive) => "error",
        Some(Safety::Dangerous) => "unsafe",
    }
}

fn level(safety: Safety) -> &'static str {
    match safety {
        Safety::Safe => "innocuous",
        Safety::Suspicious | Safety::Inconclusive => "suspicious",
        Safety::Dangerous => "dangerous",
    }
}

/// What is known of a file's safety.
pub(super) fn file_status(report: Option<&Report>) -> Value {
    let imports = report.map(|report| report.imports.as_slice()).unwrap_or_default();
    let scan = report.filter(|_| !imports.is_empty()).map(|report| {
        let one = |import: &crate::inspect::Import| {
            json!({
                "module": import.module, "name": import.name, "safety": level(import.safety),
            })
        };
        let imports: Vec<_> = imports.iter().map(one).collect();
        let worst = level(report.safety);
        json!({ "status": status(Some(report)), "highestSafetyLevel": worst, "imports": imports })
    });
    json!({
        "status": status(report), "jFrogScan": null, "protectAiScan": null, "avScan": null,
        "pickleImportScan": scan, "virusTotalScan": null,
    })
}

/// Adds to the document of a repository what is known of its files; with `is_asked`, which of them are
/// not safe to load.
pub(super) fn tell(store: &Store, found: &FoundCommit, is_asked: bool, model: &mut Value) {
    let files = &found.tree.files;
    let known: Vec<_> = files
        .iter()
        .take(FILES_MAX)
        .map(|(path, file)| (path.as_str(), store.report_of(path, &file.sha256)))
        .collect();
    let reports = || known.iter().filter_map(|(path, report)| Some((*path, report.as_ref()?)));
    let mut tags = BTreeSet::new();
    let mut parameters: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, report) in reports() {
        tags.extend(tag(report.format).map(str::to_owned));
        if report.format == Format::Safetensors {
            for (kind, count) in &report.parameters {
                *parameters.entry(kind.as_str()).or_default() += count;
            }
        }
    }
    if !parameters.is_empty() {
        let total: u64 = parameters.values().sum();
        model["safetensors"] = json!({ "parameters": parameters, "total": total });
    }
    let quantized = reports().find(|(_, report)| report.format == Format::Gguf);
    if let Some((_, report)) = quantized {
        model["gguf"] = gguf(report);
    }
    if let Some((_, card)) = reports().find(|(path, _)| *path == CARD) {
        tags.extend(of_card(&card.facts));
        if let Some(pipeline) = card.facts.get("pipeline_tag") {
            model["pipeline_tag"] = pipeline.clone();
        }
        model["cardData"] = Value::Object(card.facts.clone());
    }
    model["tags"] = json!(tags);
    if is_asked {
        let issues: Vec<_> = known
            .iter()
            .filter(|(_, report)| report.as_ref().is_some_and(|it| it.safety != Safety::Safe))
            .map(|(path, report)| json!({ "path": path, "level": status(report.as_ref()) }))
            .collect();
        let is_done = files.len() == known.len() && known.iter().all(|(_, it)| it.is_some());
        model["securityRepoStatus"] = json!({ "scansDone": is_done, "filesWithIssues": issues });
    }
}

fn tag(format: Format) -> Option<&'static str> {
    Some(match format {
        Format::Safetensors => "safetensors",
        Format::Gguf => "gguf",
        Format::Onnx => "onnx",
        Format::Pytorch | Format::Torchscript => "pytorch",
        Format::Keras => "keras",
        Format::Tflite => "tflite",
        Format::SavedModel => "tf",
        _ => return None,
    })
}

fn of_card(facts: &Map<String, Value>) -> Vec<String> {
    let listed = facts.get("tags").and_then(Value::as_array).into_iter().flatten();
    let mut tags: Vec<_> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(license) = facts.get("license").and_then(Value::as_str) {
        tags.push(format!("license:{license}"));
    }
    tags
}

fn gguf(report: &Report) -> Value {
    let architecture = report.facts.get("general.architecture").cloned().unwrap_or_default();
    let mut told = json!({ "total": report.total_parameters(), "architecture": architecture });
    let own = format!("{}.context_length", architecture.as_str().unwrap_or_default());
    for (name, fact) in
        [("context_length", own.as_str()), ("chat_template", "tokenizer.chat_template")]
    {
        if let Some(value) = report.facts.get(fact) {
            told[name] = value.clone();
        }
    }
    told
}
