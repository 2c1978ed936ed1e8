//! A version with a GGUF file as Ollama loads it: the file itself is the model's layer, and files
//! beside it are what such registries know: `template`, `system`, `params`, a licence.

use serde_json::{Value, json};

use super::{
    kinds,
    known::{Artifact, Document, descriptor},
    pack::amount,
    version::{File, Version},
};
use crate::inspect::{Format, Report};

pub(in super::super) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const MODEL: &str = "application/vnd.ollama.image.model";
const PROJECTOR: &str = "application/vnd.ollama.image.projector";
const ADAPTER: &str = "application/vnd.ollama.image.adapter";
const LICENSE: &str = "application/vnd.ollama.image.license";
/// Files that go along, by name.
const BESIDE: [(&str, &str); 3] = [
    ("template", "application/vnd.ollama.image.template"),
    ("system", "application/vnd.ollama.image.system"),
    ("params", "application/vnd.ollama.image.params"),
];
/// Which of several precisions is taken when nothing is said.
const USUAL: [&str; 4] = ["q4_k_m", "q4_0", "q8_0", "f16"];

/// How numbers are kept in a file, as GGUF numbers it.
const FILE_TYPES: [(u64, &str); 34] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
];

/// How the numbers of a file are kept.
pub(super) fn file_type(report: &Report) -> Option<&'static str> {
    let number = report.facts.get("general.file_type")?.as_u64()?;
    FILE_TYPES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The GGUF files of a version.
struct Found<'a> {
    /// The model itself.
    model: (&'a File, Report),
    projector: Option<&'a File>,
    adapters: Vec<&'a File>,
}

fn text<'a>(report: &'a Report, name: &str) -> Option<&'a str> {
    report.facts.get(name).and_then(Value::as_str)
}

/// Finds the file that is meant; `wanted` is a precision.
fn find<'a>(version: &'a Version, wanted: Option<&str>) -> Result<Found<'a>, &'static str> {
    let (mut models, mut projector, mut adapters) = (Vec::new(), None, Vec::new());
    let mut is_split = false;
    for file in &version.files {
        if !kinds::is_weight(kinds::layer(&file.path, file.called.as_deref())) {
            continue;
        }
        let Some(report) = file.report().filter(|report| report.format == Format::Gguf) else {
            continue;
        };
        let name = file.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let parts = report.facts.get("split.count").and_then(Value::as_u64).unwrap_or(1);
        if name.starts_with("mmproj") || text(&report, "general.architecture") == Some("clip") {
            projector.get_or_insert(file);
        } else if text(&report, "general.type") == Some("adapter") {
            adapters.push(file);
        } else if 1 < parts {
            is_split = true;
        } else {
            models.push((name, file, report));
        }
    }
    let has = |word: &str| models.iter().position(|(name, ..)| name.contains(word));
    let at = match wanted {
        Some(word) => has(&word.to_ascii_lowercase()),
        None => USUAL.iter().find_map(|word| has(word)).or((!models.is_empty()).then_some(0)),
    };
    let Some(at) = at else {
        return Err(match (models.is_empty(), is_split) {
            (true, true) => "its GGUF file is split, which Ollama does not load",
            (true, false) => "it has no GGUF file",
            _ => "no GGUF file of it is called so",
        });
    };
    let (_, file, report) = models.swap_remove(at);
    Ok(Found { model: (file, report), projector, adapters })
}

/// The file that a client is to load, as older versions of llama.cpp ask for it.
pub(super) fn file(version: &Version, wanted: Option<&str>) -> Result<Value, &'static str> {
    let found = find(version, wanted)?;
    let one = |file: &File| json!({ "rfilename": file.path, "size": file.size });
    let mut told = json!({ "ggufFile": one(found.model.0) });
    if let Some(projector) = found.projector {
        told["mmprojFile"] = one(projector);
    }
    Ok(told)
}

/// The model of a version, or why there is none.
pub(super) fn artifact(version: &Version, wanted: Option<&str>) -> Result<Artifact, &'static str> {
    let found = find(version, wanted)?;
    let mut layers = vec![layer(MODEL, found.model.0)];
    layers.extend(found.projector.map(|file| layer(PROJECTOR, file)));
    layers.extend(found.adapters.iter().map(|file| layer(ADAPTER, file)));
    for (name, kind) in BESIDE {
        layers.extend(version.files.iter().filter(|f| f.path == name).map(|f| layer(kind, f)));
    }
    let is_license = |file: &&File| {
        let name = file.path.to_ascii_lowercase();
        let bare = name.split('.').next().unwrap_or_default();
        ["license", "licence"].contains(&bare)
    };
    layers.extend(version.files.iter().filter(is_license).map(|file| layer(LICENSE, file)));
    let config = Document::new(CONFIG, &config(&found, &layers));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": layers,
    });
    Ok(Artifact { manifest: Document::new(MANIFEST, &manifest), config })
}

fn layer(kind: &str, file: &File) -> Value {
    descriptor(kind, &file.sha256, file.size)
}

fn config(found: &Found<'_>, layers: &[Value]) -> Value {
    let report = &found.model.1;
    let family = text(report, "general.architecture").unwrap_or("unknown");
    let mut families = vec![family];
    families.extend(found.projector.map(|_| "clip"));
    let size = amount(report.total_parameters());
    let size = text(report, "general.size_label").unwrap_or(&size);
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    json!({
        "model_format": "gguf",
        "model_family": family,
        "model_families": families,
        "model_type": size,
        "file_type": file_type(report).unwrap_or("unknown"),
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": digests },
    })
}
