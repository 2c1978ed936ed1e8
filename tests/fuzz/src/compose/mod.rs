//! The reader of compose files, with what it takes from its surroundings.

#[path = "../../../../src/compose/emit.rs"]
pub(crate) mod emit;
#[path = "../../../../src/compose/import/mod.rs"]
pub(crate) mod import;
