//! The modules that a decision is written in.

pub mod manifest;
pub mod model;
