//! The files of the log, as they are written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Deed, Draft, Error, FOLDER, Head, Record, Who, line, read_line};
use crate::model::Timestamp;

const CURRENT: &str = "audit.jsonl";
const HEAD: &str = "head.json";
const LOCK: &str = "lock";
/// Which part of a file holds its last record for sure.
const TAIL: u64 = 256 * 1024;
/// The head is written over in place: one sector, so that a crash leaves the old one or the new one.
const HEAD_LENGTH: usize = 512;
/// A record that is longer loses what was before and after.
const RECORD_MAX: usize = 64 * 1024;
/// So much room the disk must have before a change is let through.
const ROOM: u64 = 1 << 20;

/// The log, to be written to.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file_bytes_max: u64,
    files_max: usize,
    /// Keeps the threads of this process apart; a lock on a file keeps processes apart.
    writing: Mutex<()>,
}

impl Log {
    /// The log of this state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self::with(state_dir, 8 << 20, 32)
    }

    /// One whose files are as large, and as many, as said.
    pub fn with(state_dir: &Path, file_bytes_max: u64, files_max: usize) -> Self {
        let folder = state_dir.join(FOLDER);
        Self { folder, file_bytes_max, files_max, writing: Mutex::default() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a record could be written now: a change that can't be recorded is not made.
    pub fn check_ready(&self) -> Result<(), Error> {
        let open = || -> io::Result<()> {
            make_folder(&self.folder)?;
            append_to(&self.folder.join(CURRENT))?;
            let seen = rustix::fs::statvfs(&self.folder)?;
            if seen.f_bavail.saturating_mul(seen.f_frsize) < ROOM {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        };
        open().map_err(Error::at(&self.folder))
    }

    /// Writes a record to the disk. Answers its number and its hash.
    pub fn append(&self, deed: &Deed, now: Timestamp) -> Result<(u64, String), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(deed, now).map_err(Error::at(&self.folder))
    }

    fn write(&self, deed: &Deed, now: Timestamp) -> io::Result<(u64, String)> {
        make_folder(&self.folder)?;
        let _lock = lock(&self.folder)?;
        let head = match self.settle()? {
            Ok(head) => head,
            // What is missing stays missing: the chain goes on from the head, with a gap.
            Err((head, why)) => self.put(&head, &broken(why), now)?,
        };
        let head = self.put(&head, deed, now)?;
        Ok((head.seq, head.hash))
    }

    /// Where the chain goes on: at the head, when the files end there; else why they do not.
    fn settle(&self) -> io::Result<Result<Head, (Head, String)>> {
        let head = read_head(&self.folder)?;
        let last = self.mend(head.as_ref())?;
        let follows =
            |last: &Record, head: &Head| last.seq == head.seq + 1 && last.prev == head.hash;
        Ok(match (head, last) {
            (None, None) => Ok(Head::genesis()),
            (Some(head), None) if head.seq == 0 => Ok(head),
            (Some(head), Some(last)) if last.seq == head.seq && last.hash == head.hash => Ok(head),
            // The power went between the record and the head.
            (Some(head), Some(last)) if follows(&last, &head) => {
                Ok(Head { seq: last.seq, hash: last.hash, ..head })
            }
            (Some(head), last) => {
                let end = last.map_or(0, |last| last.seq);
                let why = format!("the files end with record {end}, the head is at {}", head.seq);
                Err((head, why))
            }
            (None, Some(last)) => {
                let first = self.first()?.unwrap_or_else(|| last.clone());
                let (first, before) = (first.seq, first.prev);
                let head = Head { seq: last.seq, hash: last.hash, first, before };
                Err((head, "the head was lost".to_owned()))
            }
        })
    }

    /// The last record. What a crash left behind it is taken away: it was never answered for.
    fn mend(&self, head: Option<&Head>) -> io::Result<Option<Record>> {
        let files = files(&self.folder)?;
        for path in files.iter().rev() {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let length = file.metadata()?.len();
            let from = length.saturating_sub(TAIL);
            file.seek(SeekFrom::Start(from))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(tail.get(..end).unwrap_or_default()).into_owned();
            let last = text.lines().next_back().and_then(read_line);
            if end < tail.len() {
                let is_all_there =
                    last.as_ref().map_or(0, |last| last.seq) >= head.map_or(0, |head| head.seq);
                if is_all_there {
                    file.set_len(from + u64::try_from(end).unwrap_or_default())?;
                } else {
                    file.seek(SeekFrom::End(0))?;
                    file.write_all(b"\n")?;
                }
                file.sync_all()?;
            }
            if last.is_some() || 0 < end {
                return Ok(last);
            }
        }
        Ok(None)
    }

    fn first(&self) -> io::Result<Option<Record>> {
        let files = files(&self.folder)?;
        Ok(files.first().and_then(|path| first_of(path)))
    }

    fn put(&self, head: &Head, deed: &Deed, now: Timestamp) -> io::Result<Head> {
        let draft = Draft { seq: head.seq + 1, at: now, deed, prev: &head.hash };
        let (mut text, mut hash) = line(&draft)?;
        if RECORD_MAX < text.len() {
            let (before, after) = (serde_json::Value::Null, "too long".into());
            let short = Deed { before, after, ..deed.clone() };
            (text, hash) = line(&Draft { deed: &short, ..draft })?;
        }
        let mut head = self.rotate(head.clone(), text.len())?;
        let path = self.folder.join(CURRENT);
        let is_new = !path.exists();
        let mut file = append_to(&path)?;
        let length = file.metadata()?.len();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a record must not stand before the next one.
            let _ = file.set_len(length);
            return Err(error);
        }
        if is_new {
            File::open(&self.folder)?.sync_all()?;
        }
        (head.seq, head.hash) = (head.seq + 1, hash);
        write_head(&self.folder, &head)?;
        Ok(head)
    }

    /// Puts the current file aside when it is full, and removes those that are too many.
    fn rotate(&self, mut head: Head, more: usize) -> io::Result<Head> {
        let path = self.folder.join(CURRENT);
        let length = fs::metadata(&path).map_or(0, |seen| seen.len());
        if length == 0 || length + u64::try_from(more).unwrap_or(0) <= self.file_bytes_max {
            return Ok(head);
        }
        let first = first_of(&path).map_or(head.seq, |record| record.seq);
        fs::rename(&path, self.folder.join(format!("audit-{first:012}.jsonl")))?;
        let files = files(&self.folder)?;
        let surplus = (files.len() + 1).saturating_sub(self.files_max);
        let Some(oldest) = files.get(surplus).and_then(|path| first_of(path)) else {
            return Ok(head);
        };
        // The head first: files that are older than it says are passed over.
        (head.first, head.before) = (oldest.seq, oldest.prev);
        write_head(&self.folder, &head)?;
        files.iter().take(surplus).try_for_each(fs::remove_file)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(head)
    }
}

fn broken(why: String) -> Deed {
    let who = Who { kind: "berth".to_owned(), name: "audit".to_owned(), role: None };
    Deed {
        who,
        from: None,
        action: "audit.broken".to_owned(),
        object: "audit".to_owned(),
        before: serde_json::Value::Null,
        after: why.into(),
        outcome: "failed".to_owned(),
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn lock(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600);
    let file = file.open(folder.join(LOCK))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The files of records, oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("audit-") && path.extension().is_some_and(|end| end == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    let current = folder.join(CURRENT);
    files.extend(current.exists().then_some(current));
    Ok(files)
}

fn first_of(path: &Path) -> Option<Record> {
    let mut text = String::new();
    File::open(path).ok()?.take(TAIL).read_to_string(&mut text).ok()?;
    read_line(text.lines().next()?)
}

/// The head; none when there is none, or it makes no sense.
pub(super) fn read_head(folder: &Path) -> io::Result<Option<Head>> {
    match fs::read_to_string(folder.join(HEAD)) {
        Ok(text) => Ok(serde_json::from_str(text.trim_end()).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_head(folder: &Path, head: &Head) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(head)?;
    bytes.resize(HEAD_LENGTH - 1, b' ');
    bytes.push(b'\n');
    let path = folder.join(HEAD);
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    if is_new { File::open(folder)?.sync_all() } else { Ok(()) }
}
