//! What is known of vulnerabilities in images, as far as a plan may know it.

use std::collections::BTreeMap;

/// What was found in the images that apps want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scans {
    /// Whether a new version may only start once its image was looked through.
    pub is_gate: bool,
    /// What was found, by the id of the image; nothing for one that is still to be looked through.
    pub images: BTreeMap<String, ScanSeen>,
}

impl Scans {
    /// How an image stands.
    pub fn of(&self, image: &str) -> Option<&ScanSeen> {
        self.images.get(image)
    }
}

/// What was found in one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanSeen {
    /// It could not be looked through: why.
    Failed(String),
    /// Nothing that the operator wants to hear of.
    Clean(String),
    /// There is something to tell.
    Warned(String),
    /// It may not start: why, and what can be done.
    Blocked(String),
}
