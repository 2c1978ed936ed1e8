//! Contents that come as chunks in xorbs, and are put together as files say.
//!
//! A xorb is held as it came, unpacked, until files are made of its chunks. Afterwards it is known
//! where in which content they are, and the xorb itself goes: nothing is kept twice. All of this is
//! in memory; what was forgotten makes [`Store::xorb_generation`] another one, so that clients, who
//! remember for weeks what they sent, begin anew.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::super::{Content, Error, Store, Upload, Way, disk::Temp};
use crate::model::{Digest, Timestamp};
use crate::xet::{FileHash, FileInfo, Hash, Term, chunk_hash};

/// How many chunks are known at once, of all xorbs: 4 bytes each.
const CHUNKS_MAX: usize = 4 << 20;
/// How many xorbs are known at once.
const XORBS_MAX: usize = 1 << 16;
/// How many places of their chunks are, of all xorbs.
const RUNS_MAX: usize = 1 << 18;
/// How long a xorb waits for the files that have its chunks.
const WAIT: Duration = Duration::from_hours(24);

/// Where chunks of a xorb are, in a content.
#[derive(Clone, Debug)]
struct Run {
    from: u32,
    to: u32,
    blob: Digest,
    at: u64,
}

#[derive(Clone, Debug)]
struct Xorb {
    /// How long each chunk is.
    lengths: Arc<[u32]>,
    staged: Option<PathBuf>,
    runs: Vec<Run>,
    projects: BTreeSet<String>,
    came: Timestamp,
}

impl Xorb {
    fn bytes(&self, from: u32, to: u32) -> u64 {
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        self.lengths.get(range).unwrap_or_default().iter().map(|length| u64::from(*length)).sum()
    }

    fn is_covered(&self, chunk: u32) -> bool {
        self.runs.iter().any(|run| (run.from..run.to).contains(&chunk))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.lengths.len()).unwrap_or(u32::MAX)
    }
}

/// The xorbs that are known.
#[derive(Debug, Default)]
pub(super) struct Xorbs {
    all: BTreeMap<Hash, Xorb>,
    order: VecDeque<Hash>,
    chunks: usize,
    runs: usize,
    /// How often something was forgotten.
    forgotten: u64,
}

impl Xorbs {
    fn forget(&mut self, hash: &Hash) -> Option<PathBuf> {
        let xorb = self.all.remove(hash)?;
        self.chunks -= xorb.lengths.len();
        self.runs -= xorb.runs.len();
        self.order.retain(|other| other != hash);
        self.forgotten += 1;
        xorb.staged
    }

    /// How much of what waits for its files is for a project.
    pub(super) fn bytes(&self, project: &str) -> u64 {
        let own = self.all.values().filter(|xorb| xorb.staged.is_some());
        let own = own.filter(|xorb| xorb.projects.contains(project));
        own.map(|xorb| xorb.bytes(0, xorb.count())).sum()
    }

    /// Forgets the oldest until so much is left as may be known. Their files are to be removed.
    fn shrink(&mut self) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while CHUNKS_MAX < self.chunks || XORBS_MAX < self.all.len() || RUNS_MAX < self.runs {
            let Some(first) = self.order.front().copied() else { break };
            gone.extend(self.forget(&first));
        }
        gone
    }
}

/// A xorb on its way in. Dropped, it leaves nothing.
pub struct XorbDraft {
    store: Arc<Store>,
    temp: Box<dyn Temp>,
    lengths: Vec<u32>,
}

impl std::fmt::Debug for XorbDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XorbDraft").field("chunks", &self.lengths.len()).finish_non_exhaustive()
    }
}

impl XorbDraft {
    /// Begins.
    pub fn begin(store: &Arc<Store>) -> Result<Self, Error> {
        let temp = store.disk.temp(&store.own("uploads"), None);
        let temp = temp.map_err(Error::disk("the chunks can't be written"))?;
        Ok(Self { store: Arc::clone(store), temp, lengths: Vec::new() })
    }

    /// Takes a chunk, unpacked.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.lengths.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.temp.write(bytes).map_err(Error::disk("the chunks can't be written"))
    }

    /// All has come, and is what it was said to be. Whether that is new.
    pub fn finish(mut self, hash: Hash, project: &str, now: Timestamp) -> Result<bool, Error> {
        let store = Arc::clone(&self.store);
        if store.has_xorb(&hash, project) {
            return Ok(false);
        }
        let path = store.own("uploads").join(format!("xorb-{}", store.number()));
        self.temp.link(&path).map_err(Error::disk("the chunks can't be kept"))?;
        let mut gone = Vec::new();
        {
            let mut xorbs = store.hub.xorbs();
            if let Some(known) = xorbs.all.get_mut(&hash) {
                known.projects.insert(project.to_owned());
                gone.push(path);
            } else {
                xorbs.chunks += self.lengths.len();
                xorbs.order.push_back(hash);
                let projects = BTreeSet::from([project.to_owned()]);
                let (lengths, staged, runs) = (self.lengths.into(), Some(path), Vec::new());
                xorbs.all.insert(hash, Xorb { lengths, staged, runs, projects, came: now });
            }
            gone.extend(xorbs.shrink());
        }
        for path in gone {
            let _ = store.disk.remove_file(&path);
        }
        Ok(true)
    }
}

/// Where the bytes of a term come from.
struct Source {
    content: Content,
    at: u64,
}

impl Source {
    fn take(&mut self, length: u64) -> Result<bytes::Bytes, Error> {
        let slice = self.content.slice(self.at, usize::try_from(length).unwrap_or(0));
        self.at += length;
        slice.map_err(Error::disk("the chunks can't be read"))
    }
}

impl Store {
    /// Another number whenever xorbs that were sent may be unknown again.
    pub fn xorb_generation(&self) -> u64 {
        self.hub.xorbs().forgotten
    }

    /// Whether a xorb is known, and came for this project.
    pub fn has_xorb(&self, hash: &Hash, project: &str) -> bool {
        let xorbs = self.hub.xorbs();
        xorbs.all.get(hash).is_some_and(|xorb| xorb.projects.contains(project))
    }

    /// Makes the content of a file out of chunks that have come; `told` hears how much is done.
    pub fn assemble(
        self: &Arc<Self>,
        (project, is_all): (&str, bool),
        file: &FileInfo,
        now: Timestamp,
        told: &mut dyn FnMut(u64),
    ) -> Result<(Digest, u64), Error> {
        let size = file.terms.iter().map(|term| u64::from(term.bytes)).sum();
        self.check_size(size)?;
        let mut upload = Upload::begin(self, Some(size))?;
        let mut hash = FileHash::default();
        let mut at = 0;
        for term in &file.terms {
            let xorb = self.known_xorb(term, (project, is_all))?;
            for (from, to) in pieces(&xorb, term) {
                let mut source = self.source(&term.xorb, &xorb, from, to)?;
                for chunk in from..to {
                    let length = xorb.bytes(chunk, chunk + 1);
                    let bytes = source.take(length)?;
                    hash.push(chunk_hash(&bytes), length);
                    upload.write(&bytes)?;
                    at += length;
                }
                told(at);
            }
        }
        if hash.finish() != file.hash {
            return Err(Error::Digest("the file's hash is not that of its chunks".to_owned()));
        }
        let kept = self.keep_content(upload, project, file.sha256.as_ref(), now)?;
        self.settle_runs(file, &kept.0);
        Ok(kept)
    }

    fn known_xorb(&self, term: &Term, (project, is_all): (&str, bool)) -> Result<Xorb, Error> {
        let xorbs = self.hub.xorbs();
        let found = xorbs.all.get(&term.xorb);
        let found = found.filter(|xorb| is_all || xorb.projects.contains(project));
        let is_in = |xorb: &&Xorb| {
            term.from < term.to
                && term.to <= xorb.count()
                && xorb.bytes(term.from, term.to) == u64::from(term.bytes)
        };
        let unknown = || {
            Error::Digest(format!("a file names chunks of a xorb that is not there: {}", term.xorb))
        };
        found.filter(is_in).cloned().ok_or_else(unknown)
    }

    /// Where chunks that lie together are.
    fn source(&self, hash: &Hash, xorb: &Xorb, from: u32, to: u32) -> Result<Source, Error> {
        let run = xorb.runs.iter().find(|run| run.from <= from && to <= run.to);
        let opened = match (run, &xorb.staged) {
            (Some(run), _) => self
                .open_blob(&run.blob)
                .map(|content| Source { content, at: run.at + xorb.bytes(run.from, from) }),
            (None, Some(path)) => self.disk.open(path).map(|file| Source {
                content: Content::of(file, xorb.bytes(0, xorb.count()), Way::Read),
                at: xorb.bytes(0, from),
            }),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        };
        opened.map_err(|error| {
            if super::super::scan::is_absent(&error) {
                let staged = self.hub.xorbs().forget(hash);
                if let Some(path) = staged {
                    let _ = self.disk.remove_file(&path);
                }
                return Error::Digest(format!("the chunks of {hash} are not there any more"));
            }
            Error::disk("the chunks can't be read")(error)
        })
    }

    /// Remembers where the chunks of a file are now. Xorbs that are not needed any more go.
    fn settle_runs(&self, file: &FileInfo, blob: &Digest) {
        let mut gone = Vec::new();
        let mut at = 0;
        let mut xorbs = self.hub.xorbs();
        let mut more = 0;
        for term in &file.terms {
            let here = at;
            at += u64::from(term.bytes);
            let Some(xorb) = xorbs.all.get_mut(&term.xorb) else { continue };
            if !(term.from..term.to).all(|chunk| xorb.is_covered(chunk)) {
                let (from, to, blob) = (term.from, term.to, blob.clone());
                xorb.runs.push(Run { from, to, blob, at: here });
                more += 1;
            }
            if xorb.staged.is_some() && (0..xorb.count()).all(|chunk| xorb.is_covered(chunk)) {
                gone.extend(xorb.staged.take());
            }
        }
        xorbs.runs += more;
        gone.extend(xorbs.shrink());
        drop(xorbs);
        for path in gone {
            let _ = self.disk.remove_file(&path);
        }
    }

    /// Forgets what nobody made a file of.
    pub(in super::super) fn tidy_xorbs(&self, now: Timestamp, has_swept: bool) {
        let mut xorbs = self.hub.xorbs();
        xorbs.forgotten += u64::from(has_swept);
        let is_old = |xorb: &Xorb| xorb.staged.is_some() && WAIT <= now.since(xorb.came);
        let old: Vec<_> =
            xorbs.all.iter().filter(|(_, xorb)| is_old(xorb)).map(|(h, _)| *h).collect();
        let paths: Vec<_> = old.iter().filter_map(|hash| xorbs.forget(hash)).collect();
        drop(xorbs);
        for path in paths {
            let _ = self.disk.remove_file(&path);
        }
    }
}

/// The chunks of a term, in pieces that lie together.
fn pieces(xorb: &Xorb, term: &Term) -> Vec<(u32, u32)> {
    if xorb.staged.is_some() {
        return vec![(term.from, term.to)];
    }
    let (mut found, mut from) = (Vec::new(), term.from);
    while from < term.to {
        let runs = xorb.runs.iter().filter(|run| (run.from..run.to).contains(&from));
        let to = runs.map(|run| run.to.min(term.to)).max().unwrap_or(term.to);
        found.push((from, to));
        from = to;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xorb(chunks: usize, runs: usize) -> Xorb {
        let run = Run { from: 0, to: 1, blob: Digest::of_bytes(b""), at: 0 };
        Xorb {
            lengths: vec![1; chunks].into(),
            staged: Some(PathBuf::from("x")),
            runs: vec![run; runs],
            projects: BTreeSet::new(),
            came: Timestamp::default(),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_first_when_there_are_too_many_of_anything() {
        let mut xorbs = Xorbs::default();
        for at in 0..4_u8 {
            xorbs.order.push_back(Hash([at; 32]));
            xorbs.all.insert(Hash([at; 32]), xorb(10, RUNS_MAX / 2));
            xorbs.chunks += 10;
            xorbs.runs += RUNS_MAX / 2;
        }
        assert_eq!(xorbs.shrink().len(), 2);
        assert!(xorbs.runs == RUNS_MAX && xorbs.chunks == 20 && xorbs.forgotten == 2);
        assert!(xorbs.all.contains_key(&Hash([3; 32])) && !xorbs.all.contains_key(&Hash([1; 32])));
        let number = |at: usize| {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&at.to_le_bytes());
            Hash(bytes)
        };
        for at in 0..XORBS_MAX {
            xorbs.order.push_back(number(at));
            xorbs.all.insert(number(at), xorb(1, 0));
            xorbs.chunks += 1;
        }
        assert_eq!(xorbs.shrink().len(), 2);
        assert!(xorbs.all.len() == XORBS_MAX && xorbs.all.contains_key(&number(0)));
        assert!(xorbs.shrink().is_empty());
    }
}
