//! What was written is on its way to the disk while more is written, so that the end of a large
//! file has little to wait for.

use std::{fs::File, io, thread::JoinHandle};

/// How much is written before the disk is asked to take it.
const EACH: u64 = 32 << 20;

/// Has the disk take what was written, in the background.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    since: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Flusher {
    /// Takes note of what was written. The kernel says once only that something could not be kept:
    /// who is told of it in the background must be heard.
    pub(super) fn note(&mut self, file: &File, length: usize) -> io::Result<()> {
        self.since += u64::try_from(length).unwrap_or(u64::MAX);
        if self.since < EACH || self.running.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        self.end()?;
        self.since = 0;
        let file = file.try_clone()?;
        let name = std::thread::Builder::new().name("flush".to_owned());
        // Without a thread for it, the end takes longer.
        self.running = name.spawn(move || file.sync_data()).ok();
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn what_goes_wrong_in_the_background_is_told() {
        let mut well = Flusher::default();
        let file = tempfile::tempfile().unwrap();
        for _ in 0..3 {
            well.note(&file, 20 << 20).unwrap();
        }
        well.end().unwrap();
        well.end().unwrap();
        // Nothing can be made to last there.
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut ill = Flusher::default();
        ill.note(&null, 40 << 20).unwrap();
        assert_eq!(ill.end().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        ill.end().unwrap();
    }
}
