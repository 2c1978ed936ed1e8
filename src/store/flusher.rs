//! What was written is on its way to the disk while more is written, so that the end of a large
//! file has little to wait for.
//!
//! Only the beginning is made here: nothing is promised to last before the file is synced. Writing
//! goes on meanwhile, and the file system's journal is not asked for anything.

use std::{fs::File, io, os::fd::AsRawFd as _, thread::JoinHandle};

use rustix::io::Errno;

/// How much is written before the disk is asked to take it.
const EACH: u64 = 8 << 20;

/// Has the disk begin with what a file has from a place on.
type Begin = fn(&File, u64) -> io::Result<()>;

/// Has the disk take what was written, in the background.
#[derive(Debug)]
pub(super) struct Flusher {
    /// How much is written.
    at: u64,
    /// How much of it the disk was asked to take.
    asked: u64,
    running: Option<JoinHandle<io::Result<()>>>,
    begin: Begin,
}

impl Flusher {
    /// For a file that is written from a place on.
    pub(super) fn from(at: u64) -> Self {
        Self { at, asked: at, running: None, begin }
    }

    /// Takes note of what was written. The kernel may say once only that something could not be
    /// kept: who is told of it in the background must be heard.
    pub(super) fn note(&mut self, file: &File, length: usize) -> io::Result<()> {
        self.at += u64::try_from(length).unwrap_or(u64::MAX);
        let is_running = || self.running.as_ref().is_some_and(|task| !task.is_finished());
        if self.at - self.asked < EACH || is_running() {
            return Ok(());
        }
        self.end()?;
        let (file, from, begin) = (file.try_clone()?, self.asked, self.begin);
        self.asked = self.at;
        let name = std::thread::Builder::new().name("flush".to_owned());
        // Without a thread for it, the end takes longer.
        self.running = name.spawn(move || begin(&file, from)).ok();
        Ok(())
    }

    /// Waits for what runs in the background, and says how it went.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that flushes has ended")))
    }
}

#[expect(unsafe_code, reason = "the call has no safe wrapper")]
fn begin(file: &File, from: u64) -> io::Result<()> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    // SAFETY: it takes numbers only, and the descriptor is open for as long as the call takes.
    let done =
        unsafe { libc::sync_file_range(file.as_raw_fd(), from, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Where that can't be asked for, all is left for the end.
    let cannot = [Errno::NOSYS, Errno::SPIPE, Errno::INVAL, Errno::PERM];
    let is_refused = cannot.iter().any(|it| error.raw_os_error() == Some(it.raw_os_error()));
    if is_refused { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::*;

    #[test]
    fn what_goes_wrong_in_the_background_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        let block = vec![7; 3 << 20];
        let mut well = Flusher::from(0);
        for _ in 0..7 {
            file.write_all(&block).unwrap();
            well.note(&file, block.len()).unwrap();
        }
        assert_ne!(well.asked, 0, "the disk was asked before the end");
        well.end().unwrap();
        well.end().unwrap();
        let failing: Begin = |_, from| {
            assert_eq!(from, 5, "only what was written since");
            Err(io::ErrorKind::StorageFull.into())
        };
        let mut ill = Flusher { begin: failing, ..Flusher::from(5) };
        ill.note(&file, 40 << 20).unwrap();
        assert_eq!(ill.end().unwrap_err().kind(), io::ErrorKind::StorageFull);
        ill.end().unwrap();
    }

    /// What is no file of a disk can't be asked, and is no error either.
    #[test]
    fn where_it_can_not_be_asked_for_the_end_does_it_all() {
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        begin(&null, 0).unwrap();
        let mut flusher = Flusher::from(0);
        flusher.note(&null, 40 << 20).unwrap();
        flusher.end().unwrap();
    }
}
