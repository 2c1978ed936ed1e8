//! The audit log: who changed what, from where, and how it went.
//!
//! One JSON object a line in `<state-dir>/audit/audit.jsonl`, rotated by size. Each record holds the
//! SHA-256 of the one before and its own; the head, a file of its own, holds the last one.
//!
//! # Guarantees
//! - A record is on the disk before [`Log::append`] returns.
//! - A record that was changed, removed, added or put elsewhere is found by [`verify`], and so is an
//!   end that was cut off, as long as the head was not changed to match.
//! - What was cut off is never covered up by going on: the next record says that it is missing.
//! - Values of environment variables and build arguments are not in it (fault H10).

mod differ;
mod file;
mod verify;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use differ::{differences, of_spec};
pub use file::Log;
pub use verify::{Flaw, Verdict, page, verify};

use crate::model::{Digest, Timestamp};

/// The folder's name in the state folder.
pub const FOLDER: &str = "audit";
/// The hash before the first record.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What ends a record before its own hash.
const HASH_FIELD: &str = ",\"hash\":\"";

/// Why the log can't be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {}: {source}", .path.display())]
pub struct Error {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Error {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// How that is known: `token`, `session`, `uid`, `proxy`, `open`, `hook`, `cli`, `file`, `git`,
    /// `berth`.
    pub kind: String,
    /// The token, the user, the file, the repository and commit.
    pub name: String,
    /// What that one may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Something that was done, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Who.
    pub who: Who,
    /// From where: an address, or `this machine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What, such as `POST /api/v1/apps/{name}/stop` or `manifest.changed`.
    pub action: String,
    /// To which object, such as `app/chat`.
    pub object: String,
    /// What it was before, as far as it differs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// What it is after.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
    /// How it went: `done`, `refused`, `failed`, or an answer's code.
    pub outcome: String,
}

/// A record, as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
    /// The hash of the record before.
    pub prev: String,
    /// Its own.
    pub hash: String,
}

/// A record before it has a hash.
#[derive(Serialize)]
struct Draft<'a> {
    seq: u64,
    at: Timestamp,
    #[serde(flatten)]
    deed: &'a Deed,
    prev: &'a str,
}

/// What was written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The number of the last record.
    seq: u64,
    /// Its hash.
    hash: String,
    /// The number of the oldest record that was not rotated away.
    first: u64,
    /// The hash before that one.
    before: String,
}

impl Head {
    fn genesis() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned(), first: 1, before: GENESIS.to_owned() }
    }
}

fn digits(text: &str) -> String {
    Digest::of_bytes(text.as_bytes()).as_str().to_owned()
}

/// A record as its line, and its hash: the digest of the line without the hash.
fn line(draft: &Draft<'_>) -> Result<(String, String), serde_json::Error> {
    let mut text = serde_json::to_string(draft)?;
    let hash = digits(&text);
    text.pop();
    Ok((format!("{text}{HASH_FIELD}{hash}\"}}\n"), hash))
}

/// Reads a line. None when it is no record, or its hash is not its own.
fn read_line(line: &str) -> Option<Record> {
    let record: Record = serde_json::from_str(line).ok()?;
    let (text, _) = line.rsplit_once(HASH_FIELD)?;
    (digits(&format!("{text}}}")) == record.hash).then_some(record)
}
