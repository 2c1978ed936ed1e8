//! Manifests from git, webhooks and commit statuses, with real repositories and real requests.

mod grove;
mod heard;
mod hooks;
mod program;
mod sources;
mod statuses;
