//! The log, as it is read: whether it is whole, and page by page.

use std::{fs, io, path::Path};

use serde::Serialize;

use super::{
    Error, FOLDER, Head, Record,
    file::{files, read_head},
    read_line,
};

/// How many flaws are told.
const FLAWS_MAX: usize = 20;

/// Something that is wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The file's name and the line, or `head.json`.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

/// How the log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How many good records there are.
    pub records: u64,
    /// The number of the oldest.
    pub first: Option<u64>,
    /// The number of the newest.
    pub last: Option<u64>,
    /// The newest record's hash. Kept elsewhere, it tells whether all of this was made anew.
    pub hash: Option<String>,
    /// What is wrong, the first few.
    pub flaws: Vec<Flaw>,
}

struct Reader {
    verdict: Verdict,
    /// The number and the hash of the record before.
    before: Option<(u64, String)>,
}

/// Reads all of it and looks at every link of the chain.
pub fn verify(state_dir: &Path) -> Result<Verdict, Error> {
    let folder = state_dir.join(FOLDER);
    look(&folder).map_err(Error::at(&folder))
}

fn look(folder: &Path) -> io::Result<Verdict> {
    let (head, files) = (read_head(folder)?, files(folder)?);
    let mut reader = Reader { verdict: Verdict::default(), before: None };
    for path in &files {
        let bytes = fs::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&bytes);
        let is_last = Some(path) == files.last();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let place = format!("{name}:{}", number + 1);
            reader.take(line, &place, is_last, head.as_ref());
        }
    }
    reader.end(head.as_ref());
    if head.is_none() && files.is_empty() {
        reader.check_unused(folder);
    }
    Ok(reader.verdict)
}

impl Reader {
    fn flaw(&mut self, place: &str, message: impl Into<String>) {
        if self.verdict.flaws.len() < FLAWS_MAX {
            let (place, message) = (place.to_owned(), message.into());
            self.verdict.flaws.push(Flaw { place, message });
        }
    }

    fn take(&mut self, line: &str, place: &str, is_last_file: bool, head: Option<&Head>) {
        let Some(whole) = line.strip_suffix('\n') else {
            // A crash in the middle of a record, for which nobody got an answer; the next record
            // takes its place.
            let is_end = head.is_some_and(|head| self.verdict.last >= Some(head.seq));
            if !(is_last_file && is_end) {
                self.flaw(place, "half a record");
            }
            return;
        };
        let Some(record) = read_line(whole) else {
            return self.flaw(place, "no record, or one that was changed");
        };
        match &self.before {
            Some((seq, hash)) if record.seq != seq + 1 || record.prev != *hash => {
                let message = if record.seq == seq + 1 {
                    format!("record {} does not follow from the one before", record.seq)
                } else {
                    format!("record {} follows on {seq}", record.seq)
                };
                self.flaw(place, message);
            }
            None => self.check_first(&record, place, head),
            Some(_) => {}
        }
        if record.deed.action == "audit.broken" {
            let why = record.deed.after.as_str().unwrap_or_default();
            self.flaw(place, format!("the log had been damaged before: {why}"));
        }
        if head.is_some_and(|head| head.seq == record.seq && head.hash != record.hash) {
            self.flaw(place, "it is not the record that the head names");
        }
        self.verdict.records += 1;
        self.verdict.first.get_or_insert(record.seq);
        self.verdict.last = Some(record.seq);
        self.verdict.hash = Some(record.hash.clone());
        self.before = Some((record.seq, record.hash));
    }

    fn check_first(&mut self, record: &Record, place: &str, head: Option<&Head>) {
        let Some(head) = head else { return };
        // Older files than the head says may be left over from a crash while rotating.
        let is_cut =
            head.first < record.seq || (head.first == record.seq && head.before != record.prev);
        if is_cut {
            let message = format!("record {} is not the first: {} is", record.seq, head.first);
            self.flaw(place, message);
        }
    }

    /// Where there is no log at all, nothing else of a Berth that was used is there either.
    fn check_unused(&mut self, folder: &Path) {
        let state = folder.parent().unwrap_or(folder);
        let left = ["tokens.json", "state.json"].into_iter().find(|name| state.join(name).exists());
        if let Some(left) = left {
            self.flaw(FOLDER, format!("there is no log, though there is {left}"));
        }
    }

    fn end(&mut self, head: Option<&Head>) {
        let last = self.before.clone();
        match (head, last) {
            (None, None) => {}
            (None, Some(_)) => self.flaw("head.json", "the head is missing or makes no sense"),
            (Some(head), None) if head.seq == 0 => {}
            (Some(head), None) => {
                self.flaw("head.json", format!("all of {} are missing", head.seq));
            }
            (Some(head), Some((seq, hash))) => {
                // One more is what a crash between the record and the head leaves.
                let is_good = (seq == head.seq && hash == head.hash) || seq == head.seq + 1;
                if !is_good {
                    let message =
                        format!("the records end with {seq}, the head is at {}", head.seq);
                    self.flaw("head.json", message);
                }
            }
        }
    }
}

/// Records, the newest first: those before `before` that are wanted, at most `limit`; and whether
/// there are more.
pub fn page(
    state_dir: &Path,
    before: Option<u64>,
    limit: usize,
    is_wanted: impl Fn(&Record) -> bool,
) -> Result<(Vec<Record>, bool), Error> {
    let folder = state_dir.join(FOLDER);
    let read = || -> io::Result<(Vec<Record>, bool)> {
        let mut found = Vec::new();
        for path in files(&folder)?.iter().rev() {
            let bytes = fs::read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            // What was changed is not shown as if it had been said so.
            for record in text.lines().rev().filter_map(read_line) {
                if before.is_some_and(|before| before <= record.seq) || !is_wanted(&record) {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push(record);
            }
        }
        Ok((found, false))
    };
    read().map_err(Error::at(&folder))
}
