//! What there is to be kept.

use std::{
    collections::BTreeSet,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    Data, Error, Root, Roots,
    disk::{Disk, Sort, Stat},
    is_own_name,
};

/// Something that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In which root.
    pub root: Root,
    /// Where in it.
    pub path: PathBuf,
    /// What is known of it.
    pub stat: Stat,
    /// What it says, when it is a link.
    pub target: Option<PathBuf>,
}

/// Everything that is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The roots that are there.
    pub roots: BTreeSet<Root>,
    /// What is to be kept: folders before what is in them.
    pub found: Vec<Found>,
    /// What is not kept, and why.
    pub left_out: BTreeSet<String>,
    /// What could not be looked at.
    pub unread: Vec<String>,
}

/// What of the roots is kept.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Where they are.
    pub roots: &'a Roots,
    /// The apps whose data is kept.
    pub data: &'a Data,
    /// Whether nobody reads the archive without its key.
    pub is_sealed: bool,
    /// The archive itself, which is not kept in itself.
    pub archive: &'a Path,
    /// Only the folders of these apps, or everything but them.
    pub apps: (&'a BTreeSet<String>, bool),
}

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Take {
    Yes,
    /// It can be made again, or means nothing elsewhere.
    No,
    /// It is worth saying that it is not kept.
    Said(String),
}

/// Looks at everything.
pub fn survey(disk: &dyn Disk, scope: &Scope<'_>) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    for (root, folder) in &scope.roots.0 {
        if *root == Root::Secrets && !scope.is_sealed {
            if disk.stat(folder).is_ok() {
                survey.left_out.insert(secret("the folder of secrets"));
            }
            continue;
        }
        match disk.stat(folder) {
            Ok(stat) if stat.sort == Sort::Folder => {}
            Ok(_) => return Err(Error::Refused(format!("{} is no folder", folder.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::disk("failed to read", folder)(source)),
        }
        survey.roots.insert(*root);
        let mut walk = Walk { disk, scope, root: *root, folder, survey: &mut survey };
        walk.folder(Path::new("")).map_err(Error::disk("failed to read", folder))?;
    }
    Ok(survey)
}

fn secret(what: &str) -> String {
    format!("{what}: only an encrypted backup holds secrets")
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    scope: &'a Scope<'a>,
    root: Root,
    folder: &'a Path,
    survey: &'a mut Survey,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        for name in self.disk.list(&self.folder.join(path))? {
            let path = path.join(name);
            let place = self.folder.join(&path);
            if place == self.scope.archive || self.scope.roots.is_root(&place) {
                continue;
            }
            match self.rule(&path) {
                Take::Yes => {}
                Take::No => continue,
                Take::Said(what) => {
                    // Of an empty folder nothing is lacking.
                    if !self.disk.list(&place).is_ok_and(|names| names.is_empty()) {
                        self.survey.left_out.insert(what);
                    }
                    continue;
                }
            }
            if let Err(error) = self.one(&path) {
                self.unread(&path, &error);
            }
        }
        Ok(())
    }

    /// What went while it was looked at is not there; everything else is worth telling.
    fn unread(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            let place = self.folder.join(path);
            self.survey.unread.push(format!("{} could not be read: {error}", place.display()));
        }
    }

    fn one(&mut self, path: &Path) -> io::Result<()> {
        let place = self.folder.join(path);
        let stat = self.disk.stat(&place)?;
        let target = match stat.sort {
            Sort::Link => Some(self.disk.read_link(&place)?),
            Sort::Other => return Ok(()),
            Sort::File | Sort::Folder => None,
        };
        self.survey.found.push(Found { root: self.root, path: path.to_owned(), stat, target });
        if stat.sort == Sort::Folder {
            let before = self.survey.found.len();
            if let Err(error) = self.folder(path) {
                // It went, or nobody may look into it.
                self.survey.found.truncate(before);
                self.unread(path, &error);
            }
        }
        Ok(())
    }

    fn rule(&self, path: &Path) -> Take {
        let parts: Vec<_> = path.iter().map(OsStrExt::as_bytes).collect();
        if parts.first().is_some_and(|first| is_own_name(first)) {
            return Take::No;
        }
        let parts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part)).collect();
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        match self.root {
            Root::Manifests | Root::Secrets => Take::Yes,
            Root::State => self.of_state(&parts),
            Root::Models => of_models(&parts),
            Root::Workspaces => self.of_workspaces(&parts),
        }
    }

    fn of_state(&self, parts: &[&str]) -> Take {
        match parts {
            // Locks, and what is made again: compose files, lists of packages, checkouts.
            ["lock" | "tokens.lock" | "compose" | "packages" | "sources"] | ["audit", "lock"] => {
                Take::No
            }
            [name] if Path::new(name).extension().is_some_and(|end| end == "new") => Take::No,
            ["age.key" | "secret.key" | "secrets" | "tls"] if !self.scope.is_sealed => {
                Take::Said(secret(&format!("`{}` in the state folder", parts.concat())))
            }
            _ => Take::Yes,
        }
    }

    fn of_workspaces(&self, parts: &[&str]) -> Take {
        let Some(app) = parts.first() else { return Take::Yes };
        let (apps, is_only) = self.scope.apps;
        if app.starts_with('.') || apps.contains(*app) != is_only {
            return Take::No;
        }
        if !self.scope.data.has(app) {
            return Take::Said(format!("the data of `{app}`: it was not asked for"));
        }
        match parts {
            [_] | [_, "data", ..] | [_, "metadata.json"] => Take::Yes,
            _ => Take::No,
        }
    }
}

/// What is on its way, what is made again, and what the disk has spoilt stays.
fn of_models(parts: &[&str]) -> Take {
    match parts {
        [".store", "uploads" | "partial" | "reports" | "mounts" | "lock"] => Take::No,
        [".store", "quarantine"] => {
            Take::Said("models that the disk has changed (`.store/quarantine`)".to_owned())
        }
        _ => Take::Yes,
    }
}
