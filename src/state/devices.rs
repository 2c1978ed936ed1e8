//! How one app's GPUs get into its container, and whether they are still there.

use std::collections::BTreeMap;

use super::ContainerId;
use crate::model::{GpuRoute, GpuWay};

/// What is known of the way in which an app is given its GPUs. Empty for an app without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuDevices {
    /// How a new container would be given them.
    pub route: Option<GpuRoute>,
    /// The ways that the engine refused, with its words.
    pub refused: BTreeMap<GpuWay, String>,
    /// The container that can't reach its GPUs any more.
    pub loss: Option<GpuLoss>,
    /// The driver's version at present.
    pub driver: Option<String>,
}

/// A container that can't reach its GPUs any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuLoss {
    /// Which.
    pub container: ContainerId,
    /// What was seen, as a sentence.
    pub message: String,
    /// How often containers of the app were made anew for this within the last hour.
    pub mended: u32,
    /// Whether that is as often as is allowed.
    pub is_spent: bool,
}
