//! What is installed in an image, and which known vulnerabilities that has: offline, against a
//! folder of OSV records that the operator keeps up to date.
//!
//! ```text
//! image's files ─► Gather ─► Inventory ─┬─► sbom (CycloneDX)
//! folder ─► Database ─► records ────────┴─► Report ─► Policy ─► Verdict
//! ```
//!
//! # Guarantees
//! - Nothing of an image is executed: package lists are read as text.
//! - What can't be decided (a version that nobody can order, a record that can't be read) is said
//!   in [`Report::unread`]; it never reads as clean.
//!
//! # Sources
//! OSV schema 1.7 and its evaluation algorithm; PEP 440, PEP 503 and PEP 376 for Python; Debian
//! Policy §5.6.12 for versions; CVSS 2.0, 3.x and 4.0; `CycloneDX` 1.6; Package URL.

mod book;
mod database;
mod deb;
mod inventory;
pub mod layers;
mod matching;
mod osv;
mod policy;
mod sbom;
mod severity;
#[cfg(test)]
mod tests;
mod version;

pub use book::{Book, Found, Known, Scanned};
pub use database::{Database, DatabaseError, Fingerprint, Records};
pub use inventory::{Distribution, Gather, Inventory, Kind, Package, Source};
pub use matching::{Finding, Report, Stake, Unread, compare, uncovered};
pub use osv::Record;
pub use policy::{Accepted, Exception, Policy, Verdict};
pub use sbom::sbom;
pub use severity::Severity;
