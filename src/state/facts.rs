//! What the files of a repository say about how it is built: facts, not texts.

use serde::{Deserialize, Serialize};

/// What one file says. What it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FileFacts {
    /// Which Python it asks for, as a version or a specifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// What is to be installed with pip, where the file lists it plainly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependencies: Option<Vec<String>>,
    /// What only conda can install.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conda: Vec<String>,
    /// The frameworks that it names and that care about GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frameworks: Vec<Framework>,
    /// Whether it names a package index of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub has_index: bool,
    /// Whether it can only be installed where all of the source is.
    #[serde(skip_serializing_if = "is_false")]
    pub needs_source: bool,
    /// Which tables a `pyproject.toml` has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// What a `package.json` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// The command of a `Procfile`'s `web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A framework that a file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Framework {
    /// Its package: `torch`, `tensorflow`, `jax`, `onnxruntime-gpu`.
    pub name: String,
    /// Its version, where it is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The CUDA version that the file itself names, such as `(12, 1)` of `+cu121`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<(u16, u16)>,
    /// Whether it asks for a build without CUDA.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_cpu: bool,
}

/// Which tables a `pyproject.toml` has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Project {
    /// `[project]`
    pub is_described: bool,
    /// `[tool.poetry]`
    pub has_poetry: bool,
    /// `[build-system]`: the project itself can be installed.
    pub is_package: bool,
}

/// What a `package.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// The major version of Node that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u16>,
    /// Whether it has a script `build`.
    pub has_build: bool,
    /// Whether it has a script `start`.
    pub has_start: bool,
}
