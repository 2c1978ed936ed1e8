//! A build context: a folder as a tar stream, as an engine takes it.
//!
//! # Guarantees
//! - The same files give the same bytes: entries are sorted, times and owners are fixed, and of
//!   the permissions only "may be executed" is kept (fault B06).
//! - Nothing outside the folder is read: links are written as links and never followed, and each
//!   folder is opened within the one above it (fault B05).
//! - The context is never in memory as a whole, and dropping the stream ends its thread.
//! - A stream that ends without an error is complete.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat},
    io::Errno,
};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;

use super::ignore::{Ignore, Verdict};
use super::selection::{Part, Selection};

/// How many bytes are sent at once.
const CHUNK: usize = 64 * 1024;
/// How many chunks may wait for the engine.
const CHUNKS: usize = 4;
/// How deep folders may lie in each other; each level holds an open file.
const DEPTH: usize = 64;
/// How large a `.dockerignore` file may be.
const IGNORE_BYTES: u64 = 64 * 1024;
/// When every file was modified: 1980-01-02. It is fixed, and no earlier because zip archives,
/// and with them many build tools, know no earlier year.
const MODIFIED: u64 = 315_619_200;
/// What says which files to leave out.
const IGNORE_FILE: &str = ".dockerignore";

/// What goes into a context.
#[derive(Clone, Debug)]
pub struct ContextOptions {
    /// The Dockerfile's path in the folder. Like `.dockerignore` it is sent even when it is
    /// ignored: the engine needs it, and hides it from `COPY` by itself.
    pub dockerfile: Option<String>,
    /// Files that are not in the folder. They come before files of the same path, and are never
    /// ignored.
    pub extra: Vec<ExtraFile>,
    /// What of the folder is sent, beside the two files above; none is all of it.
    pub only: Option<Selection>,
    /// How much may be sent.
    pub limits: ContextLimits,
}

/// A file made up for the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraFile {
    /// Where it is in the context: `.berth/Dockerfile`.
    pub path: String,
    /// What is in it.
    pub bytes: Bytes,
    /// Whether it may be executed.
    pub is_executable: bool,
}

/// How much may be sent (fault B05).
#[derive(Clone, Copy, Debug)]
pub struct ContextLimits {
    /// How many bytes all files may have together.
    pub bytes: u64,
    /// How many files, folders and links there may be.
    pub entries: u64,
}

/// What the files that Berth adds to a checkout may take on top.
const ADDED: ContextLimits = ContextLimits { bytes: 2 << 20, entries: 16 };

impl ContextLimits {
    /// The limits for a checkout of so many bytes and files: what may be fetched may be built.
    pub const fn of_checkout(bytes: u64, files: u64) -> Self {
        Self {
            bytes: bytes.saturating_add(ADDED.bytes),
            entries: files.saturating_add(ADDED.entries),
        }
    }
}

impl Default for ContextLimits {
    fn default() -> Self {
        Self::of_checkout(8 << 30, 200_000)
    }
}

/// How much a context is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The bytes of all files.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

/// Why there is no context. A stream carries it within its `io::Error`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of `.dockerignore` makes no sense.
    #[error("line {line} of .dockerignore is not a pattern: `{text}`")]
    BadPattern {
        /// Which line, from 1 on.
        line: usize,
        /// The line.
        text: String,
    },
    /// Something that can't be sent.
    #[error("`{path}` is {kind} and can't be in a build context; remove it or ignore it")]
    Unfit {
        /// Where it is.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// The context is too large.
    #[error(
        "the build context has more than {limit} {what} ({option}); ignore some in .dockerignore"
    )]
    TooMuch {
        /// How much is allowed.
        limit: u64,
        /// Of what: `bytes` or `files`.
        what: &'static str,
        /// The operator's option that says so.
        option: &'static str,
    },
    /// Folders lie too deep in each other.
    #[error("`{path}` lies deeper than {DEPTH} folders")]
    TooDeep {
        /// Where.
        path: String,
    },
    /// A file was changed while it was sent.
    #[error("`{path}` changed while it was sent")]
    Changed {
        /// Which one.
        path: String,
    },
    /// Something can't be read.
    #[error("failed to read `{path}` for the build context")]
    Unreadable {
        /// What.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder as a tar stream. It has to be called within a Tokio runtime; reading begins at once
/// and goes on only as fast as the stream is taken.
pub fn stream(
    root: PathBuf,
    options: ContextOptions,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let writing = spawn_blocking(move || {
        let pipe = Pipe { sender, buffer: Vec::with_capacity(CHUNK), is_given_up: false };
        write(&root, &options, pipe)
    });
    // How the writing ended comes last, so that a stream cut short is never taken for complete.
    let end = stream::once(async move {
        match writing.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(died) => Some(Err(io::Error::other(died))),
        }
    });
    ReceiverStream::new(receiver).map(Ok).chain(end.filter_map(std::future::ready))
}

/// How much the context is, without reading the files.
pub fn measure(root: &Path, options: &ContextOptions) -> io::Result<Size> {
    let (sender, _) = mpsc::channel(1);
    let nowhere = Pipe { sender, buffer: Vec::new(), is_given_up: true };
    let fd = open_root(root)?;
    let mut walk = Walk { is_measured: true, ..Walk::new(options, nowhere, fd.as_fd())? };
    walk.folder(&Folder::root(fd.as_fd()))?;
    walk.extra_files()?;
    Ok(Size { bytes: walk.bytes, entries: walk.entries })
}

/// Whether the folder's `.dockerignore` leaves these files out, which are sent all the same: the
/// classic builder hides them from `COPY .` by itself, `BuildKit` does not.
pub fn hides(root: &Path, dockerfile: &str) -> bool {
    let ignore = open_root(root).and_then(|fd| read_ignore(fd.as_fd()));
    ignore.is_ok_and(|ignore| ignore.is_ignored(dockerfile) || ignore.is_ignored(IGNORE_FILE))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let shown = root.display().to_string();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, root, flags, Mode::empty()).map_err(|error| unreadable(&shown, error))
}

/// Writes the whole archive.
fn write(root: &Path, options: &ContextOptions, pipe: Pipe) -> io::Result<()> {
    let fd = open_root(root)?;
    let mut walk = Walk::new(options, pipe, fd.as_fd())?;
    let walked = walk.folder(&Folder::root(fd.as_fd())).and_then(|()| walk.extra_files());
    if walked.is_err() {
        // A dropped archive writes its end, as if it were complete.
        walk.archive.get_mut().is_given_up = true;
        return walked;
    }
    walk.archive.into_inner()?.flush()
}

/// Reads the folder's `.dockerignore`, if there is one.
fn read_ignore(root: BorrowedFd<'_>) -> io::Result<Ignore> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match openat(root, IGNORE_FILE, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Ignore::default()),
        Err(Errno::LOOP) => return Err(unfit(IGNORE_FILE, "a link")),
        Err(error) => return Err(unreadable(IGNORE_FILE, error)),
    };
    let found = rustix::fs::fstat(&fd).map_err(|error| unreadable(IGNORE_FILE, error))?;
    if kind(&found) != FileType::RegularFile {
        return Err(unfit(IGNORE_FILE, "not a file"));
    }
    let mut text = Vec::new();
    File::from(fd)
        .take(IGNORE_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| unreadable(IGNORE_FILE, error))?;
    if IGNORE_BYTES < u64::try_from(text.len()).unwrap_or(u64::MAX) {
        return Err(unfit(IGNORE_FILE, "larger than 64 KiB"));
    }
    Ignore::parse(&String::from_utf8_lossy(&text)).map_err(io::Error::other)
}

/// The archive in the making.
struct Walk<'a> {
    archive: tar::Builder<Pipe>,
    ignore: Ignore,
    /// Paths that are sent even when ignored.
    kept: BTreeSet<String>,
    extra: Vec<&'a ExtraFile>,
    only: Option<&'a Selection>,
    limits: ContextLimits,
    /// Whether nothing is written, only counted.
    is_measured: bool,
    /// The folders that are in the archive.
    written: BTreeSet<String>,
    bytes: u64,
    entries: u64,
}

/// A folder that is being walked.
struct Folder<'a> {
    fd: BorrowedFd<'a>,
    path: String,
    verdict: Verdict,
    depth: usize,
}

impl<'a> Folder<'a> {
    fn root(fd: BorrowedFd<'a>) -> Self {
        Self { fd, path: String::new(), verdict: Verdict::default(), depth: 0 }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl<'a> Walk<'a> {
    fn new(options: &'a ContextOptions, pipe: Pipe, root: BorrowedFd<'_>) -> io::Result<Self> {
        let mut kept = BTreeSet::from([IGNORE_FILE.to_owned()]);
        let dockerfile = options.dockerfile.as_deref();
        kept.extend(dockerfile.map(|path| path.trim_start_matches("./").to_owned()));
        let mut extra: Vec<_> = options.extra.iter().collect();
        extra.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self {
            archive: tar::Builder::new(pipe),
            ignore: read_ignore(root)?,
            kept,
            extra,
            only: options.only.as_ref(),
            limits: options.limits,
            is_measured: false,
            written: BTreeSet::new(),
            bytes: 0,
            entries: 0,
        })
    }

    fn folder(&mut self, folder: &Folder<'_>) -> io::Result<()> {
        if DEPTH < folder.depth {
            return Err(io::Error::other(Error::TooDeep { path: folder.path.clone() }));
        }
        for name in names(folder.fd).map_err(|error| unreadable(&folder.path, error))? {
            self.entry(folder, &name)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Folder<'_>, name: &CStr) -> io::Result<()> {
        let path = folder.join(&name.to_string_lossy());
        if name.to_bytes() == b".git" || self.extra.iter().any(|extra| extra.path == path) {
            return Ok(());
        }
        let part = self.part(&path);
        if part == Part::Out {
            return Ok(());
        }
        let found = statat(folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unreadable(&path, error))?;
        let verdict = self.ignore.judge(&path, &folder.verdict);
        let is_ignored = verdict.is_ignored && !self.kept.contains(&path);
        if name.to_str().is_err() {
            let kind = "named in something other than UTF-8";
            return if is_ignored { Ok(()) } else { Err(unfit(&path, kind)) };
        }
        if kind(&found) == FileType::Directory {
            if is_ignored && !self.may_keep_below(&path) {
                return Ok(());
            }
            if !is_ignored && part == Part::Whole {
                self.ensure_folder(&path)?;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(folder.fd, name, flags, Mode::empty())
                .map_err(|error| unreadable(&path, error))?;
            let depth = folder.depth + 1;
            return self.folder(&Folder { fd: fd.as_fd(), path, verdict, depth });
        }
        if is_ignored || part == Part::Above {
            return Ok(());
        }
        if self.extra.iter().any(|extra| is_below(&extra.path, &path)) {
            return Err(unfit(&path, "where Berth adds a folder"));
        }
        self.ensure_folder(&folder.path)?;
        match kind(&found) {
            FileType::RegularFile => self.file(folder.fd, name, &path),
            FileType::Symlink => self.link(folder.fd, name, &path),
            FileType::Fifo => Err(unfit(&path, "a FIFO")),
            FileType::Socket => Err(unfit(&path, "a socket")),
            _ => Err(unfit(&path, "a device")),
        }
    }

    /// What of a path is asked for.
    fn part(&self, path: &str) -> Part {
        match self.only.map_or(Part::Whole, |only| only.part(path)) {
            _ if self.kept.contains(path) => Part::Whole,
            Part::Out if self.kept.iter().any(|kept| is_below(kept, path)) => Part::Above,
            part => part,
        }
    }

    /// Whether anything below an ignored folder may have to be sent.
    fn may_keep_below(&self, folder: &str) -> bool {
        self.kept.iter().any(|path| is_below(path, folder))
            || self.ignore.may_bring_back_below(folder)
    }

    /// Writes a folder and those above it, unless they are written.
    fn ensure_folder(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.written.contains(path) {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.ensure_folder(above)?;
        }
        self.count(0)?;
        self.written.insert(path.to_owned());
        if self.is_measured {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        self.archive.append_data(&mut header, format!("{path}/"), io::empty())
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &str) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd =
            openat(folder, name, flags, Mode::empty()).map_err(|error| unreadable(path, error))?;
        let found = rustix::fs::fstat(&fd).map_err(|error| unreadable(path, error))?;
        if kind(&found) != FileType::RegularFile {
            return Err(io::Error::other(Error::Changed { path: path.to_owned() }));
        }
        let size = u64::try_from(found.st_size).unwrap_or(0);
        self.count(size)?;
        if self.is_measured {
            return Ok(());
        }
        let is_executable = Mode::from_raw_mode(found.st_mode).contains(Mode::XUSR);
        let mut header = header(tar::EntryType::Regular, mode(is_executable), size);
        let exactly = Exactly { inner: File::from(fd), left: size, path };
        self.archive.append_data(&mut header, path, exactly)
    }

    fn link(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &str) -> io::Result<()> {
        self.count(0)?;
        if self.is_measured {
            return Ok(());
        }
        let target =
            readlinkat(folder, name, Vec::new()).map_err(|error| unreadable(path, error))?;
        let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes()));
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.archive.append_link(&mut header, path, target)
    }

    fn extra_files(&mut self) -> io::Result<()> {
        for extra in std::mem::take(&mut self.extra) {
            let size = u64::try_from(extra.bytes.len()).unwrap_or(u64::MAX);
            if let Some((folder, _)) = extra.path.rsplit_once('/') {
                self.ensure_folder(folder)?;
            }
            self.count(size)?;
            if self.is_measured {
                continue;
            }
            let mut header = header(tar::EntryType::Regular, mode(extra.is_executable), size);
            self.archive.append_data(&mut header, &extra.path, extra.bytes.as_ref())?;
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> io::Result<()> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let ContextLimits { bytes, entries } = self.limits;
        if entries < self.entries {
            let (what, option) = ("files", "git-max-files");
            return Err(io::Error::other(Error::TooMuch { limit: entries, what, option }));
        }
        if bytes < self.bytes {
            let (what, option) = ("bytes", "git-max-checkout");
            return Err(io::Error::other(Error::TooMuch { limit: bytes, what, option }));
        }
        Ok(())
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The names in a folder, sorted.
fn names(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

fn mode(is_executable: bool) -> u32 {
    if is_executable { 0o755 } else { 0o644 }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(MODIFIED);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn unreadable(path: &str, source: impl Into<io::Error>) -> io::Error {
    io::Error::other(Error::Unreadable { path: path.to_owned(), source: source.into() })
}

fn unfit(path: &str, kind: &'static str) -> io::Error {
    io::Error::other(Error::Unfit { path: path.to_owned(), kind })
}

/// Reads as many bytes as the header promised: what a file grew by is left out, and one that
/// shrank is an error, because the archive would be broken.
struct Exactly<'a> {
    inner: File,
    left: u64,
    path: &'a str,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let count = self.inner.read(buffer).map_err(|error| unreadable(self.path, error))?;
        if count == 0 {
            return Err(io::Error::other(Error::Changed { path: self.path.to_owned() }));
        }
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

/// Gathers bytes into chunks and hands them to the stream; waits while nobody takes them.
struct Pipe {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
    is_given_up: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_given_up {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = CHUNK - self.buffer.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(chunk.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
