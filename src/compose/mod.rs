//! Compose files: what runs, written down for `docker compose`; and compose files read as manifests.
//!
//! ```text
//! record ─► writer ─► render ─► emit ─► folder        what Berth runs, as files
//! FILE ─► import ─► emit ─► manifests                 what somebody else ran, as manifests
//! ```
//!
//! A container is shown from the very body that the engine is asked with, key by key: what a
//! container is, is said in one place only.

pub mod emit;
mod folder;
mod gpus;
pub mod import;
mod readme;
mod render;
mod writer;

pub use folder::{COMPOSE_FILE, Folder, Found};
pub use render::{Member, Rendered, Shown, main_file, render};
pub use writer::Writer;
