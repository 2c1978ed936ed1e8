//! What is supposed, to see what would come of it.

use std::sync::Arc;

use super::LeaseOrder;
use crate::model::{App, AppName};

/// Something that is not so, or not yet.
#[derive(Clone, Debug)]
pub enum Supposed {
    /// A manifest says this of an app.
    Manifest(Arc<App>),
    /// No manifest names this app any more.
    Removed(AppName),
    /// A person asked this of an app.
    Asked(AppName, Order),
    /// A person let pass what is held back.
    Confirmed,
    /// A program outside asked for GPUs.
    Leased(LeaseOrder),
}

/// What a person may ask of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Undo `Stop`.
    Start,
    /// Stop it, and keep it stopped.
    Stop,
    /// Stop and start what runs.
    Restart,
    /// Get its image, and leave it stopped.
    Install,
    /// Build it from scratch.
    Rebuild,
    /// Look at it now, and try again what failed.
    Reconcile,
    /// Run an earlier revision: this one, else the last good one before.
    Undo(Option<u64>),
}
