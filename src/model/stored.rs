//! Stored models as manifests and containers speak of them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::hash::Digest;

/// A model, or one file of it, as a manifest names it: `project/app@version` or
/// `project/app@version/file`. The version may be an alias, `latest` or a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The project.
    pub project: String,
    /// The app, within the project.
    pub app: String,
    /// The version, or what stands for one.
    pub version: String,
    /// The file; none is all of the version.
    pub file: Option<String>,
}

impl ModelRef {
    /// Reads a reference. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a model: write `project/app@version`");
        let (name, rest) = text.split_once('@').ok_or_else(form)?;
        let (project, app) = name.split_once('/').ok_or_else(form)?;
        let (version, file) = match rest.split_once('/') {
            Some((version, file)) => (version, Some(file)),
            None => (rest, None),
        };
        let is_bad = |name: &str| {
            name.is_empty()
                || name.starts_with('.')
                || name.trim() != name
                || name.contains(|c: char| c.is_control() || c == '\\')
        };
        let parts = file.into_iter().flat_map(|file| file.split('/'));
        if app.contains('/') || [project, app, version].into_iter().chain(parts).any(is_bad) {
            return Err(form());
        }
        if let Some(Err(why)) = super::VersionRange::parse(version) {
            return Err(format!("`{version}` is not a range of versions: {why}"));
        }
        let [project, app, version] = [project, app, version].map(str::to_owned);
        Ok(Self { project, app, version, file: file.map(str::to_owned) })
    }

    /// The model without its version.
    pub fn name(&self) -> String {
        format!("{}/{}", self.project, self.app)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.project, self.app, self.version)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "/{file}"))
    }
}

impl TryFrom<String> for ModelRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

/// How an app uses stored models, beside what is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelsSpec {
    /// Whether it gets the address of the Hub, and a token for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hub: bool,
    /// Whether a moved alias, or a newer version of a range, makes a new container.
    pub follow: bool,
    /// The versions that an earlier revision ran, by the mounts' paths; they count whatever the
    /// references mean now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at: BTreeMap<String, String>,
}

impl Default for ModelsSpec {
    fn default() -> Self {
        Self { hub: false, follow: true, at: BTreeMap::new() }
    }
}

impl ModelsSpec {
    /// Whether nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A model that is mounted: what its reference was found to mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedModel {
    /// The model: `project/app`.
    pub model: String,
    /// The version.
    pub version: String,
    /// The file; none is all of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The digest of the file, or of the list of files.
    pub digest: Digest,
    /// The reference that it was found by, where it is kept although that means another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ModelRef>,
    /// Where it is on the host; not part of what it is.
    #[serde(skip)]
    pub source: String,
}

impl fmt::Display for MountedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.version)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        write!(f, " sha256:{}", self.digest.short(12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_with_its_version_and_may_be_one_file() {
        for (text, version, file) in [
            ("demo/llm@1.0.0", "1.0.0", None),
            ("demo/llm@latest", "latest", None),
            ("demo/llm@>=1.2 <2", ">=1.2 <2", None),
            ("demo/llm@^1/model.gguf", "^1", Some("model.gguf")),
            ("demo/llm@main/onnx/model.onnx", "main", Some("onnx/model.onnx")),
        ] {
            let read = ModelRef::parse(text).unwrap();
            assert_eq!((read.name().as_str(), read.version.as_str()), ("demo/llm", version));
            assert_eq!(read.file.as_deref(), file);
            assert_eq!(read.to_string(), text);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<ModelRef>(&json).unwrap(), read);
        }
    }

    #[test]
    fn what_names_no_model_is_refused() {
        for text in [
            "",
            "demo",
            "demo/llm",
            "demo@1",
            "demo/llm@",
            "/llm@1",
            "demo/@1",
            "a/b/c@1",
            "../x@1",
            "demo/..@1",
            "demo/llm@../..",
            "demo/llm@1/../x",
            "demo/llm@1/",
            "demo/llm@1//x",
            "demo/ll\nm@1",
            "demo/llm@>=one",
        ] {
            assert!(ModelRef::parse(text).is_err(), "{text:?}");
        }
    }
}
