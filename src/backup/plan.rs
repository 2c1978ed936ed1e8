//! What a backup would do: a function of what there is and of the snapshot before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    Entry, Root, Snapshot, Survey, What,
    disk::{Sort, Stat},
    format, path,
};
use crate::model::{Digest, format_bytes};

/// A clock of a file system may stand still for so long, in nanoseconds: what changed shortly
/// before it was read may have changed again without a trace.
const SLACK: i128 = 2_000_000_000;

/// The apps whose data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// All.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Data {
    pub(super) fn has(&self, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(apps) => apps.contains(app),
        }
    }
}

/// Something that goes into a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// All of it is known.
    Ready(Entry),
    /// A file that is to be read.
    Read {
        /// All but its content.
        entry: Entry,
        /// Where it is in its root.
        path: PathBuf,
        /// What it is said to hold, by who keeps it.
        known: Option<Digest>,
        /// How long it was.
        size: u64,
    },
}

/// What a backup does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes into the snapshot.
    pub items: Vec<Item>,
    /// The roots that are there.
    pub roots: BTreeSet<Root>,
    /// What is not kept, and why.
    pub left_out: BTreeSet<String>,
    /// What could not be looked at.
    pub unread: Vec<String>,
}

/// Says what is to be read. `has` tells whether a content of this length is in the archive.
pub fn plan(survey: Survey, before: Option<&Snapshot>, has: impl Fn(&Digest, u64) -> bool) -> Plan {
    let known: BTreeMap<_, _> = before
        .into_iter()
        .flat_map(|snapshot| &snapshot.entries)
        .map(|entry| ((entry.root, entry.path.as_str()), entry))
        .collect();
    let trusted = before.map(|it| i128::from(it.made.as_millis()) * 1_000_000 - SLACK);
    let mut names = BTreeMap::new();
    let mut items = Vec::with_capacity(survey.found.len());
    for found in survey.found {
        let text = path::escape(found.path.as_os_str().as_bytes());
        let stat = found.stat;
        let entry = |what| Entry {
            root: found.root,
            path: text.clone(),
            what,
            mode: format!("{:o}", stat.mode),
            owner: stat.owner,
            modified: format::modified(stat.modified),
        };
        let ready = match (stat.sort, &found.target) {
            (Sort::Folder, _) => Some(What::Folder),
            (_, Some(target)) => {
                Some(What::Link { target: path::escape(target.as_os_str().as_bytes()) })
            }
            _ => names
                .get(&(found.root, stat.inode))
                .map(|of: &String| What::Same { of: of.clone() }),
        };
        if let Some(what) = ready {
            items.push(Item::Ready(entry(what)));
            continue;
        }
        if 1 < stat.links {
            names.insert((found.root, stat.inode), text.clone());
        }
        let said = said(found.root, &found.path);
        let same = known.get(&(found.root, text.as_str())).and_then(|old| {
            let What::File { size, sha256, stamp: old_stamp } = &old.what else { return None };
            let is_same = *size == stat.size
                && old.modified == format::modified(stat.modified)
                && old_stamp.as_ref() == Some(&stamp(&stat))
                && trusted.is_some_and(|trusted| stat.changed < trusted);
            is_same.then(|| sha256.clone())
        });
        let content = said.clone().or(same).filter(|content| has(content, stat.size));
        items.push(match content {
            Some(sha256) => Item::Ready(entry(What::File {
                size: stat.size,
                sha256,
                stamp: Some(stamp(&stat)),
            })),
            None => Item::Read {
                entry: entry(What::Folder),
                path: found.path.clone(),
                known: said,
                size: stat.size,
            },
        });
    }
    let Survey { roots, left_out, unread, .. } = survey;
    Plan { items, roots, left_out, unread }
}

/// What the model store says a file holds, by its name. Such a file never changes.
fn said(root: Root, path: &Path) -> Option<Digest> {
    let blobs = path.strip_prefix(".store/blobs/sha256").ok()?;
    (root == Root::Models).then(|| Digest::parse(blobs.file_name()?.to_str()?))?
}

/// By what it is seen that a file was not changed.
pub(super) fn stamp(stat: &Stat) -> String {
    format!("{}:{}:{}", stat.inode.0, stat.inode.1, stat.changed)
}

/// The plan as people read it.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for root in Root::ALL.into_iter().filter(|root| plan.roots.contains(root)) {
        let (mut read, mut kept, mut others) = ((0, 0), (0, 0), 0);
        for item in &plan.items {
            match item {
                Item::Read { entry, size, .. } if entry.root == root => {
                    read = (read.0 + 1, read.1 + size);
                }
                Item::Ready(entry) if entry.root == root => match &entry.what {
                    What::File { size, .. } => kept = (kept.0 + 1, kept.1 + size),
                    _ => others += 1,
                },
                _ => {}
            }
        }
        let _ = writeln!(
            text,
            "{root}: {} files to read ({}), {} as before ({}), {others} folders and links",
            read.0,
            format_bytes(read.1),
            kept.0,
            format_bytes(kept.1)
        );
    }
    for what in &plan.left_out {
        let _ = writeln!(text, "left out: {what}");
    }
    for what in &plan.unread {
        let _ = writeln!(text, "warning: {what}");
    }
    text
}
