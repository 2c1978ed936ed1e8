//! A version as an OCI artifact, as `ModelPack` describes it: each file is a layer as it is stored.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    kinds,
    known::{Artifact, Document, descriptor},
    version::{File, Version},
};
use crate::inspect::{Format, Report};

pub(in super::super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// Where the file belongs.
const PATH: &str = "org.cncf.model.filepath";
/// The same, for programs that write files of any artifact.
const TITLE: &str = "org.opencontainers.image.title";

/// The artifact of a version. The same files make the same one.
pub(super) fn artifact(version: &Version) -> Artifact {
    let config = Document::new(CONFIG, &config(version));
    let layers: Vec<_> = version.files.iter().map(layer).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": config.descriptor(),
        "layers": layers,
        "annotations": { "org.opencontainers.image.version": version.name },
    });
    Artifact { manifest: Document::new(MANIFEST, &manifest), config }
}

fn layer(file: &File) -> Value {
    let kind = kinds::layer(&file.path, file.called.as_deref());
    let mut layer = descriptor(kind, &file.sha256, file.size);
    layer["annotations"] = json!({ PATH: file.path, TITLE: file.path });
    layer
}

fn config(version: &Version) -> Value {
    let mut descriptor = Map::new();
    descriptor.insert("name".to_owned(), json!(version.app));
    descriptor.insert("version".to_owned(), json!(version.name));
    let facts = Facts::of(version);
    if let Some(family) = facts.family {
        descriptor.insert("family".to_owned(), json!(family));
    }
    if !facts.licenses.is_empty() {
        descriptor.insert("licenses".to_owned(), json!(facts.licenses));
    }
    let digests: Vec<_> =
        version.files.iter().map(|file| format!("sha256:{}", file.sha256)).collect();
    json!({
        "descriptor": descriptor,
        "config": facts.config,
        "modelfs": { "type": "layers", "diffIds": digests },
    })
}

/// What the files say of the model.
#[derive(Default)]
struct Facts {
    family: Option<String>,
    licenses: Vec<String>,
    config: Map<String, Value>,
}

impl Facts {
    fn of(version: &Version) -> Self {
        let mut facts = Self::default();
        let mut parameters = BTreeMap::new();
        for file in &version.files {
            let is_card = file.path.eq_ignore_ascii_case("readme.md");
            let kind = kinds::layer(&file.path, file.called.as_deref());
            if !is_card && file.path != "config.json" && !kinds::is_weight(kind) {
                continue;
            }
            let Some(report) = file.report() else { continue };
            if kinds::is_weight(kind) {
                facts.weigh(&report, &mut parameters);
            } else if is_card {
                facts.license(report.facts.get("license"));
            } else {
                facts.read_config(&report);
            }
        }
        let total = parameters.values().fold(0, |sum: u64, one| sum.saturating_add(*one));
        if 0 < total {
            facts.put("paramSize", amount(total));
        }
        let most = parameters.iter().max_by_key(|(_, count)| **count);
        if let Some(word) = most.and_then(|(name, _)| precision(name)) {
            facts.put("precision", word);
        }
        facts
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.config.entry(name).or_insert(value.into());
    }

    fn license(&mut self, value: Option<&Value>) {
        let all = match value {
            Some(Value::Array(all)) => all.clone(),
            Some(one) => vec![one.clone()],
            None => return,
        };
        for license in all.iter().filter_map(Value::as_str) {
            if !self.licenses.iter().any(|known| known == license) {
                self.licenses.push(license.to_owned());
            }
        }
    }

    fn weigh(&mut self, report: &Report, parameters: &mut BTreeMap<String, u64>) {
        let format = serde_json::to_value(report.format).unwrap_or_default();
        if report.format != Format::Unknown {
            self.put("format", format);
        }
        let text = |name: &str| report.facts.get(name).and_then(Value::as_str);
        if report.format != Format::Gguf {
            for (name, count) in &report.parameters {
                let sum = parameters.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
            return;
        }
        if let Some(word) = text("general.architecture") {
            self.put("architecture", word);
            self.family.get_or_insert_with(|| word.to_owned());
        }
        self.license(report.facts.get("general.license"));
        if let Some(name) = super::ollama::file_type(report) {
            self.put("quantization", name);
        }
        // Several such files are the same model, each in another precision, unless it was split.
        let parts = report.facts.get("split.count").and_then(Value::as_u64).unwrap_or(1);
        let before = parameters.values().fold(0, |sum: u64, one| sum.saturating_add(*one));
        if 1 < parts || before < report.total_parameters() {
            if parts <= 1 {
                parameters.clear();
            }
            for (name, count) in &report.parameters {
                let sum = parameters.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    fn read_config(&mut self, report: &Report) {
        let fact = |name: &str| report.facts.get(name);
        if let Some(word) = fact("architectures").and_then(|all| all.get(0)).and_then(Value::as_str)
        {
            self.put("architecture", word);
        }
        if let Some(word) = fact("model_type").and_then(Value::as_str) {
            self.family = Some(word.to_owned());
        }
        let method = fact("quantization_config").and_then(|all| all.get("quant_method"));
        if let Some(word) = method.and_then(Value::as_str) {
            self.put("quantization", word);
        }
    }
}

/// A number of parameters, as people write it: `6.7B`.
pub(super) fn amount(count: u64) -> String {
    for (unit, letter) in
        [(1_000_000_000_000, 'T'), (1_000_000_000, 'B'), (1_000_000, 'M'), (1_000, 'K')]
    {
        if unit <= count {
            let tenths = count / (unit / 10);
            return match tenths % 10 {
                0 => format!("{}{letter}", tenths / 10),
                rest => format!("{}.{rest}{letter}", tenths / 10),
            };
        }
    }
    count.to_string()
}

/// The type of most numbers, in the specification's words.
fn precision(name: &str) -> Option<String> {
    let word = match name.to_ascii_uppercase().as_str() {
        "F64" => "float64",
        "F32" | "FLOAT" => "float32",
        "F16" | "FLOAT16" => "float16",
        "BF16" | "BFLOAT16" => "bfloat16",
        upper if upper.starts_with("F8") => "float8",
        upper if upper.starts_with("F4") => "float4",
        upper if upper.starts_with('Q') || upper.starts_with("IQ") => return None,
        _ => return Some(name.to_ascii_lowercase()),
    };
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_500, "1.5K"),
            (135_000_000, "135M"),
            (6_738_415_616, "6.7B"),
            (8_000_000_000, "8B"),
            (1_040_000_000_000, "1T"),
        ] {
            assert_eq!(amount(count), text);
        }
    }

    #[test]
    fn precisions_have_the_words_of_the_specification() {
        assert_eq!(precision("BF16").as_deref(), Some("bfloat16"));
        assert_eq!(precision("F8_E4M3").as_deref(), Some("float8"));
        assert_eq!(precision("I8").as_deref(), Some("i8"));
        assert_eq!(precision("Q4_K"), None);
    }
}
