//! Bringing a snapshot back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

pub use super::stage::{Ground, Way};
use super::{
    Error, Name, Root, Roots, Snapshot, Vault, What, disk,
    stage::{Maker, Note, top_names},
};
use crate::model::{Digest, Timestamp, format_bytes};

/// How many flaws an error names.
const SHOWN: usize = 5;

/// What is to be brought back, and how.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Where it is brought back to.
    pub targets: Roots,
    /// Only these roots; all when it is empty.
    pub only: BTreeSet<Root>,
    /// Whether what is there goes aside, instead of being a reason not to begin.
    pub is_over: bool,
    /// Whether Berth takes whatever engine it finds for its own.
    pub is_new_engine: bool,
    /// Whether files are given to whom they belonged: only root can.
    pub has_owners: bool,
    /// Now.
    pub now: Timestamp,
}

/// What was brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The snapshot.
    pub name: Name,
    /// How many files.
    pub files: usize,
    /// How many bytes.
    pub bytes: u64,
    /// Where what was there is now.
    pub aside: Vec<PathBuf>,
    /// Whether all was there already.
    pub was_done: bool,
}

impl Restore {
    fn roots(&self, snapshot: &Snapshot) -> Vec<Root> {
        let is_wanted = |root: &Root| self.only.is_empty() || self.only.contains(root);
        snapshot.roots_in_it().into_iter().filter(is_wanted).collect()
    }

    /// Finds out how every root stands, and refuses what can't be done. Changes nothing.
    pub fn look(
        &self,
        vault: &Vault,
        name: &Name,
        snapshot: &Snapshot,
    ) -> Result<Vec<Ground>, Error> {
        let roots = self.roots(snapshot);
        if let Some(root) = self.only.iter().find(|root| !roots.contains(root)) {
            return Err(Error::Refused(format!("the snapshot has no {root}")));
        }
        let mut grounds = Vec::new();
        for root in roots {
            let Some(folder) = self.targets.get(root) else {
                return Err(Error::Refused(format!("nobody said where {root} belong")));
            };
            let is_root_above = |name: &&str| {
                let path = folder.join(name);
                self.targets.0.iter().any(|(other, at)| *other != root && at.starts_with(&path))
            };
            if let Some(name) = top_names(snapshot, root).find(is_root_above) {
                let why = format!("`{name}` of {root} would be where another folder is to be");
                return Err(Error::Refused(why));
            }
            grounds.push(Ground::look(
                vault.disk.as_ref(),
                root,
                &self.targets,
                (&note(vault, name), &top_names(snapshot, root).collect()),
            )?);
        }
        let is_begun = grounds.iter().any(|ground| ground.has_stage);
        let is_all_done = grounds.iter().all(|ground| ground.way == Way::Done);
        if !is_begun && (self.is_over || !is_all_done) {
            // An earlier restore of the same is over; what it brought is as good as anything else.
            for ground in &mut grounds {
                ground.way = Way::Fresh;
            }
        }
        let open = |ground: &&Ground| matches!(ground.way, Way::Fresh | Way::Resume);
        if !self.is_over {
            grounds.iter().filter(open).try_for_each(Ground::check_empty)?;
        }
        Ok(grounds)
    }
}

fn note(vault: &Vault, name: &Name) -> Note {
    let archive = vault.header().id.clone();
    Note::new(archive, name.to_string())
}

/// What a restore would do, as people read it.
pub fn render(snapshot: &Snapshot, grounds: &[Ground]) -> String {
    let mut text = String::new();
    for ground in grounds {
        let of_it = snapshot.entries.iter().filter(|entry| entry.root == ground.root);
        let files = of_it.filter_map(|entry| match &entry.what {
            What::File { size, .. } => Some(*size),
            _ => None,
        });
        let (count, bytes) = files.fold((0_u64, 0), |(count, sum): (u64, u64), size| {
            (count + 1, sum.saturating_add(size))
        });
        let how = match ground.way {
            Way::Fresh => "",
            Way::Resume | Way::Moving => ", taken up where it was broken off",
            Way::Done => ", in place already",
        };
        let (root, place) = (ground.root, ground.folder.display());
        let _ = writeln!(text, "{root}: {count} files ({}) to {place}{how}", format_bytes(bytes));
        if !ground.aside.is_empty() && matches!(ground.way, Way::Fresh | Way::Resume) {
            let _ = writeln!(text, "  aside: {}", ground.aside.join(", "));
        }
    }
    for what in &snapshot.left_out {
        let _ = writeln!(text, "not in the backup: {what}");
    }
    text
}

/// Every content that these roots need.
pub fn needed<'a>(snapshot: &'a Snapshot, grounds: &[Ground]) -> BTreeMap<&'a Digest, u64> {
    let roots: BTreeSet<_> = grounds.iter().map(|ground| ground.root).collect();
    let entries = snapshot.entries.iter().filter(|entry| roots.contains(&entry.root));
    let files = entries.filter_map(|entry| match &entry.what {
        What::File { size, sha256, .. } => Some((sha256, *size)),
        _ => None,
    });
    files.collect()
}

/// Brings a snapshot back. Nothing is touched before all of it was read and compared; broken off at
/// any step, the same again goes on with it.
pub fn restore(vault: &Vault, name: &Name, order: &Restore) -> Result<Restored, Error> {
    let snapshot = vault.snapshot(name)?;
    let grounds = order.look(vault, name, &snapshot)?;
    let needed = needed(&snapshot, &grounds);
    let restored = Restored {
        name: name.clone(),
        files: needed.len(),
        bytes: needed.values().fold(0, |sum: u64, size| sum.saturating_add(*size)),
        aside: Vec::new(),
        was_done: false,
    };
    if grounds.iter().all(|ground| ground.way == Way::Done && !ground.has_stage) {
        return Ok(Restored { was_done: true, ..restored });
    }
    let is_moving = grounds.iter().any(|ground| ground.way == Way::Moving);
    let is_open = |ground: &Ground| matches!(ground.way, Way::Fresh | Way::Resume);
    if grounds.iter().any(is_open) {
        check(vault, &needed)?;
    }
    let disk = vault.disk.as_ref();
    let _lock = hold(vault, order, &grounds)?;
    let wanted = note(vault, name);
    let wrong = |ground: &Ground| Error::disk("failed to restore", &ground.folder);
    let begin = |ground: &Ground| ground.unmark(disk).map_err(wrong(ground));
    grounds.iter().filter(|_| !is_moving).try_for_each(begin)?;
    for ground in grounds.iter().filter(|ground| is_open(ground)) {
        ground.begin(disk, &wanted).map_err(wrong(ground))?;
        let Restore { has_owners, is_new_engine, .. } = *order;
        Maker { vault, ground, has_owners, is_new_engine }.make(&snapshot)?;
    }
    for ground in grounds.iter().filter(|ground| is_open(ground)) {
        ground.say_moving(disk, &snapshot, &wanted, order.now).map_err(wrong(ground))?;
    }
    let mut aside = Vec::new();
    for ground in grounds.iter().filter(|ground| ground.way != Way::Done) {
        aside.extend(ground.put_in_place(disk, &wanted).map_err(wrong(ground))?);
    }
    for ground in &grounds {
        ground.clear(disk).map_err(wrong(ground))?;
    }
    Ok(Restored { aside, ..restored })
}

fn check(vault: &Vault, needed: &BTreeMap<&Digest, u64>) -> Result<(), Error> {
    let flaws = needed.iter().filter_map(|(content, size)| {
        let why = vault.check(content, *size).err()?;
        Some(format!("objects/{} {why}", vault.object(content)))
    });
    let flaws: Vec<_> = flaws.take(SHOWN).collect();
    if flaws.is_empty() { Ok(()) } else { Err(Error::Corrupt(flaws.join("; "))) }
}

/// Keeps a Berth from starting on a state that is half there.
fn hold(
    vault: &Vault,
    order: &Restore,
    grounds: &[Ground],
) -> Result<Option<Box<dyn std::any::Any + Send + Sync>>, Error> {
    let Some(state) = order.targets.get(Root::State) else { return Ok(None) };
    if !grounds.iter().any(|ground| ground.root == Root::State) && !is_there(vault, state) {
        return Ok(None);
    }
    let disk = vault.disk.as_ref();
    disk::make_dirs(disk, state, 0o700).map_err(Error::disk("failed to make", state))?;
    match disk.hold(&state.join("lock"), false) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::Runs(state.to_owned()))
        }
        Err(error) => Err(Error::disk("failed to lock", state)(error)),
    }
}

fn is_there(vault: &Vault, path: &Path) -> bool {
    vault.disk.stat(path).is_ok()
}
