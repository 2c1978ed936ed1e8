//! Contents that come in parts, in any order, some of them twice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::super::{Content, Error, SLICE, Store, Upload, Way};
use crate::model::{Digest, Timestamp};

/// How many parts a content may have.
const PARTS_MAX: u32 = 10_000;
/// How many parts wait at once, of all contents: what is known of them is in memory.
const WAITING_MAX: usize = 1 << 16;
/// How long parts wait for the others.
const WAIT: Duration = Duration::from_hours(24);

/// The parts of one content.
#[derive(Debug, Default)]
struct Coming {
    parts: BTreeMap<u32, (PathBuf, u64)>,
    came: Timestamp,
    /// Somebody makes the content of them: their files stay until that is done.
    is_joining: bool,
}

/// The parts that have come, by project and what they become.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<(String, Digest), Coming>);

impl Parts {
    /// How much of it is for a project.
    pub(super) fn bytes(&self, project: &str) -> u64 {
        let own = self.0.iter().filter(|((own, _), _)| own == project);
        own.flat_map(|(_, coming)| coming.parts.values()).map(|(_, size)| size).sum()
    }
}

impl Store {
    /// Keeps a part until the others have come. Its own digest is answered.
    pub fn keep_part(
        &self,
        upload: Upload,
        (project, whole): (&str, &Digest),
        number: u32,
        now: Timestamp,
    ) -> Result<Digest, Error> {
        if number == 0 || PARTS_MAX < number {
            return Err(Error::Bad(format!("parts are numbered from 1 to {PARTS_MAX}")));
        }
        let (mut temp, size, digest) = upload.close()?;
        let path = self.own("uploads").join(format!("part-{}", self.number()));
        temp.link(&path).map_err(Error::disk("the part can't be kept"))?;
        let mut parts = self.hub.parts();
        if WAITING_MAX <= parts.0.values().map(|coming| coming.parts.len()).sum() {
            drop(parts);
            let _ = self.disk.remove_file(&path);
            return Err(Error::Busy("too many parts of files wait for the others".to_owned()));
        }
        let coming = parts.0.entry((project.to_owned(), whole.clone())).or_default();
        coming.came = now;
        let is_free = !coming.is_joining;
        if let Some((old, _)) = coming.parts.insert(number, (path, size)).filter(|_| is_free) {
            let _ = self.disk.remove_file(&old);
        }
        Ok(digest)
    }

    /// Makes a content of the parts that have come.
    pub fn join_parts(
        self: &Arc<Self>,
        (project, whole): (&str, &Digest),
        size: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let name = (project.to_owned(), whole.clone());
        let (parts, sum, is_whole) = {
            let mut all = self.hub.parts();
            let coming = all.0.get_mut(&name);
            if coming.as_ref().is_some_and(|coming| coming.is_joining) {
                return Err(Error::Busy("its parts are being joined; try again".to_owned()));
            }
            let parts: Vec<_> = match &coming {
                Some(coming) => coming.parts.clone().into_iter().collect(),
                None => Vec::new(),
            };
            let sum: u64 = parts.iter().map(|(_, (_, size))| size).sum();
            let is_gapless = parts.iter().zip(1..).all(|((number, _), at)| *number == at);
            let is_whole = sum == size && is_gapless;
            if let Some(coming) = coming {
                coming.is_joining = is_whole;
            }
            (parts, sum, is_whole)
        };
        if !is_whole {
            // A second call, as after an answer that was lost, finds the work done.
            if self.hold(whole, project, None, now) == Some(size) && parts.is_empty() {
                return Ok(());
            }
            return Err(Error::Digest(format!("{sum} of {size} bytes have come in parts")));
        }
        let joined = self.join(&parts, (project, whole), size, now);
        let mut all = self.hub.parts();
        if let Err(Error::Full(_) | Error::Disk { .. }) = joined
            && let Some(coming) = all.0.get_mut(&name)
        {
            // The parts are good: joining them may be tried again.
            coming.is_joining = false;
            return joined;
        }
        // What was wrong is sent again as a whole; what came meanwhile goes too.
        let late = all.0.remove(&name).map(|coming| coming.parts).unwrap_or_default();
        drop(all);
        for (path, _) in parts.into_iter().map(|(_, part)| part).chain(late.into_values()) {
            let _ = self.disk.remove_file(&path);
        }
        joined
    }

    fn join(
        self: &Arc<Self>,
        parts: &[(u32, (PathBuf, u64))],
        (project, whole): (&str, &Digest),
        size: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut upload = Upload::begin(self, Some(size))?;
        for (_, (path, size)) in parts {
            self.pour(&mut upload, path, *size)?;
        }
        self.keep_content(upload, project, Some(whole), now).map(drop)
    }

    /// Adds to an upload what a file has, slice by slice.
    pub(in super::super) fn pour(
        &self,
        upload: &mut Upload,
        path: &Path,
        size: u64,
    ) -> Result<(), Error> {
        let unreadable = || Error::disk("a part can't be read");
        let file = self.disk.open(path).map_err(unreadable())?;
        let (content, mut at) = (Content::of(file, size, Way::Read), 0);
        while at < size {
            let length = usize::try_from(size - at).unwrap_or(SLICE).min(SLICE);
            let slice = content.slice(at, length).map_err(unreadable())?;
            upload.take(&slice)?;
            at += u64::try_from(length).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Removes parts that have waited for too long.
    pub(in super::super) fn tidy_parts(&self, now: Timestamp) {
        let mut parts = self.hub.parts();
        let is_old = |coming: &Coming| !coming.is_joining && WAIT <= now.since(coming.came);
        for coming in parts.0.values().filter(|coming| is_old(coming)) {
            for (path, _) in coming.parts.values() {
                let _ = self.disk.remove_file(path);
            }
        }
        parts.0.retain(|_, coming| !is_old(coming));
    }
}
