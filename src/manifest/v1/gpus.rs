//! The GPUs that an app asks for.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Amount;

/// The GPUs that an app asks for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct Gpus {
    /// How many. Default: as many as `ids` names, else 1.
    #[schemars(range(min = 0, max = 64))]
    pub(in crate::manifest) count: Option<i64>,
    /// Exactly these, by UUID as `nvidia-smi -L` shows it. Default: Berth chooses.
    pub(in crate::manifest) ids: Option<Vec<String>>,
    /// How much memory it needs on each of them, like `12Gi`. Needed with `share: memory`.
    pub(in crate::manifest) memory: Option<Amount>,
    /// Whether other apps may use the same ones. Default: `exclusive`.
    pub(in crate::manifest) share: Option<Share>,
    /// Which product, like `A100*` or `NVIDIA H200`; `*` stands for anything. Default: any.
    pub(in crate::manifest) model: Option<String>,
    /// Whose. Default: any.
    pub(in crate::manifest) vendor: Option<Vendor>,
    /// The profile of a MIG instance, like `1g.10gb`, in place of whole cards.
    pub(in crate::manifest) mig: Option<String>,
    /// What of the driver it sees. Default: `[compute, utility]`.
    pub(in crate::manifest) capabilities: Option<Vec<Capability>>,
    /// Who of those that wait goes first: the higher. Default: 0.
    #[schemars(range(min = -100, max = 100))]
    pub(in crate::manifest) priority: Option<i64>,
}

/// Whether other apps may use the same GPUs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::manifest) enum Share {
    /// Nobody else gets them.
    Exclusive,
    /// Others get them too, each with memory of its own promised.
    Memory,
}

/// Who made a GPU.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::manifest) enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
}

/// A part of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::manifest) enum Capability {
    /// CUDA and `OpenCL` for 32-bit programs.
    Compat32,
    /// CUDA and `OpenCL`.
    Compute,
    /// Screens.
    Display,
    /// `OpenGL` and Vulkan.
    Graphics,
    /// `nvidia-smi` and what it needs.
    Utility,
    /// The video encoder and decoder.
    Video,
}
