//! How much of their history repositories keep: what only a history has takes room all the same.

use std::collections::BTreeSet;

use super::super::{Error, Store};
use super::{
    path,
    record::{Commit, Record},
};
use crate::model::{Digest, Timestamp};

impl Store {
    /// Takes from a log what is beyond the number, or the age, of what is kept. The newest stays.
    pub(super) fn trim(&self, log: &mut Vec<Commit>, now: Timestamp) {
        let excess = log.len().saturating_sub(self.settings.history.max(1));
        log.drain(..excess);
        let Some(age) = self.settings.history_age else { return };
        // A commit is of use until the next one has followed.
        let is_old = |next: &Commit| age <= now.since(next.date);
        let old = log.iter().skip(1).take_while(|next| is_old(next)).count();
        log.drain(..old);
    }

    /// The record without what is let go of; with `is_all`, that is every commit but those that versions
    /// and tags stand for.
    fn trimmed(&self, record: &Record, now: Timestamp, is_all: bool) -> Record {
        let mut trimmed = record.clone();
        let (project, app) = record.names();
        for (branch, log) in &mut trimmed.branches {
            self.trim(log, now);
            if is_all {
                let head = self.head((&project, &app), &path::version_of(branch));
                let head = head.map(|head| head.tree.id.clone());
                let last = log.pop().filter(|last| Some(&last.id) == head.as_ref());
                *log = last.into_iter().collect();
            }
        }
        trimmed
    }

    /// Lets go of what histories have beyond what is kept.
    pub(in super::super) fn trim_histories(
        &self,
        now: Timestamp,
        is_all: bool,
    ) -> Result<(), Error> {
        let all: Vec<_> = self.hub.repos().keys().cloned().collect();
        for (project, app) in all {
            let _project = self.lock(&project);
            self.settle(&project, &app)?;
            let Some(record) = self.record((&project, &app)) else { continue };
            let trimmed = self.trimmed(&record, now, is_all);
            if trimmed != *record {
                self.write_record(trimmed.clone())?;
                self.forget_commits(&trimmed);
            }
        }
        Ok(())
    }

    /// The contents that nothing but what is let go of keeps.
    pub(in super::super) fn let_go(&self, now: Timestamp, is_all: bool) -> BTreeSet<Digest> {
        let records: Vec<_> = self.hub.repos().values().map(|it| it.record.clone()).collect();
        let mut gone = BTreeSet::new();
        for record in &records {
            let trimmed = self.trimmed(record, now, is_all);
            let named = trimmed.named();
            let all = self.hub.kept().of(&record.names());
            gone.extend(all.into_iter().filter(|id| !named.contains(id.as_str())));
        }
        let mut loose = self.hub.kept().only_in(&gone);
        // What came just now waits for its commit.
        loose.retain(|digest| !self.is_fresh(digest, now));
        loose
    }

    /// How many bytes only histories have.
    pub fn history_bytes(&self) -> u64 {
        let all = self.hub.kept().all();
        let stats = all.iter().filter_map(|digest| self.disk.stat(&self.blob(digest)).ok());
        stats.filter(|stat| stat.links == 1).map(|stat| stat.size).sum()
    }
}
