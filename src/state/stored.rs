//! Stored models, as far as a plan may know them.

use std::collections::BTreeMap;

use super::observed::Container;
use crate::model::{Digest, MountedModel, Timestamp, label};

/// What the reference of a mounted model means at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSeen {
    /// This version, with this content.
    Here {
        /// The version.
        version: String,
        /// The digest of the file, or of the list of files.
        digest: Digest,
    },
    /// A version that may not be whole yet.
    Unsettled {
        /// The version.
        version: String,
        /// From when on it counts, if nothing of it changes.
        until: Timestamp,
    },
    /// Nothing: why.
    Missing(String),
}

/// The label's text for what is mounted, by path.
pub fn models_label(models: &BTreeMap<String, MountedModel>) -> String {
    serde_json::to_string(models).unwrap_or_default()
}

/// What a container's label says of mounted models; nothing if it can't be read.
pub fn models_of(container: &Container) -> BTreeMap<String, MountedModel> {
    let text = container.labels.get(label::MODELS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
