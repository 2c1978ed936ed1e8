//! The log of a build: a file that grows, and that another one takes the place of.

use std::{
    fmt,
    io::{self, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

use super::{BYTES_MAX, Taken};

/// How much of a log is searched for its last lines, and read at once.
const READ_MAX: u64 = 4 * 1024 * 1024;
/// How often a log is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(250);
/// What is said where a log begins later than it should.
const CUT: &str = "the log is longer; this is its end";
/// What is said where another one begins.
const ANEW: &str = "another build has begun";

/// Which file it is: one that has its place later is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    fn of(seen: &std::fs::Metadata) -> Self {
        let made = seen.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        Self(seen.ino(), made.map_or(0, |made| u64::try_from(made.as_millis()).unwrap_or(0)))
    }

    /// Reads what was shown.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (inode, made) = text.split_once('.')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self(number(inode)?, number(made)?))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.0, self.1)
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// With so many of the last lines; none is all.
    Tail(Option<u64>),
    /// Where a client of this file was.
    At(FileId, u64),
}

/// Reads a log.
pub(super) struct Reader {
    path: PathBuf,
    seen: Option<FileId>,
    at: u64,
    /// Where it ends, unless it is followed.
    until: Option<u64>,
    /// What is to be said before the next part.
    told: Vec<Taken>,
}

impl Reader {
    /// Begins to read. A log that is followed need not be there yet.
    pub(super) async fn open(path: PathBuf, start: Start, is_followed: bool) -> io::Result<Self> {
        let mut reader = Self { path, seen: None, at: 0, until: None, told: Vec::new() };
        let mut file = match File::open(&reader.path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_followed => {
                return Ok(reader);
            }
            file => file?,
        };
        let seen = file.metadata().await?;
        let (id, end) = (FileId::of(&seen), seen.len());
        let told = match start {
            Start::At(known, at) if known == id && at <= end => {
                reader.at = at;
                None
            }
            Start::At(..) => Some(Taken::Gap(ANEW)),
            Start::Tail(tail) => {
                let (at, is_cut) = begin(&mut file, end, tail).await?;
                reader.at = at;
                is_cut.then_some(Taken::Gap(CUT))
            }
        };
        reader.told.extend(told);
        reader.told.push(Taken::Begins(id, reader.at));
        (reader.seen, reader.until) = (Some(id), (!is_followed).then_some(end));
        Ok(reader)
    }

    /// What there is, and what comes.
    pub(super) fn stream(self) -> BoxStream<'static, Taken> {
        let parts = stream::unfold(self, |mut reader| async move {
            loop {
                match reader.step().await {
                    Ok(taken) if !taken.is_empty() => return Some((stream::iter(taken), reader)),
                    _ if reader.until.is_some() => return None,
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        });
        parts.flatten().boxed()
    }

    /// What was added since the last look; all of it when another file took the place.
    async fn step(&mut self) -> io::Result<Vec<Taken>> {
        let mut taken = std::mem::take(&mut self.told);
        let mut file = match File::open(&self.path).await {
            Err(_) if !taken.is_empty() => return Ok(taken),
            file => file?,
        };
        let seen = file.metadata().await?;
        let id = FileId::of(&seen);
        if self.seen != Some(id) || seen.len() < self.at {
            if self.until.is_some() {
                return Ok(taken);
            }
            taken.extend(self.seen.replace(id).map(|_| Taken::Gap(ANEW)));
            taken.push(Taken::Begins(id, 0));
            self.at = 0;
        }
        let end = self.until.unwrap_or(u64::MAX).min(seen.len());
        file.seek(SeekFrom::Start(self.at)).await?;
        let mut bytes = Vec::new();
        let most = READ_MAX.min(end.saturating_sub(self.at));
        file.take(most).read_to_end(&mut bytes).await?;
        self.at += u64::try_from(bytes.len()).unwrap_or(0);
        if !bytes.is_empty() {
            taken.push(Taken::Part(bytes.into()));
        }
        Ok(taken)
    }
}

/// Where the last lines begin, and whether there should be more of them.
async fn begin(file: &mut File, end: u64, tail: Option<u64>) -> io::Result<(u64, bool)> {
    let limit = if tail.is_some() { READ_MAX } else { BYTES_MAX };
    let from = end.saturating_sub(limit);
    if tail.is_none() && from == 0 {
        return Ok((0, false));
    }
    file.seek(SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    // Where a line begins is known once its beginning is here.
    let most = if tail.is_some() { limit } else { READ_MAX };
    file.take(most).read_to_end(&mut bytes).await?;
    let start = tail.map_or(0, |lines| start_of_last(&bytes, lines));
    let is_cut = start == 0 && 0 < from;
    let first = || bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let start = if is_cut { first() } else { start };
    Ok((from + u64::try_from(start).unwrap_or(0), is_cut))
}

/// Where the last `lines` lines begin.
fn start_of_last(bytes: &[u8], lines: u64) -> usize {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines.checked_sub(1).map(|skip| usize::try_from(skip).unwrap_or(usize::MAX)) {
        None => bytes.len(),
        Some(skip) => ends.nth(skip).map_or(0, |(at, _)| at + 1),
    }
}

/// Where the log of an app's last build is.
pub(super) fn path(workspaces: &Path, name: &str) -> PathBuf {
    workspaces.join(name).join(".berth").join("build.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_lines() {
        let text = b"one\ntwo\nthree\n";
        let last = |lines| &text[start_of_last(text, lines)..];
        assert_eq!(last(0), b"");
        assert_eq!(last(1), b"three\n");
        assert_eq!(last(2), b"two\nthree\n");
        assert_eq!(last(9), text);
        assert_eq!(&b"a\nb"[start_of_last(b"a\nb", 1)..], b"b");
    }

    async fn all(path: &Path, start: Start) -> (Vec<&'static str>, Vec<u8>) {
        let reader = Reader::open(path.to_owned(), start, false).await.unwrap();
        let (mut gaps, mut bytes) = (Vec::new(), Vec::new());
        for taken in reader.stream().collect::<Vec<_>>().await {
            match taken {
                Taken::Part(part) => bytes.extend_from_slice(&part),
                Taken::Gap(why) => gaps.push(why),
                Taken::Begins(..) => {}
                Taken::Failed(why) => panic!("{why}"),
            }
        }
        (gaps, bytes)
    }

    /// Fault H14: what a build writes may be endless, too.
    #[tokio::test]
    async fn a_long_log_of_a_build_is_shown_from_a_whole_line_on_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        let line = format!("{}\n", "x".repeat(1022));
        let count = usize::try_from(BYTES_MAX).unwrap() / line.len() + 9;
        std::fs::write(&path, line.repeat(count)).unwrap();
        let (gaps, bytes) = all(&path, Start::Tail(None)).await;
        assert_eq!(gaps, [CUT]);
        assert!(bytes.starts_with(b"x") && bytes.len() % line.len() == 0, "{}", bytes.len());
        assert!(BYTES_MAX - 2048 < u64::try_from(bytes.len()).unwrap(), "{}", bytes.len());
        let (gaps, few) = all(&path, Start::Tail(Some(2))).await;
        assert_eq!((gaps.len(), few.len()), (0, 2 * line.len()));
        std::fs::write(&path, "short\n").unwrap();
        assert_eq!(all(&path, Start::Tail(None)).await, (Vec::new(), b"short\n".to_vec()));
    }

    #[tokio::test]
    async fn reading_goes_on_in_the_same_file_and_begins_again_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let id = FileId::of(&std::fs::metadata(&path).unwrap());
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        assert_eq!(all(&path, Start::At(id, 4)).await, (Vec::new(), b"two\n".to_vec()));
        assert_eq!(all(&path, Start::At(id, 8)).await, (Vec::new(), Vec::new()));
        // The one before is kept beside it, so that the new one is another file.
        std::fs::rename(&path, path.with_extension("log.1")).unwrap();
        std::fs::write(&path, "anew and longer\n").unwrap();
        assert_eq!(all(&path, Start::At(id, 4)).await, (vec![ANEW], b"anew and longer\n".to_vec()));
    }
}
