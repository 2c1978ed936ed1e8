//! What the engine tells of its own accord: only where to look.

use crate::model::{AppName, Timestamp};
use crate::state::ContainerId;

/// Something happened to an app's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The app, when the event's labels name one of ours.
    pub app: Option<AppName>,
    /// The container's full id, when the event tells it.
    pub container: Option<ContainerId>,
    /// What happened, in the engine's word: `die`, `start`, `destroy`, ….
    pub action: String,
    /// When, as the engine says.
    pub at: Option<Timestamp>,
    /// Whether something of ours may be missing now, so that the app should be looked at at once.
    pub is_urgent: bool,
}

impl Hint {
    /// The action of the first hint of every stream.
    pub const SUBSCRIBED: &'static str = "subscribed";

    /// The first hint of every stream: look at everything now.
    pub fn subscribed() -> Self {
        let action = Self::SUBSCRIBED.to_owned();
        Self { app: None, container: None, action, at: None, is_urgent: true }
    }

    /// Whether an action means that something of ours may be missing now. A `kill` is not one: it
    /// may be a mere signal, and a `die` follows when it was not.
    pub fn is_urgent_action(action: &str) -> bool {
        matches!(action, "die" | "destroy" | "oom" | "stop" | "pause" | "rename")
    }
}
