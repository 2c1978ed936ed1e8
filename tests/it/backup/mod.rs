//! Backups: made, verified, pruned and restored, with the disk failing or the power going at every
//! step, and with archives that somebody else has written.

mod archive;
mod command;
mod faulty;
mod hostile;
mod meddled;
pub(crate) mod remote;
mod steps;
mod yard;
