//! Notifications: people are told when a condition of an app or of the host goes wrong, and when
//! that is over.
//!
//! # Guarantees
//! - What is told is read off the record, beside the passes: a target that hangs delays nothing.
//! - What was so before the first start is not told; what was told is not told again after a restart,
//!   but for what was under way when Berth was killed: that is told twice at most.
//! - What can't be delivered waits and is tried again; what waits is bounded by the number of apps.
//! - Secrets are read when they are used, and are in no log, answer or message.

mod board;
pub mod desk;
mod file;
mod mail;
mod run;
mod send;
mod target;
pub mod text;
pub mod watch;

pub use board::{Board, Last, Post};
pub use run::{HostFacts, Notifier, Pace};
pub use send::{Courier, Letter, Outcome, Writer};
pub use target::{File, Mail, MailTls, OF_APPS, OF_HOST, Target, Way};
