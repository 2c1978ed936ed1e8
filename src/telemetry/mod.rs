//! What Berth says about itself: its log, and its metrics.

pub mod exposed;
pub mod logging;
pub mod metrics;
mod pen;

pub use metrics::Metrics;
