//! What an engine has beside containers and images, as far as cleaning up asks for it.

use std::collections::BTreeMap;

use crate::model::Timestamp;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name, which others may have too.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, when that is known.
    pub created: Option<Timestamp>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, when that is known.
    pub created: Option<Timestamp>,
    /// Whether a container mounts it, running or not.
    pub is_mounted: bool,
}

/// What there is beside containers and images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// The networks that compose or a Berth made.
    pub networks: Vec<Network>,
    /// The volumes.
    pub volumes: Vec<Volume>,
}
