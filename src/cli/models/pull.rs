//! `berth models pull`: a model into a file, several parts at once, gone on with after a break.
//!
//! Beside the file there are, until it is whole, `.FILE.part` with what has come and
//! `.FILE.part.json` with which parts that are and of which content.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{BLOCK, other, progress::Progress, unreadable};
use crate::cli::{
    document::text,
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};
use crate::model::Digest;
use crate::store::Key;

/// How long a part is.
const PART: u64 = 16 << 20;
/// How many parts come at once.
const AT_ONCE: usize = 4;
/// How often a part is asked for before it is given up.
const TRIES: usize = 3;

/// What has come of a model.
#[derive(Debug, Serialize, Deserialize)]
struct Come {
    etag: String,
    size: u64,
    parts: BTreeSet<u64>,
}

/// A model that is being fetched.
struct Pull {
    path: String,
    file: fs::File,
    notes: PathBuf,
    come: Mutex<Come>,
    progress: Progress,
}

pub(super) async fn pull(
    name: &Key,
    file: &Path,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let info = server.get(&format!("{}/info", name.path())).await?;
    let found = Key { version: text(&info, "/version").to_owned(), ..name.clone() };
    let (size, etag) = (info["size"].as_u64().unwrap_or_default(), text(&info, "/etag").to_owned());
    let beside = |suffix: &str| {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let wanted = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder.unwrap_or_else(|| Path::new(".")).join(format!(".{wanted}.part{suffix}"))
    };
    let (part, notes) = (beside(""), beside(".json"));
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let opened = options.open(&part).map_err(unreadable(&part))?;
    take(&opened, &part)?;
    let said = text(&info, "/sha256");
    let come = known(&notes, &part, (&etag, said), size);
    opened.set_len(size).map_err(unreadable(&part))?;
    let had: u64 = come.parts.iter().map(|at| PART.min(size - at * PART)).sum();
    let progress = Progress::new(output.progress(), &format!("model/{found}"), size, had);
    let path = found.path();
    let pull = Pull { path, file: opened, notes, come: Mutex::new(come), progress };
    let pulled = pull.all(server).await;
    pull.progress.end();
    pulled?;
    let digest = digest(&pull.file).map_err(unreadable(&part))?;
    let _ = fs::remove_file(&pull.notes);
    if !said.is_empty() && said != digest.as_str() {
        let _ = fs::remove_file(&part);
        return Err(other(&found));
    }
    pull.file.sync_all().map_err(unreadable(&part))?;
    fs::rename(&part, file).map_err(unreadable(file))?;
    output.line(&plain(&format!("{} is model/{found}: {digest}", file.display())))?;
    Ok(Exit::Done)
}

/// Keeps other pulls into the same file out.
fn take(opened: &fs::File, part: &Path) -> Result<(), Error> {
    let is_mine =
        || {
            opened.try_lock().is_ok()
                && opened.metadata().ok().zip(fs::metadata(part).ok()).is_some_and(
                    |(mine, there)| (mine.dev(), mine.ino()) == (there.dev(), there.ino()),
                )
        };
    let taken = || Error::new(Exit::Trouble, format!("{} is being written", part.display()));
    is_mine().then_some(()).ok_or_else(|| taken().why("another pull into this file is under way"))
}

/// What has come before, if it is of the same content, and if that can be checked at the end.
fn known(notes: &Path, part: &Path, (etag, sha256): (&str, &str), size: u64) -> Come {
    let fresh = Come { etag: etag.to_owned(), size, parts: BTreeSet::new() };
    let is_there = fs::metadata(part).is_ok_and(|meta| meta.len() == size) && !sha256.is_empty();
    let read = fs::read(notes).ok().filter(|_| is_there);
    let come: Option<Come> = read.and_then(|text| serde_json::from_slice(&text).ok());
    let mut come = come.filter(|it| it.etag == etag && it.size == size).unwrap_or(fresh);
    come.parts.retain(|at| at.saturating_mul(PART) < size);
    come
}

fn digest(file: &fs::File) -> io::Result<Digest> {
    let mut file = file.try_clone()?;
    io::Seek::rewind(&mut file)?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(Digest::of_hash(hasher.finalize().into())),
            length => hasher.update(&block[..length]),
        }
    }
}

impl Pull {
    /// Fetches what is missing.
    async fn all(&self, server: &Server) -> Result<(), Error> {
        let missing: Vec<_> = {
            let come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
            (0..come.size.div_ceil(PART)).filter(|at| !come.parts.contains(at)).collect()
        };
        let parts = missing.into_iter().map(|at| self.part(server, at));
        stream::iter(parts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn part(&self, server: &Server, at: u64) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_part(server, at).await {
                Err(error) if tries < TRIES && error.exit() == Exit::Unreachable => {}
                done => return done,
            }
        }
    }

    async fn try_part(&self, server: &Server, at: u64) -> Result<(), Error> {
        let (etag, size) = {
            let come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
            (come.etag.clone(), come.size)
        };
        let (from, to) = (at * PART, size.min((at + 1) * PART));
        let mut parts = server.range(&self.path, (from, to - 1), &etag).await?;
        let length = to - from;
        if parts.status != 206 {
            let what = "the model was changed while it was fetched: begin again";
            let _ = fs::remove_file(&self.notes);
            return Err(Error::new(Exit::NotSo, what));
        }
        let mut written = 0;
        while let Some(block) = parts.next().await? {
            let more = u64::try_from(block.len()).unwrap_or(u64::MAX);
            if length < written + more {
                return Err(Error::new(
                    Exit::Trouble,
                    "the controller sent more than was asked for",
                ));
            }
            let put = self.file.write_all_at(&block, from + written);
            put.map_err(unreadable(&self.notes.with_extension("")))?;
            written += more;
            self.progress.add(more);
        }
        if written < length {
            self.progress.take_back(written);
            return Err(Error::new(Exit::Unreachable, "the controller's answer broke off"));
        }
        let mut come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
        come.parts.insert(at);
        let text = serde_json::to_vec(&*come).unwrap_or_default();
        drop(come);
        let draft = self.notes.with_extension("new");
        let kept = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.notes));
        match kept {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                Err(unreadable(&self.notes)(error))
            }
            _ => Ok(()),
        }
    }
}
