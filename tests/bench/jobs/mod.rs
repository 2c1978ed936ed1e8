//! What is measured.

pub(crate) mod build;
pub(crate) mod calls;
pub(crate) mod git;
pub(crate) mod idle;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod rescan;
pub(crate) mod serve;
pub(crate) mod up;
