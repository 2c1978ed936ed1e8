//! Contents for commits: how they come before anything names them, and how they are read.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde_json::Map;

use super::super::{
    Content, Entry, Error, Figures, Key, Query, SLICE, Store, Upload, disk::Temp, entry::Place,
    make,
};
use super::lock;
use super::tree::File;
use crate::model::{Digest, Timestamp};

/// How long a content may wait for its commit.
const WAIT: Duration = Duration::from_hours(24);

impl Store {
    /// Keeps a content that a commit of this project is going to name. Whether it is new.
    pub fn keep_content(
        &self,
        upload: Upload,
        project: &str,
        expected: Option<&Digest>,
        now: Timestamp,
    ) -> Result<(Digest, u64), Error> {
        let (mut temp, size, digest) = upload.close()?;
        if let Some(other) = expected.filter(|expected| **expected != digest) {
            return Err(Error::Digest(format!(
                "the content is not what was announced: its sha256 is {digest}, not {other}"
            )));
        }
        let failed = || Error::disk("the content can't be kept");
        // What takes long is done before others are held up.
        temp.sync().map_err(failed())?;
        let distrusted = self.distrusted(&*temp, &digest);
        let is_new = {
            let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
            let is_new = self.name_blob(&mut *temp, &digest, distrusted).map_err(failed())?;
            lock(&self.hub.fresh).insert((project.to_owned(), digest.clone()), now);
            is_new
        };
        if is_new && self.was_rotten(&digest) {
            self.mend_views();
        }
        Figures::add(&self.figures.received, size);
        if !is_new {
            Figures::add(&self.figures.saved, size);
        }
        Ok((digest, size))
    }

    /// Gives a content its name among the blobs, which lasts. Whether it had none.
    fn name_blob(
        &self,
        temp: &mut dyn Temp,
        digest: &Digest,
        distrusted: Option<(u64, u64)>,
    ) -> io::Result<bool> {
        let blob = self.blob(digest);
        let folder = blob.parent().unwrap_or(&blob);
        make(&*self.disk, folder)?;
        let is_new = match temp.link(&blob) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if distrusted.is_some() && distrusted == Some(self.disk.stat(&blob)?.inode) {
                    return Err(io::Error::other("what is there of it can't be trusted"));
                }
                false
            }
            Err(error) => return Err(error),
        };
        self.disk.sync_dir(folder)?;
        self.disk.sync_dir(&self.own("blobs/sha256"))?;
        Ok(is_new)
    }

    /// How long a content is that is there and may be used: for this project, by who may read these.
    pub fn holds(
        &self,
        digest: &Digest,
        project: &str,
        projects: Option<&[String]>,
    ) -> Option<u64> {
        let stat = self.disk.stat(&self.blob(digest)).ok().filter(|stat| stat.is_file)?;
        let is_seen = projects.is_none_or(|projects| {
            lock(&self.hub.fresh).contains_key(&(project.to_owned(), digest.clone()))
                || self.hub.kept().has_in(digest, projects)
                || projects.iter().any(|project| {
                    let all = self.index.of_project(project);
                    all.iter().any(|entry| entry.sha256.as_ref() == Some(digest))
                })
        });
        is_seen.then_some(stat.size)
    }

    /// The same; what is there is kept until the commit comes.
    pub fn hold(
        &self,
        digest: &Digest,
        project: &str,
        projects: Option<&[String]>,
        now: Timestamp,
    ) -> Option<u64> {
        let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        let size = self.holds(digest, project, projects)?;
        lock(&self.hub.fresh).insert((project.to_owned(), digest.clone()), now);
        // Nobody sends it again: whether it is still what it was is looked at before all else.
        lock(&self.soon).insert(digest.clone());
        Some(size)
    }

    /// How much has come for commits of a project that have not been made yet.
    pub(in super::super) fn coming_bytes(&self, project: &str) -> u64 {
        let all = self.index.of_project(project);
        let has = |digest: &Digest| all.iter().any(|entry| entry.sha256.as_ref() == Some(digest));
        let fresh: Vec<_> = {
            let fresh = lock(&self.hub.fresh);
            let own = fresh.keys().filter(|(own, _)| own == project);
            own.map(|(_, digest)| digest.clone()).collect()
        };
        let fresh = fresh.iter().filter(|digest| !has(digest) && !self.hub.kept().pins(digest));
        let sizes = fresh.map(|digest| self.disk.stat(&self.blob(digest)).map_or(0, |it| it.size));
        sizes.sum::<u64>() + self.hub.parts().bytes(project) + self.hub.xorbs().bytes(project)
    }

    /// Whether a content without a model is needed all the same.
    pub(in super::super) fn is_needed(&self, digest: &Digest, now: Option<Timestamp>) -> bool {
        if self.hub.kept().pins(digest) {
            return true;
        }
        let mut fresh = lock(&self.hub.fresh);
        if let Some(now) = now {
            fresh.retain(|_, came| now.since(*came) < WAIT);
        }
        fresh.keys().any(|(_, known)| known == digest)
    }

    /// Whether a content came for a commit that may be made yet.
    pub(super) fn is_fresh(&self, digest: &Digest, now: Timestamp) -> bool {
        let fresh = lock(&self.hub.fresh);
        fresh.iter().any(|((_, known), came)| known == digest && now.since(*came) < WAIT)
    }

    /// A file of a commit, so that it can be opened and sent as models are.
    pub fn hub_file(
        &self,
        (project, app): (&str, &str),
        (revision, path): (&str, &str),
        file: &File,
    ) -> Result<Arc<Entry>, Error> {
        let blob = self.blob(&file.sha256);
        let [project, app, version, model] = [project, app, revision, path].map(str::to_owned);
        let key = Key { project, app, version, model };
        match self.disk.stat(&blob) {
            Ok(stat) if stat.is_file && stat.size == file.size => {
                let folder = blob.parent().map(std::path::Path::to_owned).unwrap_or_default();
                let sha256 = Some(file.sha256.clone());
                let place = Place::Other(Box::new((folder, blob)));
                let mut entry = Entry::new(key, place, &stat, sha256, &Map::new());
                entry.is_ours = true;
                entry.rotten = self.rotten(entry.inode).map(Box::new);
                entry.inspected =
                    self.inspected(&file.sha256, super::super::reports::hint_of(&entry));
                if entry.inspected.is_none() && entry.rotten.is_none() {
                    self.inspect_soon(&entry);
                }
                Ok(Arc::new(entry))
            }
            // What others put there has no name among the contents.
            _ => {
                let (project, app) = (Some(key.project.clone()), Some(key.app.clone()));
                let all = self.list(&Query { project, app, ..Query::default() }).entries;
                let found = all.into_iter().find(|e| e.sha256.as_ref() == Some(&file.sha256));
                found.ok_or_else(|| Error::not_found(&key))
            }
        }
    }

    /// A part of a file of a commit, which may be given to others.
    pub fn hub_part(
        &self,
        repo: (&str, &str),
        (revision, path): (&str, &str),
        file: &File,
        (from, length): (u64, u64),
    ) -> Result<Vec<u8>, Error> {
        let entry = self.hub_file(repo, (revision, path), file)?;
        let (_, content) = self.open_content(&entry)?;
        let length = length.min(content.size.saturating_sub(from));
        let (mut bytes, end) = (Vec::new(), from + length);
        let mut at = from;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(SLICE).min(SLICE);
            let slice =
                content.slice(at, most).map_err(Error::disk("the content can't be read"))?;
            bytes.extend_from_slice(&slice);
            at += u64::try_from(slice.len()).unwrap_or(u64::MAX);
        }
        Ok(bytes)
    }

    /// A short file of a commit.
    pub fn hub_bytes(&self, digest: &Digest, most: u64) -> Option<Vec<u8>> {
        let blob = self.blob(digest);
        let size = self.disk.stat(&blob).ok()?.size;
        if most < size {
            return None;
        }
        self.disk.read(&blob).ok()
    }

    /// Opens a content.
    pub(super) fn open_blob(&self, digest: &Digest) -> io::Result<Content> {
        let blob = self.blob(digest);
        let size = self.disk.stat(&blob)?.size;
        Ok(Content::of(self.disk.open(&blob)?, size, super::super::Way::Read))
    }
}
