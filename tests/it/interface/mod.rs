//! The native interface: its document, changes of manifests, and changes that are only tried.

mod edits;
mod families;
pub(crate) mod openapi;
mod supposed;
mod writers;
