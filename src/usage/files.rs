//! Files that are read again and again: kept open, read from their beginning.

use std::{
    fs::File,
    io,
    ops::Deref,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// More than any of these files holds; what is beyond is not read.
const BYTES_MAX: usize = 256 << 10;
/// The kernel hands longer files over in pieces; a shorter answer is all of it.
const PIECE: usize = 2048;
/// How many descriptors are left to everything else.
const RESERVE: u64 = 2048;

/// What was read last. Its room stays for the next file.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// How many descriptors may be kept, and how many are.
#[derive(Debug)]
pub(super) struct Purse {
    kept: u64,
    max: u64,
}

impl Purse {
    /// As many as the process may have, but for a reserve. The limit is raised as far as allowed.
    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(1 << 20, |hard| hard.min(1 << 20));
        let mut max = limit.current.unwrap_or(1 << 20);
        if max < wanted
            && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
                .is_ok()
        {
            max = wanted;
        }
        Self { kept: 0, max: max.saturating_sub(RESERVE.max(max / 2)) }
    }

    /// One for so many.
    pub(super) fn of(max: u64) -> Self {
        Self { kept: 0, max }
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept
    }
}

/// A file that stays open as long as the purse allows.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Reads all of it into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut Buffer, purse: &mut Purse) -> io::Result<()> {
        if let Some(file) = &self.file {
            return read_all(file, buffer);
        }
        let file = open(&self.path)?;
        read_all(&file, buffer)?;
        if purse.kept < purse.max {
            purse.kept += 1;
            self.file = Some(file);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, purse: &mut Purse) {
        if self.file.take().is_some() {
            purse.kept -= 1;
        }
    }
}

/// Reads a whole file once.
pub(super) fn read_once(path: &Path, buffer: &mut Buffer) -> io::Result<()> {
    read_all(&open(path)?, buffer)
}

/// Opens without ever waiting, whatever lies there.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

fn read_all(file: &File, buffer: &mut Buffer) -> io::Result<()> {
    buffer.filled = 0;
    loop {
        if buffer.filled == buffer.bytes.len() {
            let more = (buffer.filled * 2).clamp(8 * PIECE, BYTES_MAX);
            buffer.bytes.resize(more, 0);
        }
        let room = buffer.bytes.get_mut(buffer.filled..).unwrap_or_default();
        let got = file.read_at(room, u64::try_from(buffer.filled).unwrap_or(u64::MAX))?;
        buffer.filled += got;
        if got == 0 || !(PIECE..BYTES_MAX).contains(&buffer.filled) {
            return Ok(());
        }
    }
}

/// Whether this error says that what the file was about is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NODEV, Errno::SRCH, Errno::NOENT, Errno::NOTDIR, Errno::STALE];
    error.raw_os_error().is_some_and(|code| gone.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_kept_file_shows_what_is_in_it_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "1").unwrap();
        let (mut kept, mut purse, mut buffer) =
            (Kept::new(path.clone()), Purse::of(1), Buffer::default());
        kept.read(&mut buffer, &mut purse).unwrap();
        assert_eq!((&*buffer, purse.kept()), (b"1".as_slice(), 1));
        fs::write(&path, "23").unwrap();
        kept.read(&mut buffer, &mut purse).unwrap();
        assert_eq!(&*buffer, b"23");
        kept.close(&mut purse);
        assert_eq!(purse.kept(), 0);
    }

    #[test]
    fn without_descriptors_it_is_opened_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "1").unwrap();
        let (mut kept, mut purse, mut buffer) =
            (Kept::new(path.clone()), Purse::of(0), Buffer::default());
        kept.read(&mut buffer, &mut purse).unwrap();
        assert_eq!(purse.kept(), 0);
        fs::remove_file(&path).unwrap();
        let error = kept.read(&mut buffer, &mut purse).unwrap_err();
        assert!(is_gone(&error));
    }

    #[test]
    fn long_files_are_read_whole_and_endless_ones_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut buffer = Buffer::default();
        for size in [0, 100, PIECE, 3 * PIECE, 16 * PIECE, 100_000] {
            let content = vec![b'a'; size];
            fs::write(&path, &content).unwrap();
            read_once(&path, &mut buffer).unwrap();
            assert_eq!(buffer.len(), size);
        }
        read_once(Path::new("/dev/zero"), &mut buffer).unwrap();
        assert!(buffer.len() <= BYTES_MAX);
        assert!(read_once(folder.path(), &mut buffer).is_err());
    }
}
