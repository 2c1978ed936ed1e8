//! The log of an app's last build: a file that grows while the build runs, and stops growing at
//! a limit. The end of a log says why a build failed, so the last lines are kept in any case.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use tokio::{sync::mpsc, task::JoinHandle};

/// How many of the last lines are kept when a log is too long.
const TAIL_LINES: usize = 200;
/// The longest line that is kept whole.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How many lines may wait to be written.
const WAITING_LINES_MAX: usize = 1024;

/// The log of one build, being written.
#[derive(Debug)]
pub struct BuildLog {
    file: File,
    bytes_left: u64,
    tail: VecDeque<String>,
    lines_left_out: u64,
}

impl BuildLog {
    /// Starts a log at `path`; the one before is kept beside it.
    pub(super) fn create(path: &Path, bytes_max: u64) -> io::Result<Self> {
        match fs::rename(path, path.with_extension("log.1")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::create(path)?;
        Ok(Self { file, bytes_left: bytes_max, tail: VecDeque::new(), lines_left_out: 0 })
    }

    /// Adds what the build said: one line or more.
    pub fn append(&mut self, text: &str) -> io::Result<()> {
        text.trim_end_matches(['\n', '\r']).split('\n').try_for_each(|line| self.add(line))
    }

    fn add(&mut self, line: &str) -> io::Result<()> {
        let line = line.trim_end_matches('\r');
        let cut = (0..=LINE_BYTES_MAX.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
        let line = format!("{}\n", &line[..cut.unwrap_or(0)]);
        let length = line.len() as u64;
        if self.tail.is_empty() && length <= self.bytes_left {
            self.bytes_left -= length;
            return self.file.write_all(line.as_bytes());
        }
        self.tail.push_back(line);
        if TAIL_LINES < self.tail.len() {
            self.tail.pop_front();
            self.lines_left_out += 1;
        }
        Ok(())
    }

    /// Ends the log: writes the last lines of one that was too long.
    pub fn finish(mut self) -> io::Result<()> {
        if 0 < self.lines_left_out {
            writeln!(self.file, "… {} lines are left out here …", self.lines_left_out)?;
        }
        self.tail.iter().try_for_each(|line| self.file.write_all(line.as_bytes()))?;
        self.file.flush()
    }

    /// A sender whose lines are written as they come. The task ends, and the log with it, once
    /// all senders are gone.
    pub fn into_sink(mut self) -> (mpsc::Sender<String>, JoinHandle<io::Result<()>>) {
        let (sender, mut lines) = mpsc::channel::<String>(WAITING_LINES_MAX);
        let task = tokio::task::spawn_blocking(move || {
            while let Some(line) = lines.blocking_recv() {
                self.append(&line)?;
            }
            self.finish()
        });
        (sender, task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_too_long_keeps_its_beginning_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        let mut log = BuildLog::create(&path, 20).unwrap();
        for number in 0..1000 {
            log.append(&format!("line {number}\r\n")).unwrap();
        }
        log.finish().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("line 0\nline 1\n… 798 lines are left out here …\n"), "{text}");
        assert!(text.ends_with("line 998\nline 999\n"));
    }

    #[test]
    fn the_log_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        for text in ["first", "second"] {
            let mut log = BuildLog::create(&path, 100).unwrap();
            log.append(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}\n"), "written at once");
            log.finish().unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join("build.log.1")).unwrap(), "first\n");
    }
}
