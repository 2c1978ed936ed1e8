//! An archive at a remote of rclone, which the operator has installed and set up. What is new is
//! written to a folder here, and sent from there; what is there already is never fetched.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Error, Name, Pruning, Vault,
    vault::{HEADER, KEY, OBJECTS, SNAPSHOTS},
};

/// How rclone says that a folder is not there.
const NO_FOLDER: i32 = 3;
/// How much of what it complains is told.
const SAID: usize = 600;
/// How much is written here before it is sent.
const BATCH: u64 = 1 << 30;

/// A remote of rclone, such as `store:backups/berth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    name: String,
    program: PathBuf,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rclone:{}", self.name)
    }
}

impl Remote {
    /// Reads `rclone:REMOTE:PATH`. None when it is something else.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let name = text.strip_prefix("rclone:")?;
        let is_right = name.contains(':')
            && !name.starts_with(['-', '/'])
            && !name.chars().any(char::is_control);
        Some(if is_right {
            let name = name.trim_end_matches('/').to_owned();
            Ok(Self { name, program: "rclone".into() })
        } else {
            Err("write `rclone:REMOTE:PATH`, as rclone itself names the place".to_owned())
        })
    }

    /// The same with another program of rclone's kind.
    #[must_use]
    pub fn by(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    fn at(&self, path: &str) -> String {
        if path.is_empty() || self.name.ends_with(':') {
            format!("{}{path}", self.name)
        } else {
            format!("{}/{path}", self.name)
        }
    }

    /// Runs rclone. None says that the folder is not there.
    fn run(&self, what: &str, args: &[&OsStr]) -> Result<Option<String>, Error> {
        let wrong = |why: String| Error::Remote { what: what.to_owned(), why };
        let mut command = Command::new(&self.program);
        command.args(args).args(["--stats=0"]);
        command.stdin(Stdio::null());
        let ended = command.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => wrong(format!("there is no {}", self.program.display())),
            _ => wrong(error.to_string()),
        })?;
        match ended.status.code() {
            Some(0) => Ok(Some(String::from_utf8_lossy(&ended.stdout).into_owned())),
            Some(NO_FOLDER) => Ok(None),
            code => {
                let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
                let end = said.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
                let said = said.get(end..).unwrap_or_default();
                let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
                Err(wrong(format!("ended with {code}: {said}")))
            }
        }
    }

    /// Runs rclone on a folder that must be there.
    fn must(&self, what: &str, args: &[&OsStr]) -> Result<(), Error> {
        if self.run(what, args)?.is_some() {
            return Ok(());
        }
        let why = "the folder is not there any more".to_owned();
        Err(Error::Remote { what: what.to_owned(), why })
    }

    fn list(&self, path: &str, is_deep: bool) -> Result<Option<Vec<String>>, Error> {
        let place = self.at(path);
        let mut args = vec!["lsf", "--files-only", &place];
        if is_deep {
            args.push("--recursive");
        }
        let args: Vec<_> = args.into_iter().map(OsStr::new).collect();
        let found = self.run(&format!("failed to list {place}"), &args)?;
        Ok(found.map(|text| text.lines().map(ToOwned::to_owned).collect()))
    }
}

/// Where an archive is written before it is sent, and read after it was fetched.
#[derive(Debug)]
pub struct Spool {
    remote: Remote,
    folder: PathBuf,
    waiting: u64,
}

impl Spool {
    /// The folder for a remote. Only one process uses it: the archive's lock is in it.
    pub fn new(remote: Remote, folder: &Path) -> Self {
        Self { remote, folder: folder.to_owned(), waiting: 0 }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fetches what says what is there: the header, the key, the snapshots. Answers whether there is an
    /// archive.
    pub fn fetch(&self) -> Result<bool, Error> {
        let wrong = Error::disk("failed to write", &self.folder);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(wrong)?;
        let top = self.remote.list("", false)?.unwrap_or_default();
        let has = |name: &str| top.iter().any(|found| found == name);
        if !has(HEADER) {
            if top.iter().any(|name| name != KEY) {
                return Err(Error::Foreign(self.remote.to_string()));
            }
            return Ok(false);
        }
        for name in [HEADER, KEY].into_iter().filter(|name| has(name)) {
            let (from, to) = (self.remote.at(name), self.folder.join(name));
            let args = [OsStr::new("copyto"), OsStr::new(&from), to.as_os_str()];
            self.remote.must(&format!("failed to fetch {from}"), &args)?;
        }
        // `sync` also takes away here what is not there any more.
        let snapshots = self.folder.join(SNAPSHOTS);
        if self.copy("sync", &self.remote.at(SNAPSHOTS), &snapshots)?.is_none() {
            let gone = fs::remove_dir_all(&snapshots);
            gone.or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(Error::disk("failed to empty", &snapshots)(error)),
            })?;
            let made = fs::create_dir_all(&snapshots);
            made.map_err(Error::disk("failed to write", &snapshots))?;
        }
        let objects = fs::create_dir_all(self.folder.join(OBJECTS));
        objects.map_err(Error::disk("failed to write", &self.folder))?;
        Ok(true)
    }

    /// Tells the archive what is at the remote.
    pub fn tell(&self, vault: &mut Vault) -> Result<(), Error> {
        let found = self.remote.list(OBJECTS, true)?.unwrap_or_default();
        vault.elsewhere = found.into_iter().collect::<BTreeSet<_>>();
        Ok(())
    }

    fn copy(&self, verb: &str, from: &str, to: &Path) -> Result<Option<String>, Error> {
        let args = [OsStr::new(verb), OsStr::new(from), to.as_os_str()];
        self.remote.run(&format!("failed to fetch {from}"), &args)
    }

    /// Sends what is new, when there is enough of it.
    pub fn written(&mut self, vault: &mut Vault, bytes: u64) -> Result<(), Error> {
        self.waiting += bytes;
        if self.waiting < BATCH {
            return Ok(());
        }
        self.send_objects(vault)
    }

    fn send_objects(&mut self, vault: &mut Vault) -> Result<(), Error> {
        let objects = self.folder.join(OBJECTS);
        let place = self.remote.at(OBJECTS);
        let args = [OsStr::new("move"), objects.as_os_str(), OsStr::new(&place)];
        self.send_head()?;
        let before = Self::local(&objects);
        self.remote.must(&format!("failed to send objects to {place}"), &args)?;
        vault.elsewhere.extend(before);
        self.waiting = 0;
        Ok(())
    }

    fn local(objects: &Path) -> Vec<String> {
        let folders = fs::read_dir(objects).into_iter().flatten().flatten();
        let names = folders.flat_map(|folder| {
            let part = folder.file_name().to_string_lossy().into_owned();
            let names = fs::read_dir(folder.path()).into_iter().flatten().flatten();
            names.map(move |it| format!("{part}/{}", it.file_name().to_string_lossy()))
        });
        names.collect()
    }

    /// The key goes before the header: with that, there is an archive.
    fn send_head(&self) -> Result<(), Error> {
        for name in [KEY, HEADER] {
            let path = self.folder.join(name);
            if path.exists() {
                let place = self.remote.at(name);
                let args = [OsStr::new("copyto"), path.as_os_str(), OsStr::new(&place)];
                self.remote.must(&format!("failed to send {place}"), &args)?;
            }
        }
        Ok(())
    }

    /// Sends everything: the objects, then the snapshot that needs them. It is there only when the
    /// remote says so.
    pub fn send(&mut self, vault: &mut Vault, name: &Name) -> Result<(), Error> {
        self.send_objects(vault)?;
        let file = vault.files()?.remove(name);
        let file = file.ok_or_else(|| Error::NoSnapshot(name.to_string()))?;
        let place = self.remote.at(&format!("{SNAPSHOTS}/{file}"));
        let path = self.folder.join(SNAPSHOTS).join(&file);
        let args = [OsStr::new("copyto"), path.as_os_str(), OsStr::new(&place)];
        let what = format!("failed to send {place}");
        self.remote.must(&what, &args)?;
        let there = self.remote.list(SNAPSHOTS, false)?.unwrap_or_default();
        if there.contains(&file) {
            return Ok(());
        }
        Err(Error::Remote {
            what,
            why: "it ended well, and the remote does not list it".to_owned(),
        })
    }

    /// Fetches these objects, but for those that are here.
    pub fn fetch_objects(&self, names: &[String]) -> Result<(), Error> {
        let paths: Vec<_> = names.iter().map(|name| format!("{OBJECTS}/{name}")).collect();
        let folder = self.folder.as_os_str();
        let from = self.remote.at("");
        self.with_list(&paths, |list| {
            let args = ["copy", "--files-from-raw"].map(OsStr::new);
            let args = [&args[..], &[list, OsStr::new(&from), folder]].concat();
            self.remote.must(&format!("failed to fetch objects from {from}"), &args)
        })
    }

    /// Removes what a pruning says: the snapshots first.
    pub fn prune(&self, pruning: &Pruning) -> Result<(), Error> {
        let (snapshots, objects) = pruning.paths();
        let place = self.remote.at("");
        for paths in [snapshots, objects].into_iter().filter(|paths| !paths.is_empty()) {
            self.with_list(&paths, |list| {
                let args = ["delete", "--files-from-raw"].map(OsStr::new);
                let args = [&args[..], &[list, OsStr::new(&place)]].concat();
                self.remote.must(&format!("failed to remove from {place}"), &args)
            })?;
        }
        Ok(())
    }

    /// Removes the objects that are here.
    pub fn forget_objects(&self) -> Result<(), Error> {
        let objects = self.folder.join(OBJECTS);
        let done = fs::remove_dir_all(&objects).and_then(|()| fs::create_dir_all(&objects));
        done.map_err(Error::disk("failed to empty", &objects))
    }

    fn with_list(
        &self,
        paths: &[String],
        work: impl FnOnce(&OsStr) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let list = self.folder.join("list");
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&list)?;
            paths.iter().try_for_each(|path| writeln!(file, "{path}"))?;
            file.flush()
        };
        write().map_err(Error::disk("failed to write", &list))?;
        let done = work(list.as_os_str());
        let _ = fs::remove_file(&list);
        done
    }
}
