//! What Berth and its git worker say to each other: one line of JSON per message.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    access::Approach,
    error::Error,
    heads::{Found, Heads},
};
use crate::model::Digest;
use crate::state::{Ahead, FileFacts};

/// What the worker is asked to do: one line on its standard input. When that input ends, the
/// worker ends itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// What is to be done.
    pub(super) task: Task,
    /// The app's hidden folder. The worker writes here and among the mirrors, nowhere else.
    pub(super) area: PathBuf,
    /// The folder of the mirrors, which all apps share.
    pub(super) mirrors: PathBuf,
    /// Where the repository is.
    pub(super) origin: Origin,
    /// The repository's address as it may be shown.
    pub(super) shown: String,
    /// How to approach the host.
    pub(super) approach: Approach,
    /// Where files that are kept in Git LFS are collected; none leaves them.
    pub(super) lfs: Option<PathBuf>,
    /// The branch, tag, commit or range of versions; none is the remote's HEAD.
    pub(super) reference: Option<String>,
    /// What that is, when the remote was asked just now.
    pub(super) found: Option<Found>,
    /// What was in place before.
    pub(super) had: Option<Had>,
    /// The commits of which it is counted how far they are behind.
    pub(super) behind: Vec<String>,
    /// Whether a tag that was moved is taken.
    pub(super) takes_moved: bool,
    /// Whether submodules are part of it.
    pub(super) submodules: bool,
    /// The folder inside the repository.
    pub(super) path: String,
    /// How many commits to fetch; zero is all.
    pub(super) depth: u32,
    /// Paths to look for beside the first level.
    pub(super) look_for: Vec<String>,
    /// The tree that is in place; it is not written again.
    pub(super) have: Option<String>,
    /// The limits.
    pub(super) limits: Limits,
}

/// What a worker is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    /// Asks a remote what it has.
    List,
    /// Brings a tree to this machine.
    Fetch,
}

/// What was in place before, from the same source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Had {
    /// What it was, for people.
    pub(super) what: String,
    /// Its commit.
    pub(super) commit: String,
}

/// The name of a mirror: one for each remote, and for each login that it is seen with.
pub(super) fn mirror_key(url: &str, login: &str) -> String {
    Digest::of_bytes(format!("{login}\0{url}").as_bytes()).short(24).to_owned()
}

/// The name of the store of a repository's files in Git LFS.
pub(super) fn lfs_key(url: &str) -> String {
    Digest::of_bytes(url.as_bytes()).short(16).to_owned()
}

/// Where a repository is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Origin {
    /// On another host, behind smart HTTP or ssh.
    Remote(String),
    /// In a folder of this machine; read in place.
    Local(PathBuf),
}

/// What a worker may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) transfer_bytes: u64,
    pub(super) tree_bytes: u64,
    pub(super) file_bytes: u64,
    pub(super) files: u64,
    pub(super) connect_timeout_ms: u32,
    pub(super) server_timeout_ms: u32,
}

/// What the worker says: lines on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// It went on, and this is how far it is.
    Progress(String),
    /// Something that a person should know, although it does not stop the work.
    Note(String),
    /// It still works.
    Alive,
    /// It has asked, and this is the answer.
    Listed(Heads),
    /// It is done.
    Done(Answer),
    /// It failed.
    Failed(Error),
}

/// What the worker found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The commit.
    pub(super) commit: String,
    /// What it is, for people.
    pub(super) what: String,
    /// The tree at the wanted path.
    pub(super) tree: String,
    /// Its first-level files, and those looked for, that exist.
    pub(super) files: Vec<String>,
    /// What the telling ones among them say.
    pub(super) facts: BTreeMap<String, FileFacts>,
    /// How far it is ahead of others, as far as that can be told.
    pub(super) ahead: BTreeMap<String, Ahead>,
    /// Where the tree was written; none when it is in place already.
    pub(super) staged: Option<PathBuf>,
}
