//! The folder of compose files: written whole, and only what Berth wrote is ever replaced.
//!
//! A compose file's second line has the digest of all that follows, and of the Dockerfile beside
//! it. A file that does not fit its digest was edited, one without was made by somebody else: such
//! a file is kept under another name (`.orig`) before Berth's takes its place, and stays where it
//! is when the app goes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::render::digest;
use crate::model::Digest;

/// The name of a compose file.
pub const COMPOSE_FILE: &str = "docker-compose.yaml";
/// The name of a Dockerfile.
const DOCKERFILE: &str = "Dockerfile";
/// The name of a README.
const README: &str = "README.md";
const README_MARK: &str = "<!-- Written by Berth; an edited copy is moved aside. berth: ";
const HEAD: &str = "# Written by Berth from what it runs; an edited copy is moved aside.";
const MARK: &str = "# berth:";
/// A larger file is nothing that Berth wrote.
const BYTES_MAX: u64 = 4 << 20;

/// What was found in place of a file that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same: nothing was written.
    Same,
    /// Nothing, or what Berth wrote before.
    Own,
    /// Somebody's own; it is here now.
    Kept(PathBuf),
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which is made when something is written.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where an app's Dockerfile lies.
    pub fn dockerfile(&self, app: &str) -> PathBuf {
        self.root.join(app).join(DOCKERFILE)
    }

    /// Whether Berth has written a file for this app.
    pub fn has(&self, app: &str) -> bool {
        is_own(&self.root.join(app).join(COMPOSE_FILE))
    }

    /// The apps that Berth has written files for.
    pub fn apps(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut apps: Vec<_> = names.filter(|name| self.has(name)).collect();
        apps.sort_unstable();
        apps
    }

    /// The compose files below it that somebody else has written or changed.
    pub fn others(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path()).chain([self.root.clone()]);
        let files = folders.map(|folder| folder.join(COMPOSE_FILE));
        files.filter(|file| fs::symlink_metadata(file).is_ok() && !is_own(file)).collect()
    }

    /// Writes an app's files. Answers the files of somebody else that were moved aside.
    pub fn write(
        &self,
        app: &str,
        text: &str,
        dockerfile: Option<&[u8]>,
    ) -> io::Result<Vec<Found>> {
        let folder = self.root.join(app);
        make(&folder)?;
        let file = folder.join(COMPOSE_FILE);
        let before = said_of_dockerfile(&file);
        let told = dockerfile.map(|bytes| Digest::of_bytes(bytes).to_string());
        let beside = self.dockerfile(app);
        let is_ours = |path: &Path| {
            // Of a write that was cut off, the Dockerfile is the new one already.
            let seen = read(path).map(|bytes| Digest::of_bytes(&bytes).to_string());
            seen.is_some() && (seen == before || seen == told)
        };
        let mut found = Vec::new();
        match dockerfile {
            Some(bytes) => found.push(put(&beside, bytes, is_ours(&beside))?),
            None if is_ours(&beside) => fs::remove_file(&beside)?,
            None => {}
        }
        found.push(put(&file, whole(text, told.as_deref()).as_bytes(), is_own(&file))?);
        Ok(found)
    }

    /// Writes an app's README, or removes it when there is none for it.
    pub fn write_readme(&self, app: &str, text: Option<&str>) -> io::Result<Found> {
        let file = self.root.join(app).join(README);
        match text {
            Some(text) => {
                make(&self.root.join(app))?;
                let whole = format!("{README_MARK}{} -->\n{text}", digest(text));
                put(&file, whole.as_bytes(), is_own_readme(&file))
            }
            None if is_own_readme(&file) => fs::remove_file(&file).map(|()| Found::Own),
            None => Ok(Found::Same),
        }
    }

    /// Writes the file that has them all, or removes it when there is none.
    pub fn write_main(&self, text: Option<&str>) -> io::Result<Found> {
        let file = self.root.join(COMPOSE_FILE);
        match text {
            Some(text) => {
                make(&self.root)?;
                put(&file, whole(text, None).as_bytes(), is_own(&file))
            }
            None if is_own(&file) => fs::remove_file(&file).map(|()| Found::Own),
            None => Ok(Found::Same),
        }
    }

    /// Removes an app's files, those that Berth wrote.
    pub fn remove(&self, app: &str) -> io::Result<()> {
        let folder = self.root.join(app);
        let (file, dockerfile) = (folder.join(COMPOSE_FILE), folder.join(DOCKERFILE));
        if !is_own(&file) {
            return Ok(());
        }
        let told = said_of_dockerfile(&file);
        let seen = read(&dockerfile).map(|bytes| Digest::of_bytes(&bytes).to_string());
        if told.is_some() && seen == told {
            fs::remove_file(&dockerfile)?;
        }
        self.write_readme(app, None)?;
        fs::remove_file(&file)?;
        // What somebody put there keeps the folder.
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file's text with its head.
fn whole(text: &str, dockerfile: Option<&str>) -> String {
    let beside = dockerfile.map(|digest| format!(" Dockerfile {digest}")).unwrap_or_default();
    format!("{HEAD}\n{MARK} {}{beside}\n{text}", digest(text))
}

/// The second line's words, and the text below it.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once('\n')?;
    let (line, text) = rest.split_once('\n')?;
    Some((line.strip_prefix(MARK)?.trim(), text))
}

fn is_own(file: &Path) -> bool {
    let Some(bytes) = read(file) else { return false };
    let Ok(text) = std::str::from_utf8(&bytes) else { return false };
    let said = parts(text);
    said.is_some_and(|(words, text)| words.split(' ').next() == Some(digest(text).as_str()))
}

/// A README that Berth wrote, and nobody has changed.
fn is_own_readme(file: &Path) -> bool {
    let Some(bytes) = read(file) else { return false };
    let Ok(text) = std::str::from_utf8(&bytes) else { return false };
    let said = text.strip_prefix(README_MARK).and_then(|rest| rest.split_once(" -->\n"));
    said.is_some_and(|(told, text)| told == digest(text).as_str())
}

/// The digest of the Dockerfile beside a compose file, as that says.
fn said_of_dockerfile(file: &Path) -> Option<String> {
    let bytes = read(file)?;
    let (words, _) = parts(std::str::from_utf8(&bytes).ok()?)?;
    words.split(" Dockerfile ").nth(1).map(ToOwned::to_owned)
}

/// A file's bytes; none when there is none that Berth could have written.
fn read(file: &Path) -> Option<Vec<u8>> {
    let seen = fs::symlink_metadata(file).ok()?;
    (seen.is_file() && seen.len() <= BYTES_MAX).then(|| fs::read(file).ok())?
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Puts a file in place as a whole, unless it is there already.
fn put(file: &Path, bytes: &[u8], is_own: bool) -> io::Result<Found> {
    if read(file).is_some_and(|seen| seen == bytes) {
        return Ok(Found::Same);
    }
    let is_there = fs::symlink_metadata(file).is_ok();
    let kept = if is_there && !is_own { Some(set_aside(file)?) } else { None };
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&new, file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(kept.map_or(Found::Own, Found::Kept))
}

/// Gives somebody's file a name of its own, and takes nobody's else.
fn set_aside(file: &Path) -> io::Result<PathBuf> {
    for nth in 1..=1000 {
        let mut name = file.as_os_str().to_owned();
        name.push(".orig");
        if 1 < nth {
            name.push(format!("-{nth}"));
        }
        let aside = PathBuf::from(name);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, file, rustix::fs::CWD, &aside, flags) {
            Ok(()) => return Ok(aside),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other(format!("{} was edited too often: tidy it up", file.display())))
}
