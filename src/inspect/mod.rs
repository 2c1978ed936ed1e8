//! What is inside a model file: its format, its figures, and whether loading it runs code.
//!
//! # Guarantees
//! - Nothing of a file is ever executed, imported or built into objects: bytes are decoded.
//! - Reading is bounded by [`Limits`], whatever the file claims about itself.
//! - What can't be told is [`Safety::Inconclusive`], which is never shown as clean.
//!
//! # Sources
//! The formats are those of safetensors 0.8, GGUF 3 (ggml), ONNX's `ModelProto`, `PyTorch`'s zip and
//! legacy files, Python's pickle protocols 0–5 (PEP 3154, PEP 574), and `NumPy`'s `.npy` (NEP 1).

mod bounded;
mod gguf;
mod input;
mod leaks;
mod numpy;
mod onnx;
mod pickle;
mod protobuf;
mod rating;
mod safetensors;
mod text;
mod whole;
mod zip;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use input::Source;

use input::Fault;

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a header: a safetensors header, GGUF's metadata.
    pub header: u64,
    /// Opcodes of all pickles of a file.
    pub opcodes: u64,
    /// Bytes that one entry of an archive may unpack to while it is scanned.
    pub unpacked: u64,
    /// Entries of an archive.
    pub entries: usize,
    /// Bytes that are searched where a format is not decoded.
    pub searched: u64,
    /// How long it may take.
    pub time: Duration,
}

/// Which scanner this is. It changes when the same file would be told of otherwise: then what an
/// earlier one said is not believed any more.
pub const VERSION: u32 = 2;

/// The endings of names that say more than the bytes; longer ones before those that they end with.
const ENDINGS: [&str; 14] = [
    ".safetensors",
    ".index.json",
    ".json",
    ".onnx",
    "saved_model.pb",
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".joblib",
    ".dill",
    "readme.md",
    ".py",
];

/// What of a name the scanner looks at: files of one content with the same hint are told of alike.
pub fn hint(name: &str) -> &'static str {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    ENDINGS.into_iter().find(|ending| name.ends_with(ending)).unwrap_or("")
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 25 << 20,
            opcodes: 20_000_000,
            unpacked: 256 << 20,
            entries: 100_000,
            searched: 64 << 20,
            time: Duration::from_mins(1),
        }
    }
}

/// Whether loading a file runs code that somebody else wrote; the worst is the greatest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// The format holds no code, or only names what is known to be harmless.
    #[default]
    Safe,
    /// It names something that is not known.
    Suspicious,
    /// It could not be read to its end: nothing is known.
    Inconclusive,
    /// It runs what loaders of models have no need for.
    Dangerous,
}

impl Safety {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Suspicious => "suspicious",
            Self::Inconclusive => "inconclusive",
            Self::Dangerous => "dangerous",
        }
    }
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tensors with a JSON header.
    Safetensors,
    /// ggml's file with metadata.
    Gguf,
    /// A graph as protocol buffers.
    Onnx,
    /// A zip archive with pickles, as `torch.save` writes it.
    Pytorch,
    /// A zip archive with Python source beside its pickles.
    Torchscript,
    /// Pickles one after the other.
    Pickle,
    /// One array.
    Npy,
    /// A zip archive of arrays.
    Npz,
    /// Keras 3's zip archive.
    Keras,
    /// HDF5.
    Hdf5,
    /// `TensorFlow` Lite.
    Tflite,
    /// `TensorFlow`'s graph as protocol buffers.
    SavedModel,
    /// Another zip archive.
    Zip,
    /// JSON.
    Json,
    /// Another text.
    Text,
    /// Nothing known.
    #[default]
    Unknown,
}

impl Format {
    /// Whether loaders of this format may run what is in it: of these, what can't be read to its
    /// end may still run from its beginning.
    pub fn may_run_code(self) -> bool {
        matches!(
            self,
            Self::Pytorch
                | Self::Torchscript
                | Self::Pickle
                | Self::Npy
                | Self::Npz
                | Self::Keras
                | Self::Hdf5
                | Self::SavedModel
                | Self::Zip
        )
    }
}

/// Something that a pickle asks its loader for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Import {
    /// The module, or `?` where the file does not say it plainly.
    pub module: String,
    /// The name in it.
    pub name: String,
    /// What is known of it.
    pub safety: Safety,
}

/// Something that a reader of the file should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A word for programs: `pickle.import`, `zip.headers`, ….
    pub code: String,
    /// A sentence for persons.
    pub detail: String,
    /// How bad it is.
    pub safety: Safety,
}

/// What is inside a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What kind of file it is.
    pub format: Format,
    /// Whether loading it runs code.
    pub safety: Safety,
    /// How many parameters there are, by the type of their numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, u64>,
    /// Bytes of weights: what it takes in memory, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes: Option<u64>,
    /// What the file says of itself.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
    /// What its pickles import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Report {
    /// Notes something; the file is at least as bad as it.
    fn find(&mut self, safety: Safety, code: &str, detail: impl Into<String>) {
        /// Enough for a person.
        const MOST: usize = 100;
        self.safety = self.safety.max(safety);
        if self.findings.len() < MOST {
            let finding = Finding { code: code.to_owned(), detail: detail.into(), safety };
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    /// Notes an import once.
    fn import(&mut self, import: Import) {
        /// A file that names more is not read by a person anyway; its rating still counts.
        const MOST: usize = 1_000;
        self.safety = self.safety.max(import.safety);
        if self.imports.len() < MOST && !self.imports.contains(&import) {
            self.imports.push(import);
        }
    }

    /// The report about a file that nobody could read.
    pub fn unreadable(why: &str) -> Self {
        let mut report = Self::default();
        report.find(Safety::Inconclusive, "file.unread", why);
        report
    }

    /// Takes over why it could not be read to its end.
    fn give_up(&mut self, fault: Fault) -> io::Result<()> {
        let (code, detail) = match fault {
            Fault::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                ("file.limit", "it took too long to read".to_owned())
            }
            Fault::Io(error) => return Err(error),
            Fault::End => ("file.cut", "the file ends too early".to_owned()),
            Fault::Broken(why) => ("file.broken", why),
            Fault::Limit(what) => ("file.limit", format!("{what}: not read to its end")),
        };
        self.find(Safety::Inconclusive, code, detail);
        Ok(())
    }

    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    fn count(&mut self, of: &str, elements: u64) {
        let sum = self.parameters.entry(of.to_owned()).or_default();
        *sum = sum.saturating_add(elements);
    }

    /// All parameters.
    pub fn total_parameters(&self) -> u64 {
        self.parameters.values().fold(0, |sum, one| sum.saturating_add(*one))
    }
}

/// Looks into a file. Its name is a hint where the bytes do not say what it is.
///
/// # Errors
/// That the file could not be read. What is wrong *in* it stands in the report.
pub fn inspect(name: &str, source: &dyn Source, limits: &Limits) -> io::Result<Report> {
    let source = &input::Timed { source, until: tokio::time::Instant::now() + limits.time };
    let mut head = [0; 512];
    let got = input::read_up_to(source, 0, &mut head)?;
    let head = &head[..got];
    let mut report = Report::default();
    let read = match format_of(name, head) {
        Format::Safetensors => safetensors::read(source, limits, &mut report),
        Format::Gguf => gguf::read(source, limits, &mut report),
        Format::Onnx => onnx::read(source, &mut report),
        Format::Zip => zip::read(source, limits, &mut report),
        Format::Pickle => pickle::read(source, limits, &mut report),
        Format::Npy => numpy::read(source, limits, &mut report),
        Format::Json => text::json(name, source, limits, &mut report),
        Format::Text => text::text(name, source, limits, &mut report),
        other => whole::search(other, head, source, limits, &mut report),
    };
    if let Err(fault) = read {
        report.give_up(fault)?;
    }
    if matches!(report.format, Format::Json | Format::Text)
        && let Err(fault) = leaks::search(source, &mut report)
    {
        report.give_up(fault)?;
    }
    report.imports.sort();
    Ok(report)
}

/// What a file is, by its first bytes before its name: a name lies more easily.
fn format_of(name: &str, head: &[u8]) -> Format {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let is_protocol =
        |at: usize| head.get(at) == Some(&0x80) && matches!(head.get(at + 1), Some(0..=5));
    match head {
        [b'G', b'G', b'U', b'F', ..] => Format::Gguf,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Format::Zip,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Format::Npy,
        [0x89, b'H', b'D', b'F', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Format::Hdf5,
        _ if head.get(4..8) == Some(b"TFL3") => Format::Tflite,
        _ if is_protocol(0) => Format::Pickle,
        _ if safetensors::begins(head) => Format::Safetensors,
        _ if ends(&[".safetensors"]) => Format::Safetensors,
        _ if ends(&[".onnx"]) => Format::Onnx,
        _ if ends(&["saved_model.pb"]) => Format::SavedModel,
        _ if ends(&[".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill"]) => {
            Format::Pickle
        }
        _ if text::looks_like(head) && pickle::begins_plainly(head) => Format::Pickle,
        _ if text::looks_like(head) && ends(&[".json"]) => Format::Json,
        _ if text::looks_like(head) => Format::Text,
        _ => Format::Unknown,
    }
}
