//! Letting old snapshots go, and then what no other one needs.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use super::{
    Error, Name, Snapshot, Vault,
    vault::{OBJECTS, SNAPSHOTS},
};

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Name>,
    /// The objects that only these need, or none at all, by their names.
    pub objects: Vec<String>,
    /// How many bytes they take.
    pub bytes: u64,
    /// The snapshots that are damaged and stay; while one does, no object goes.
    pub damaged: Vec<Name>,
    files: Vec<String>,
}

impl Pruning {
    /// As people read it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for name in &self.snapshots {
            let _ = writeln!(text, "- snapshot {name}");
        }
        let bytes = crate::model::format_bytes(self.bytes);
        let _ =
            writeln!(text, "- {} objects that no other one needs ({bytes})", self.objects.len());
        for name in &self.damaged {
            let _ = writeln!(text, "= snapshot {name} is damaged: no object goes while it stays");
        }
        text
    }

    /// What somebody should know of it.
    pub fn trouble(&self) -> Option<String> {
        let names: Vec<_> = self.damaged.iter().map(Name::as_str).collect();
        let (are, goes) = match names.len() {
            0 => return None,
            1 => ("is damaged and can't be restored; it goes", "it stays"),
            _ => ("are damaged and can't be restored; they go", "they stay"),
        };
        Some(format!(
            "{} {are} once enough newer ones are there, and no content goes while {goes}",
            names.join(", ")
        ))
    }

    /// The files that go, by their paths in the archive: snapshots first.
    pub(super) fn paths(&self) -> (Vec<String>, Vec<String>) {
        let snapshots = self.files.iter().map(|file| format!("{SNAPSHOTS}/{file}")).collect();
        let objects = self.objects.iter().map(|name| format!("{OBJECTS}/{name}")).collect();
        (snapshots, objects)
    }
}

/// What was let go.
pub type Pruned = Pruning;

/// What would go if the newest `keep` snapshots that can be read stay, and the newest one that lacks
/// nothing. One between them that is damaged counts for none, and stays: nobody knows what it needs,
/// so that no object goes meanwhile.
pub fn pruning(vault: &Vault, keep: usize) -> Result<Pruning, Error> {
    let files = vault.files()?;
    let (mut needed, mut has_whole) = (BTreeSet::new(), false);
    let mut need = |snapshot: &Snapshot| {
        needed.extend(snapshot.contents().into_keys().map(|content| vault.object(content)));
    };
    let (mut kept, mut damaged) = (0, Vec::new());
    for name in files.keys().rev() {
        if keep.max(1) <= kept {
            break;
        }
        match vault.snapshot(name) {
            Ok(snapshot) => {
                has_whole |= !snapshot.incomplete;
                need(&snapshot);
                kept += 1;
            }
            Err(Error::Corrupt(_)) => damaged.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    let going = files.len() - kept - damaged.len();
    let mut spared = None;
    for name in files.keys().take(going).rev().filter(|_| !has_whole) {
        // Whoever can't read an old one loses nothing by its going.
        if let Some(snapshot) = vault.snapshot(name).ok().filter(|it| !it.incomplete) {
            need(&snapshot);
            spared = Some(name.clone());
            break;
        }
    }
    damaged.reverse();
    let mut pruning = Pruning { damaged, ..Pruning::default() };
    for (name, file) in files.into_iter().take(going) {
        if Some(&name) == spared.as_ref() {
            continue;
        }
        pruning.snapshots.push(name);
        pruning.files.push(file);
    }
    let (local, bytes) = objects(vault)?;
    let elsewhere = vault.elsewhere.iter().cloned();
    let all: BTreeSet<_> = local.into_iter().chain(elsewhere).collect();
    let may_go = |name: &String| pruning.damaged.is_empty() && !needed.contains(name);
    pruning.objects = all.into_iter().filter(may_go).collect();
    let sizes = pruning.objects.iter().filter_map(|name| bytes.get(name));
    pruning.bytes = sizes.sum();
    Ok(pruning)
}

type Sizes = std::collections::BTreeMap<String, u64>;

/// Every object of the folder, and how long each is.
fn objects(vault: &Vault) -> Result<(Vec<String>, Sizes), Error> {
    let folder = vault.root.join(OBJECTS);
    let list = |path: &Path| match vault.disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        found => found.map_err(Error::disk("failed to read", path)),
    };
    let (mut names, mut sizes) = (Vec::new(), Sizes::new());
    for part in list(&folder)? {
        for name in list(&folder.join(&part))? {
            // What is not named as an object is somebody else's.
            let (Some(part), Some(name)) = (part.to_str(), name.to_str()) else { continue };
            if crate::model::Digest::parse(name).is_some() && name.starts_with(part) {
                let stat = vault.disk.stat(&folder.join(part).join(name));
                let name = format!("{part}/{name}");
                sizes.insert(name.clone(), stat.map_or(0, |stat| stat.size));
                names.push(name);
            }
        }
    }
    Ok((names, sizes))
}

/// Lets go what is beyond the newest `keep`: the snapshots first, so that none is ever there that
/// lacks something.
pub fn prune(vault: &mut Vault, keep: usize) -> Result<Pruned, Error> {
    vault.clear_drafts()?;
    let pruning = pruning(vault, keep)?;
    let wrong = |path: &PathBuf| Error::disk("failed to remove", path);
    let (snapshots, objects) = pruning.paths();
    for file in &snapshots {
        let path = vault.root.join(file);
        vault.disk.remove_file(&path).map_err(wrong(&path))?;
    }
    let folder = vault.root.join(SNAPSHOTS);
    if !snapshots.is_empty() {
        vault.disk.sync_dir(&folder).map_err(wrong(&folder))?;
    }
    for file in &objects {
        let path = vault.root.join(file);
        match vault.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(wrong(&path)(error));
            }
            _ => {}
        }
    }
    Ok(pruning)
}
