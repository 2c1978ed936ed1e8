//! One container: where its accounts are, and what was read last.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::time::Instant;

use super::{
    Tools, Words,
    files::{Buffer, Purse, is_gone, read_once},
    locate::{self, Layout},
    parse,
    sample::{Depth, Files, Sample},
    text,
};
use crate::model::AppName;

/// One tick of the start times in `/proc`: a hundredth of a second on every machine (time(7)).
const TICK_MS: u64 = 10;

/// How often a process of a container is looked for in the host's table. Where processes are hidden
/// none is ever found.
const LOOKS_MAX: u8 = 30;

/// A container.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) app: Option<AppName>,
    words: Words,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    place: String,
    labels: String,
    files: Files,
    sample: Option<Sample>,
    process: Process,
    /// The table of its network's interfaces.
    network: Option<PathBuf>,
    started_ms: Option<u64>,
}

/// Whether a process of it was found. One that was made just now may have none yet.
#[derive(Debug)]
enum Process {
    Found,
    /// It was not in the host's table so often.
    Missed(u8),
}

impl Subject {
    pub(super) fn new(words: Words) -> Self {
        Self { app: words.app.clone(), words, open: None }
    }

    /// Takes over what the engine says now.
    pub(super) fn rename(&mut self, words: Words) {
        if words == self.words {
            return;
        }
        self.app.clone_from(&words.app);
        if let Some(open) = &mut self.open {
            open.labels = labels(&open.place, &words);
        }
        self.words = words;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether its accounts are known and no process of it is yet.
    pub(super) fn is_unmet(&self) -> bool {
        let process = self.open.as_ref().map(|open| &open.process);
        matches!(process, Some(Process::Missed(looks)) if *looks < LOOKS_MAX)
    }

    /// Its accounts were found.
    pub(super) fn open(&mut self, layout: &Layout, place: String) {
        let labels = labels(&place, &self.words);
        let files = Files::new(layout, &place);
        let process = Process::Missed(0);
        let (sample, network, started_ms) = (None, None, None);
        self.open = Some(Open { place, labels, files, sample, process, network, started_ms });
    }

    /// Looks for a process of it, among those listed or those that its own file names. Answers
    /// whether there is one.
    pub(super) fn meet(
        &mut self,
        layout: &Layout,
        (proc_root, boot_ms): (&Path, Option<u64>),
        id: &str,
        listed: Option<&[u8]>,
    ) -> bool {
        let Some(open) = &mut self.open else { return false };
        let mut own = Buffer::default();
        if listed.is_none()
            && let Some(file) = layout.processes(&open.place)
            && read_once(&file, &mut own).is_err()
        {
            return false;
        }
        let found = locate::process(proc_root, listed.unwrap_or(&own), id);
        let Some((pid, ticks)) = found else {
            if let (Some(_), Process::Missed(looks)) = (listed, &mut open.process) {
                *looks = looks.saturating_add(1);
            }
            return false;
        };
        open.process = Process::Found;
        if self.words.has_network {
            open.network = Some(proc_root.join(pid.to_string()).join("net/dev"));
        }
        open.started_ms = boot_ms.map(|boot| boot.saturating_add(ticks.saturating_mul(TICK_MS)));
        true
    }

    /// Reads it. An error means that it is gone.
    pub(super) fn read(&mut self, depth: (Depth, Instant), tools: &mut Tools) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Tools { buffer, purse } = tools;
        let mut sample = open.sample.take().unwrap_or_default();
        open.files.read(depth, &mut sample, buffer, purse)?;
        if let Some(table) = &open.network {
            // It is not kept open: that would keep the network of a dead container alive.
            match read_once(table, buffer) {
                Ok(()) => parse::net_dev(buffer, None, &mut sample.interfaces),
                // Its first process went on to others, or is gone with all of them.
                Err(error) if is_gone(&error) => return Err(error),
                Err(_) => sample.interfaces.clear(),
            }
        }
        open.sample = Some(sample);
        Ok(())
    }

    pub(super) fn close(&mut self, purse: &mut Purse) {
        if let Some(mut open) = self.open.take() {
            open.files.close(purse);
        }
    }

    pub(super) fn sample(&self) -> Option<&Sample> {
        self.open.as_ref()?.sample.as_ref()
    }

    pub(super) fn labels(&self) -> &str {
        self.open.as_ref().map_or("", |open| &open.labels)
    }

    pub(super) fn started_ms(&self) -> Option<u64> {
        self.open.as_ref()?.started_ms
    }
}

/// All labels of a container, ready to be written.
fn labels(place: &str, words: &Words) -> String {
    let mut all = String::new();
    text::label(&mut all, "id", &format!("/{place}"));
    all.push(',');
    all.push_str(&words.labels);
    all
}
