//! Changes that are only tried: all that is looked at before one is made, and nothing of it done.

use std::sync::Arc;

use md5::Digest as _;

use super::{Error, Key, Order, Require, Store, Upload, entry::Entry, name, resolve::LATEST};
use crate::model::Digest;

/// What an upload would become.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What it would be called.
    pub key: Key,
    /// How long it is.
    pub size: u64,
    /// What it hashes to.
    pub digest: Digest,
    /// What it would take the place of.
    pub before: Option<Arc<Entry>>,
    /// Whether its content is in the store already.
    pub is_known: bool,
}

impl Upload {
    /// What would become of it, were it finished now. The content is gone afterwards.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn try_out(mut self, order: &Order) -> Result<Tried, Error> {
        let store = Arc::clone(&self.store);
        let md5 = self.md5.take();
        check_md5(md5, order)?;
        let (temp, size, digest) = self.close()?;
        order.check_digest(&digest)?;
        store.vet(&*temp, (size, &digest), order, false)?;
        let before = store.placeable(order, size)?;
        let is_known = store.disk.stat(&store.blob(&digest)).is_ok();
        Ok(Tried { key: order.key.clone(), size, digest, before, is_known })
    }
}

/// Whether the content has the MD5 that was announced, where one was.
pub(super) fn check_md5(md5: Option<md5::Md5>, order: &Order) -> Result<(), Error> {
    let is_other = md5.zip(order.md5).is_some_and(|(md5, wanted)| md5.finalize()[..] != wanted);
    if is_other {
        let detail = "the content is not what was announced: its MD5 is another".to_owned();
        return Err(Error::Digest(detail));
    }
    Ok(())
}

impl Order {
    /// Whether the content is what was announced.
    pub(super) fn check_digest(&self, digest: &Digest) -> Result<(), Error> {
        match self.expected.iter().find(|expected| *expected != digest) {
            None => Ok(()),
            Some(other) => Err(Error::Digest(format!(
                "the content is not what was announced: its sha256 is {digest}, not {other}"
            ))),
        }
    }
}

impl Store {
    /// What a model would take the place of.
    ///
    /// # Errors
    /// Why it can't be put there.
    pub(super) fn placeable(&self, order: &Order, size: u64) -> Result<Option<Arc<Entry>>, Error> {
        let key = &order.key;
        let before = self.index.get(key);
        order.require.check(before.as_deref())?;
        self.check_mutable(key, before.is_some())?;
        self.check_alias(key)?;
        self.check_room(key, size)?;
        Ok(before)
    }

    /// The model that would be deleted.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn deletable(&self, key: &Key, require: &Require) -> Result<Arc<Entry>, Error> {
        let entry = self.get(key)?;
        require.check(Some(&entry))?;
        self.check_mutable(key, true)?;
        Ok(entry)
    }

    /// What an alias would be called, and what it stands for now.
    ///
    /// # Errors
    /// Why it can't stand for the version.
    pub fn alias_for(
        &self,
        (project, app): (&str, &str),
        alias: &str,
        version: &str,
    ) -> Result<(String, Option<String>), Error> {
        let alias = name::version_name(alias)?;
        if alias == LATEST {
            return Err(Error::Conflict("`latest` is always the newest version".to_owned()));
        }
        if self.has_version(project, app, &alias) {
            return Err(Error::Conflict(format!("`{alias}` is a version of this app")));
        }
        if !self.has_version(project, app, version) {
            return Err(Error::Nothing(format!("this app has no version `{version}`")));
        }
        let before = self.app(project, app).aliases.get(&alias).cloned();
        Ok((alias, before))
    }

    /// What an alias stands for that would be removed.
    ///
    /// # Errors
    /// There is none.
    pub fn removable_alias(&self, of: (&str, &str), alias: &str) -> Result<String, Error> {
        let before = self.app(of.0, of.1).aliases.remove(alias);
        before.ok_or_else(|| Error::Nothing(format!("no alias is `{alias}`")))
    }

    /// Whether freezing a version, or letting it be changed again, would change anything.
    ///
    /// # Errors
    /// There is no such version.
    pub fn freezable(
        &self,
        (project, app): (&str, &str),
        version: &str,
        is_frozen: bool,
    ) -> Result<bool, Error> {
        if is_frozen && !self.has_version(project, app, version) {
            return Err(Error::Nothing(format!("this app has no version `{version}`")));
        }
        Ok(self.app(project, app).frozen.contains(version) != is_frozen)
    }
}
