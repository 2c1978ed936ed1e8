//! What is mutated, and every test that needs nothing else, in one binary.

pub use words::{manifest, model};

pub mod plan;
pub mod state;

/// The rules of ownership that stand beside the engines.
pub mod engine {
    mod labels;
}

// The tests say `berth`, as they do in their own place.
#[cfg(test)]
extern crate self as berth;

#[cfg(test)]
mod sim;
#[cfg(test)]
#[path = "it_plan/mod.rs"]
mod it_plan;
#[cfg(test)]
#[path = "it_recipe/mod.rs"]
mod it_recipe;
#[cfg(test)]
mod plan_props;
