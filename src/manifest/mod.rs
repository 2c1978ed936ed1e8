//! Text to intent: manifests in, apps and diagnostics out.
//!
//! [`read_file`] reads one file, [`assemble()`] puts the files of one snapshot together. A bad
//! document never hides a good one, and every mistake of a file is found in one run.
//!
//! ```text
//! bytes ─► text ─► documents ─► nodes ─► wire types ─► App
//!          └────────┴───────────┴─────────┴──────────► problems ─► diagnostics
//! ```
//!
//! Positions are looked up only when there is something to report: reading a good file never
//! computes one.

mod assemble;
mod diagnostic;
mod document;
pub mod edit;
pub mod fields;
mod lower;
mod node;
mod place;
mod problem;
mod read;
mod render;
mod schema;
mod snapshot;
mod suggest;
mod v1;
mod validate;

pub use assemble::{Assembled, assemble};
pub use diagnostic::{Diagnostic, Severity};
pub(crate) use document::{Branch, Tree};
pub(crate) use node::Node as Leaf;
pub use place::is_sensitive;
pub use read::{FileReading, Mention, read_file};
pub use render::render;
pub use schema::{schema, schema_of_app, schema_of_manifest, schema_of_spec, without_null};
pub use snapshot::{FileContent, Part, Snapshot};
