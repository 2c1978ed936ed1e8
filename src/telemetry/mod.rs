//! What Berth says about itself: its log, and its metrics.

pub mod dcgm;
pub mod door;
pub mod exposed;
pub mod exposition;
pub mod logging;
pub mod metrics;
mod pen;
pub mod process;
pub mod text;
mod work;

pub use exposed::Exposed;
pub use metrics::Metrics;
