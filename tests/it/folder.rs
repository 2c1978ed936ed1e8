//! The manifest folder in every bad state that is known, under a whole Berth: whatever becomes of
//! the folder, nothing that runs is stopped, removed or made anew. And the other side: what a
//! person takes out of it on purpose goes, exactly that.
//!
//! Time is real here, because the folder, the kernel's events and the blocking looks are. Nothing
//! waits for a while; everything waits for a state.

mod content;
mod files;
mod removals;
mod roots;
mod starts;
mod writers;
mod yard;

pub(crate) use yard::Mounted;
