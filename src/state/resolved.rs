//! What the name of an image was found to mean.

use serde::{Deserialize, Serialize};

/// What the name of an app's image was found to mean. It counts until the manifest changes, or
/// somebody asks anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The name.
    pub reference: String,
    /// The generation of the manifest for which it was looked up; 0 is none: it has to be looked up.
    pub generation: u64,
    /// The id of the image.
    pub id: String,
    /// The name by which it can be pulled again: `name@sha256:…`. None of one that never came
    /// from a registry.
    pub digest: Option<String>,
}
