//! Looks at the whole folder and tells what differs from the last look.
//!
//! The scan is the truth about the folder; everything the kernel says in between is a hint.
//! Files whose stamp is unchanged are not opened.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    ffi::{CStr, CString},
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx},
    io::Errno,
};

use crate::clock::Clock;
use crate::manifest::FileContent;
use crate::model::Timestamp;

use super::{
    Limits,
    list::Listing,
    place::{Node, Place, node},
    read::{self, Outcome, Stamp, cannot_read},
};

/// How many folders below the root are read.
const DEPTH: usize = 4;

/// The folders by path, with the root as the empty path.
pub(super) type Folders = BTreeMap<String, Node>;

/// Something differs from the last look.
#[derive(Debug)]
pub(super) enum Change {
    /// A file is new or has another content.
    Seen(String, Seen),
    /// A file is not there any more.
    Gone(String),
}

/// A file's new content.
#[derive(Debug)]
pub(super) struct Seen {
    /// None while it changes under the reader's eyes.
    pub(super) content: Option<FileContent>,
    /// For how long it has not been written to.
    pub(super) age: Duration,
    /// Whether a link that was switched to another file brought it: such a file came whole.
    pub(super) is_switched: bool,
}

/// Why no look was possible.
pub(super) enum Failure {
    /// The root can't be listed.
    System(Errno),
    /// There is too much in it.
    TooMany,
}

/// Remembers the last look.
#[derive(Default)]
pub(super) struct Scanner {
    known: BTreeMap<String, Known>,
}

/// A folder as it was.
#[derive(Clone)]
struct Known {
    node: Node,
    entries: Vec<Arc<Entry>>,
}

/// A file as it was.
struct Entry {
    name: CString,
    path: String,
    /// None for what has to be read again in any case.
    stamp: Option<Stamp>,
    /// The file that it was, for a link the file that it led to.
    node: Option<Node>,
    content: Option<FileContent>,
}

impl Scanner {
    /// One look. An error leaves all that was known as it was.
    pub(super) fn scan(&mut self, place: &Place, limits: Limits) -> Result<Vec<Change>, Failure> {
        let mut pass = Pass {
            root: place.fd.as_fd(),
            limits,
            now: Clock::System.now(),
            old: &self.known,
            next: BTreeMap::new(),
            changes: Vec::new(),
            files: 0,
        };
        pass.folder(place.fd.as_fd(), place.node, "", 0)?;
        for (path, known) in &self.known {
            if !pass.next.contains_key(path) {
                pass.changes.extend(known.entries.iter().map(|e| Change::Gone(e.path.clone())));
            }
        }
        let (next, changes) = (pass.next, pass.changes);
        self.known = next;
        Ok(changes)
    }

    /// The folders that were found.
    pub(super) fn folders(&self) -> Folders {
        self.known.iter().map(|(path, known)| (path.clone(), known.node)).collect()
    }
}

/// One look in progress.
struct Pass<'a> {
    root: BorrowedFd<'a>,
    limits: Limits,
    now: Timestamp,
    old: &'a BTreeMap<String, Known>,
    next: BTreeMap<String, Known>,
    changes: Vec<Change>,
    files: usize,
}

impl Pass<'_> {
    fn folder(
        &mut self,
        fd: BorrowedFd<'_>,
        at: Node,
        path: &str,
        depth: usize,
    ) -> Result<(), Failure> {
        let mut cursor = Cursor::new(self.old.get(path).map_or(&[], |known| &known.entries));
        let listing = Listing::of(fd, self.limits.files.saturating_sub(self.files))?;
        self.files += listing.len();
        let mut entries = Vec::with_capacity(listing.len());
        for (name, found) in listing.files() {
            entries.extend(self.file(fd, (name, found), path, cursor.find(name)));
        }
        let mut spoiled = Vec::new();
        if depth < DEPTH {
            for name in listing.folders {
                spoiled.extend(self.subfolder(fd, &name, path, depth + 1)?);
            }
        }
        for old in cursor.unseen() {
            if !spoiled.iter().any(|entry: &Arc<Entry>| entry.path == old.path) {
                self.changes.push(Change::Gone(old.path.clone()));
            }
        }
        entries.extend(spoiled);
        self.next.insert(path.to_owned(), Known { node: at, entries });
        Ok(())
    }

    /// Looks into a folder. One that can't be read is answered as an unreadable entry, and what
    /// was known of it stays as it was (fault W15).
    fn subfolder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        depth: usize,
    ) -> Result<Option<Arc<Entry>>, Failure> {
        self.count()?;
        let below = join(path, name);
        let news = self.changes.len();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let looked = openat(parent, name, flags, Mode::empty())
            .and_then(|fd| {
                statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
                    .map(|found| (fd, node(&found)))
            })
            .map_err(Failure::System)
            .and_then(|(fd, node)| self.folder(fd.as_fd(), node, &below, depth));
        match looked {
            Ok(()) => Ok(None),
            Err(Failure::TooMany) => Err(Failure::TooMany),
            Err(Failure::System(error)) => {
                self.changes.truncate(news);
                let is_gone = matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
                self.undo(&below, !is_gone);
                let old = self.old.get(path);
                let old = old.and_then(|known| known.entries.iter().find(|e| e.path == below));
                let content = FileContent::Unreadable(cannot_read(error));
                Ok((!is_gone).then(|| self.enter(name, below, Some(content), old)))
            }
        }
    }

    /// Forgets what this look found in a folder and below it, and perhaps carries over what was
    /// known before.
    fn undo(&mut self, folder: &str, is_kept: bool) {
        let below = format!("{folder}/");
        let is_within = |path: &str| path == folder || path.starts_with(&below);
        self.next.retain(|path, _| !is_within(path));
        let old = self.old.iter().filter(|(path, _)| is_kept && is_within(path));
        self.next.extend(old.map(|(path, known)| (path.clone(), known.clone())));
    }

    fn file(
        &mut self,
        folder: BorrowedFd<'_>,
        (name, found): (&CStr, Result<Stamp, Errno>),
        folder_path: &str,
        old: Option<&Arc<Entry>>,
    ) -> Option<Arc<Entry>> {
        let stamp = match found {
            Ok(stamp) => stamp,
            Err(Errno::NOENT) => return None,
            Err(error) => {
                let path = join(folder_path, name);
                let content = FileContent::Unreadable(cannot_read(error));
                return Some(self.enter(name, path, Some(content), old));
            }
        };
        let known = old.and_then(|old| old.stamp.as_ref());
        if let (Some(old), true) = (old, known == Some(&stamp)) {
            return Some(Arc::clone(old));
        }
        let path = join(folder_path, name);
        let is_link = stamp.is_link();
        let limit = self.limits.file_bytes;
        let outcome = if name.to_str().is_err() {
            Outcome::Unreadable("has a name that is not UTF-8".to_owned())
        } else if is_link {
            read::link(self.root, &path, known, limit)
        } else {
            read::plain(folder, name, stamp, limit)
        };
        let content = match outcome {
            Outcome::Gone => return None,
            Outcome::Same => return old.map(Arc::clone),
            Outcome::Text(stamp, content) => {
                return Some(self.text((name, path), stamp, content, (old, is_link)));
            }
            Outcome::Unstable => None,
            Outcome::Unreadable(why) => Some(FileContent::Unreadable(why)),
        };
        Some(self.enter(name, path, content, old))
    }

    /// Remembers a file that was read.
    fn text(
        &mut self,
        (name, path): (&CStr, String),
        stamp: Stamp,
        content: FileContent,
        (old, is_link): (Option<&Arc<Entry>>, bool),
    ) -> Arc<Entry> {
        let content = match old.and_then(|old| old.content.as_ref()) {
            Some(same) if is_same(same, &content) => same.clone(),
            _ => {
                let seen = Seen {
                    content: Some(content.clone()),
                    age: Clock::System.now().since(stamp.modified()),
                    is_switched: is_link && old.is_none_or(|old| old.node != Some(stamp.node)),
                };
                self.changes.push(Change::Seen(path.clone(), seen));
                content
            }
        };
        Arc::new(Entry {
            name: name.to_owned(),
            path,
            stamp: (!stamp.is_racy(self.now)).then_some(stamp),
            node: Some(stamp.node),
            content: Some(content),
        })
    }

    /// Remembers what could not be read, so that the next look tries again.
    fn enter(
        &mut self,
        name: &CStr,
        path: String,
        content: Option<FileContent>,
        old: Option<&Arc<Entry>>,
    ) -> Arc<Entry> {
        let is_news = content.is_none() || old.is_none_or(|old| old.content != content);
        if is_news {
            let content = content.clone();
            let seen = Seen { content, age: Duration::ZERO, is_switched: false };
            self.changes.push(Change::Seen(path.clone(), seen));
        }
        Arc::new(Entry { name: name.to_owned(), path, stamp: None, node: None, content })
    }

    fn count(&mut self) -> Result<(), Failure> {
        self.files += 1;
        if self.limits.files < self.files { Err(Failure::TooMany) } else { Ok(()) }
    }
}

/// Whether two contents are the same, without comparing bytes.
pub(super) fn is_same(one: &FileContent, other: &FileContent) -> bool {
    match (one, other) {
        (FileContent::Text { digest: one, .. }, FileContent::Text { digest: other, .. }) => {
            one == other
        }
        (FileContent::Unreadable(one), FileContent::Unreadable(other)) => one == other,
        _ => false,
    }
}

fn join(folder: &str, name: &CStr) -> String {
    let name = name.to_string_lossy();
    if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") }
}

/// Finds entries by name. A folder is mostly listed in the order of the last time, so the next
/// entry is tried first; an index is made when that fails.
struct Cursor<'a> {
    entries: &'a [Arc<Entry>],
    is_seen: Vec<bool>,
    next: usize,
    index: OnceCell<BTreeMap<&'a CStr, usize>>,
}

impl<'a> Cursor<'a> {
    fn new(entries: &'a [Arc<Entry>]) -> Self {
        Self { entries, is_seen: vec![false; entries.len()], next: 0, index: OnceCell::new() }
    }

    fn find(&mut self, name: &CStr) -> Option<&'a Arc<Entry>> {
        let expected = self.entries.get(self.next).filter(|entry| *entry.name == *name);
        let at = if expected.is_some() {
            self.next
        } else {
            let entries = self.entries;
            let index = self.index.get_or_init(|| {
                entries.iter().enumerate().map(|(at, entry)| (&*entry.name, at)).collect()
            });
            *index.get(name)?
        };
        self.next = at + 1;
        *self.is_seen.get_mut(at)? = true;
        self.entries.get(at)
    }

    fn unseen(&self) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.entries.iter().zip(&self.is_seen).filter(|(_, is_seen)| !**is_seen).map(|(e, _)| e)
    }
}
