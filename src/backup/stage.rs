//! One root of a restore: made beside what is there, on its file system, then moved into place.
//!
//! ```text
//! {root}/.berth-restore/plan.json      which snapshot is being made ready
//! {root}/.berth-restore/files/         what is ready
//! {root}/.berth-restore/moving.json    all of it is ready, in every root: from here on it moves
//! {root}/.before-restore-{time}/       what was there, when somebody asked for that
//! {root}/.restored-from.json           all of it is in place
//! ```

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ASIDE, Entry, Error, MARKER, Root, Roots, STAGE, Snapshot, Vault, What,
    disk::{self, Disk, Dress, Sort},
    format, is_own_name, path,
    vault::copy,
};
use crate::model::Timestamp;

const PLAN: &str = "plan.json";
const MOVING: &str = "moving.json";
const FILES: &str = "files";
const DRAFT: &str = "draft";
/// How long a note of ours may be.
const NOTE_MAX: u64 = 64 << 20;
/// How many names an error shows.
const SHOWN: usize = 5;

/// Which snapshot a root is, or becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    /// The archive.
    pub(super) archive: String,
    /// The snapshot.
    pub(super) snapshot: String,
    /// What comes into place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// What goes aside, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aside: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    aside_folder: String,
}

impl Note {
    pub(super) fn new(archive: String, snapshot: String) -> Self {
        Self { archive, snapshot, ..Self::default() }
    }

    /// Whether all it names lies in its own folder: nobody else's note moves anything.
    fn names_only_what_is_here(&self) -> bool {
        let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
        let mut names = self.names.iter().chain(&self.aside);
        names.all(|text| path::unescape(text).is_some_and(|name| is_plain(&name)))
            && (self.aside_folder.is_empty() || is_plain(self.aside_folder.as_bytes()))
    }

    pub(super) fn is_of(&self, other: &Self) -> bool {
        (&self.archive, &self.snapshot) == (&other.archive, &other.snapshot)
    }
}

/// How a root was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing of a restore is there.
    Fresh,
    /// This restore began to make it ready.
    Resume,
    /// This restore began to move it into place.
    Moving,
    /// All of it is in place.
    Done,
}

/// A root that something is brought back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Which.
    pub root: Root,
    /// Where.
    pub folder: PathBuf,
    /// How it was found.
    pub way: Way,
    /// What is there and would go aside.
    pub aside: Vec<String>,
    /// Whether there is anything of a restore.
    pub(super) has_stage: bool,
}

fn bytes_of(name: &OsStr) -> String {
    path::escape(name.as_bytes())
}

fn place_of(folder: &Path, text: &str) -> PathBuf {
    folder.join(std::ffi::OsString::from_vec(path::unescape(text).unwrap_or_default()))
}

fn note(disk: &dyn Disk, path: &Path) -> Option<Note> {
    let note: Note = serde_json::from_slice(&disk::read_small(disk, path, NOTE_MAX).ok()?).ok()?;
    note.names_only_what_is_here().then_some(note)
}

impl Ground {
    /// Looks, and changes nothing.
    pub(super) fn look(
        disk: &dyn Disk,
        root: Root,
        targets: &Roots,
        (wanted, tops): (&Note, &BTreeSet<&str>),
    ) -> Result<Self, Error> {
        let folder = targets.get(root).map(Path::to_owned).unwrap_or_default();
        let stage = folder.join(STAGE);
        let fresh = |aside, has_stage| {
            let (folder, way) = (folder.clone(), Way::Fresh);
            Self { root, folder, way, aside, has_stage }
        };
        let names = match disk.list(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(fresh(Vec::new(), false));
            }
            Err(source) => return Err(Error::disk("failed to read", &folder)(source)),
        };
        let has_stage = disk.stat(&stage).is_ok();
        // A model store, or secrets, may be in the state folder: they are roots of their own.
        let is_others = |name: &OsStr| {
            let is_lock = name == "lost+found" || (root == Root::State && name == "lock");
            let is_socket =
                || disk.stat(&folder.join(name)).is_ok_and(|stat| stat.sort == Sort::Other);
            is_lock
                || is_own_name(name.as_bytes())
                || targets.is_above_one(&folder.join(name))
                || is_socket()
        };
        let aside: Vec<_> =
            names.iter().filter(|name| !is_others(name)).map(|name| bytes_of(name)).collect();
        let found = Self { has_stage, ..fresh(aside, has_stage) };
        let is_this = |name: &str| note(disk, &stage.join(name)).map(|it| it.is_of(wanted));
        // What was brought back may have been lost again since.
        let is_there = |name: &&str| disk.stat(&place_of(&found.folder, name)).is_ok();
        let marker = note(disk, &found.folder.join(MARKER));
        if marker.is_some_and(|it| it.is_of(wanted)) && tops.iter().all(is_there) {
            return Ok(Self { way: Way::Done, ..found });
        }
        match (is_this(MOVING), is_this(PLAN)) {
            (Some(true), _) => Ok(Self { way: Way::Moving, aside: Vec::new(), ..found }),
            (Some(false), _) => Err(Error::Unfinished(folder)),
            (None, Some(true)) => Ok(Self { way: Way::Resume, ..found }),
            // What another restore made ready and never moved is of no use.
            (None, Some(false) | None) => Ok(found),
        }
    }

    /// Refuses a folder with something in it.
    pub(super) fn check_empty(&self) -> Result<(), Error> {
        if self.aside.is_empty() {
            return Ok(());
        }
        let mut names = self.aside.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if SHOWN < self.aside.len() {
            names = format!("{names} and {} more", self.aside.len() - SHOWN);
        }
        Err(Error::NotEmpty { path: self.folder.clone(), names })
    }

    fn stage(&self) -> PathBuf {
        self.folder.join(STAGE)
    }

    /// A restore begins anew: what said that an earlier one is in place goes first.
    pub(super) fn unmark(&self, disk: &dyn Disk) -> io::Result<()> {
        let marker = self.folder.join(MARKER);
        if self.way == Way::Fresh && disk.stat(&marker).is_ok() {
            disk.remove_file(&marker)?;
            disk.sync_dir(&self.folder)?;
        }
        Ok(())
    }

    /// Makes the folder of what is ready.
    pub(super) fn begin(&self, disk: &dyn Disk, wanted: &Note) -> io::Result<()> {
        let mode = if matches!(self.root, Root::Secrets | Root::State) { 0o700 } else { 0o755 };
        let stage = self.stage();
        disk::make_dirs(disk, &self.folder, mode)?;
        if self.way == Way::Fresh && disk.stat(&stage).is_ok() {
            disk::remove_tree(disk, &stage)?;
        }
        if disk.stat(&stage).is_err() {
            disk.create_dir(&stage, 0o700)?;
            disk.sync_dir(&self.folder)?;
        }
        let text = serde_json::to_vec_pretty(wanted)?;
        disk::put_small(disk, &stage.join(DRAFT), &stage.join(PLAN), &text)?;
        if disk.stat(&stage.join(FILES)).is_err() {
            disk.create_dir(&stage.join(FILES), 0o700)?;
        }
        Ok(())
    }

    /// Says that all is ready, and what moves.
    pub(super) fn say_moving(
        &self,
        disk: &dyn Disk,
        snapshot: &Snapshot,
        wanted: &Note,
        now: Timestamp,
    ) -> io::Result<()> {
        let names: BTreeSet<_> = top_names(snapshot, self.root).collect();
        let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let note = Note {
            names: names.into_iter().map(ToOwned::to_owned).collect(),
            aside: self.aside.clone(),
            aside_folder: self.free_name(disk, &format!("{ASIDE}{time}")),
            ..wanted.clone()
        };
        let stage = self.stage();
        let text = serde_json::to_vec_pretty(&note)?;
        disk::put_small(disk, &stage.join(DRAFT), &stage.join(MOVING), &text)
    }

    /// A name that nothing has: what an earlier restore put aside at the same time stays apart.
    fn free_name(&self, disk: &dyn Disk, wanted: &str) -> String {
        let other = |nth: u32| format!("{wanted}-{nth}");
        let mut names = std::iter::once(wanted.to_owned()).chain((2..).map(other));
        let is_free = |name: &String| disk.stat(&self.folder.join(name)).is_err();
        names.find(is_free).unwrap_or_else(|| wanted.to_owned())
    }

    /// Moves it into place. Answers where what was there is now.
    pub(super) fn put_in_place(
        &self,
        disk: &dyn Disk,
        wanted: &Note,
    ) -> io::Result<Option<PathBuf>> {
        let stage = self.stage();
        let note = note(disk, &stage.join(MOVING)).ok_or(io::ErrorKind::NotFound)?;
        let aside = self.folder.join(&note.aside_folder);
        if !note.aside.is_empty() && disk.stat(&aside).is_err() {
            disk.create_dir(&aside, 0o700)?;
        }
        // What goes into it is lost with it until it is there for good.
        disk.sync_dir(&self.folder)?;
        for name in &note.aside {
            let (from, to) = (place_of(&self.folder, name), place_of(&aside, name));
            // Once it is aside, what has its name is what came into place.
            if disk.stat(&to).is_err() && disk.stat(&from).is_ok() {
                disk.rename_new(&from, &to)?;
            }
        }
        if !note.aside.is_empty() {
            disk.sync_dir(&aside)?;
        }
        for name in &note.names {
            let from = place_of(&stage.join(FILES), name);
            if disk.stat(&from).is_ok() {
                disk.rename_new(&from, &place_of(&self.folder, name))?;
            }
        }
        disk.sync_dir(&stage.join(FILES))?;
        disk.sync_dir(&self.folder)?;
        let text = serde_json::to_vec_pretty(wanted)?;
        disk::put_small(disk, &stage.join(DRAFT), &self.folder.join(MARKER), &text)?;
        Ok((!note.aside.is_empty()).then_some(aside))
    }

    /// Removes what a restore needed.
    pub(super) fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        let stage = self.stage();
        if disk.stat(&stage).is_ok() {
            disk::remove_tree(disk, &stage)?;
            disk.sync_dir(&self.folder)?;
        }
        Ok(())
    }
}

/// What is at the top of a root.
pub(super) fn top_names(snapshot: &Snapshot, root: Root) -> impl Iterator<Item = &str> {
    let entries = snapshot.entries.iter().filter(move |entry| entry.root == root);
    entries.map(|entry| entry.path.as_str()).filter(|path| !path.contains('/'))
}

/// What makes a root ready.
pub(super) struct Maker<'a> {
    pub(super) vault: &'a Vault,
    pub(super) ground: &'a Ground,
    /// Whether files are given to whom they belonged.
    pub(super) has_owners: bool,
    /// Whether the state takes whatever engine it finds for its own.
    pub(super) is_new_engine: bool,
}

impl Maker<'_> {
    /// Makes all of the root ready; what is ready already stays as it is.
    pub(super) fn make(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let files = self.ground.stage().join(FILES);
        let mut folders = vec![files.clone()];
        let disk = self.vault.disk.as_ref();
        let entries = || snapshot.entries.iter().filter(|entry| entry.root == self.ground.root);
        for entry in entries() {
            let place = place_of(&files, &entry.path);
            let wrong = || Error::disk("failed to write", &place);
            let is_there = match disk.stat(&place) {
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(wrong()(error)),
            };
            match &entry.what {
                What::Folder => folders.push(place.clone()),
                _ if is_there => continue,
                _ => {}
            }
            match &entry.what {
                What::Folder if is_there => {}
                What::Folder => disk.create_dir(&place, 0o700).map_err(wrong())?,
                What::Link { target } => {
                    disk.symlink(&place_of(Path::new(""), target), &place).map_err(wrong())?;
                    self.dress(entry, &place).map_err(wrong())?;
                }
                What::Same { of } => {
                    disk.link(&place_of(&files, of), &place).map_err(wrong())?;
                }
                What::File { .. } => self.file(entry, &place)?,
            }
        }
        // From the inside out: what is made in a folder changes its time.
        for entry in entries().filter(|entry| entry.what == What::Folder).rev_all() {
            let place = place_of(&files, &entry.path);
            self.dress(entry, &place).map_err(Error::disk("failed to write", &place))?;
        }
        for folder in folders.iter().rev() {
            disk.sync_dir(folder).map_err(Error::disk("failed to write", folder))?;
        }
        let stage = self.ground.stage();
        disk.sync_dir(&stage).map_err(Error::disk("failed to write", &stage))
    }

    fn file(&self, entry: &Entry, place: &Path) -> Result<(), Error> {
        let What::File { sha256, .. } = &entry.what else { return Ok(()) };
        let disk = self.vault.disk.as_ref();
        let wrong = || Error::disk("failed to write", place);
        let is_fixed = format::mode_of(entry).is_some_and(|mode| mode & 0o222 == 0);
        if self.ground.root == Root::Models && is_fixed && !self.vault.is_encrypted() {
            // Nobody ever changes it: one more name serves as well as a copy.
            if disk.link(&self.vault.path(sha256), place).is_ok() {
                return Ok(());
            }
        }
        let draft = self.ground.stage().join(DRAFT);
        if disk.stat(&draft).is_ok() {
            disk.remove_file(&draft).map_err(wrong())?;
        }
        let object = self.vault.path(sha256);
        let mut from = self.vault.read(sha256).map_err(Error::disk("failed to read", &object))?;
        let is_state = self.ground.root == Root::State && entry.path == "state.json";
        let mut file = disk.create(&draft).map_err(wrong())?;
        if is_state && self.is_new_engine {
            let mut text = Vec::new();
            copy(from.as_mut(), &mut text).map_err(wrong())?;
            io::Write::write_all(&mut file, &without_machine(&text)).map_err(wrong())?;
        } else {
            let (found, _) = copy(from.as_mut(), &mut file).map_err(wrong())?;
            if found != *sha256 {
                let object = self.vault.object(sha256);
                return Err(Error::Corrupt(format!("objects/{object} changed meanwhile")));
            }
        }
        file.sync().map_err(wrong())?;
        drop(file);
        self.dress(entry, &draft).map_err(wrong())?;
        disk.rename_new(&draft, place).map_err(wrong())
    }

    fn dress(&self, entry: &Entry, place: &Path) -> io::Result<()> {
        // A program that runs as somebody else does not come out of a backup.
        let mask = if entry.what == What::Folder { 0o7777 } else { 0o1777 };
        let is_link = matches!(entry.what, What::Link { .. });
        let dress = Dress {
            mode: format::mode_of(entry).filter(|_| !is_link).map(|mode| mode & mask),
            owner: self.has_owners.then_some(entry.owner),
            modified: format::modified_of(entry),
        };
        self.vault.disk.dress(place, &dress)
    }
}

/// An iterator from its end, for one that does not know its end.
trait RevAll: Iterator + Sized {
    fn rev_all(self) -> std::iter::Rev<std::vec::IntoIter<Self::Item>> {
        self.collect::<Vec<_>>().into_iter().rev()
    }
}

impl<T: Iterator> RevAll for T {}

/// The state without what is about the machine that it was on: its engine, its cards, its ports at
/// rest. What was given to apps to be reached by stays.
fn without_machine(text: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut state)) = serde_json::from_slice(text) else { return text.to_vec() };
    for name in ["engineId", "leases", "resting", "gpuErrors"] {
        state.remove(name);
    }
    let apps = state.get_mut("apps").and_then(Value::as_object_mut);
    for app in apps.into_iter().flat_map(|apps| apps.values_mut()) {
        let Some(app) = app.as_object_mut() else { continue };
        for name in ["gpus", "waitsForGpusSince", "gpuMends", "pulledGeneration", "badRevision"] {
            app.remove(name);
        }
    }
    serde_json::to_vec(&state).unwrap_or_else(|_| text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::disk::Machine;

    #[test]
    fn a_note_that_names_other_places_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        let told = |aside: &str, place: &str| {
            let mut good = Note::new("a".to_owned(), "s".to_owned());
            (good.aside, good.aside_folder) = (vec![aside.to_owned()], place.to_owned());
            std::fs::write(&path, serde_json::to_vec(&good).unwrap()).unwrap();
            note(&Machine, &path).is_some_and(|found| found == good)
        };
        assert!(told("state.json", ".before-restore-x") && told("%FF", ""));
        for bad in ["", ".", "..", "../x", "/etc", "a/b", "%2e%2e", "%zz"] {
            assert!(!told(bad, ""), "{bad}");
        }
        assert!(!told("x", "../x") && !told("x", "/etc"));
    }
}
