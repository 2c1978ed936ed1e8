//! GPUs into containers, without a card: the plan's part in memory, the engine's part on real
//! engines of our own with a hook that stands in for the vendor's, and with CDI.

mod bed;
mod compose;
mod newer;
mod older;
mod plan;
mod program;
mod real;
mod whole;
