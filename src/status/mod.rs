//! The verdict: a status made from what is wanted, what was seen, what was planned and what came
//! of it. The only place that sets a condition.

mod rollout;
mod summarize;

use std::collections::BTreeMap;

use crate::model::{
    Condition, ConditionType, GpuWay, MountedModel, Phase, PortBinding, Reason, SpecHash, Timestamp,
};
use crate::state::Ahead;
pub use rollout::{Held, RolloutStatus};
pub use summarize::{Summary, blind, summarize};

/// How an app stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// In one word.
    pub phase: Phase,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence that a person can act on.
    pub message: String,
    /// Where it answers, said only while it is healthy.
    pub url: Option<String>,
    /// The details.
    pub conditions: Vec<Condition>,
    /// The generation that this status is about.
    pub observed_generation: u64,
    /// The shape that runs.
    pub revision: Option<SpecHash>,
    /// The commit that runs.
    pub commit: Option<String>,
    /// How far it is behind its source, as that was looked at last; none when nobody can tell.
    pub commits_behind: Option<Ahead>,
    /// The image that runs.
    pub image: Option<String>,
    /// What exactly that is: `name@sha256:…`, or its id when it never came from a registry.
    pub image_digest: Option<String>,
    /// The container that runs, by its full id.
    pub container_id: Option<String>,
    /// The host ports.
    pub ports: Vec<PortBinding>,
    /// The GPUs, by UUID.
    pub gpus: Vec<String>,
    /// In which way its container was given them.
    pub gpu_way: Option<GpuWay>,
    /// The stored models that are mounted into its container, by path.
    pub models: BTreeMap<String, MountedModel>,
    /// How often it was started again by itself.
    pub restarts: u64,
    /// The last rollout, as far as it is remembered.
    pub rollout: Option<RolloutStatus>,
    /// Since when phase and reason are what they are.
    pub since: Timestamp,
}

impl Status {
    /// The condition of this kind.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
