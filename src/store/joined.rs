//! Uploads that were sent in parts side by side, and are put together (tus' concatenation).
//!
//! The parts are read into a file without a name and hashed meanwhile; that becomes a model as every
//! upload does. Only then the parts go.
//!
//! # Guarantees
//! - A kill, a failure of the disk or a refusal leaves all parts as they are, or the model whole.
//! - Memory does not grow with the parts.

use std::sync::Arc;

use super::{Error, Kept, Key, Order, Partial, Store, Stored, Upload};
use crate::model::Timestamp;

/// Of how many parts an upload may be put together.
pub const PARTS_MAX: usize = 256;

impl Store {
    /// Whether these parts may become a model now. How long it will be.
    pub fn check_join(&self, parts: &[Arc<Partial>], order: &Order) -> Result<u64, Error> {
        let key = &order.key;
        let mut total = 0_u64;
        for part in parts {
            let kept = part.kept();
            check_part(&part.id, &kept, key)?;
            total = total.saturating_add(kept.offset);
        }
        self.admit(key, &order.require, Some(total))?;
        self.check_ending(key, &order.about)?;
        // What the parts were to need is in the total.
        let (_, reserved) = self.reserved(&key.project, parts);
        self.check_room(key, total.saturating_add(reserved))?;
        Ok(total)
    }

    /// Makes a model of parts, in this order. Whoever calls has claimed each of them. They go once the
    /// model is there; before, they stay, whatever happens.
    pub fn join_partials(
        self: &Arc<Self>,
        named: (&str, Option<String>, String),
        parts: &[Arc<Partial>],
        order: &Order,
        now: Timestamp,
    ) -> Result<(Arc<Partial>, Stored), Error> {
        let total = self.check_join(parts, order)?;
        let mut upload = Upload::begin(self, Some(total))?;
        for part in parts {
            self.pour(&mut upload, &self.part(&part.id), part.kept().offset)?;
        }
        let (size, digest) = (upload.size(), upload.digest()?);
        let stored = upload.finish(order, now)?;
        let joined = self.note_joined(named, order, (size, digest), now);
        for part in parts {
            self.remove_partial(part);
        }
        Ok((joined, stored))
    }
}

/// Whether an upload can be put together with others to this model.
fn check_part(id: &str, kept: &Kept, key: &Key) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Conflict(format!("/uploads/{id} {why}")));
    if !kept.is_part() {
        return refuse(
            "is no part: only what began with `Upload-Concat: partial` is one".to_owned(),
        );
    }
    let own = &kept.key().project;
    if *own != key.project {
        let wanted = &key.project;
        return refuse(format!("is for the project `{own}`, and the whole for `{wanted}`"));
    }
    match kept.length {
        Some(length) if length == kept.offset => Ok(()),
        Some(length) => refuse(format!("has {} of {length} bytes: send the rest", kept.offset)),
        None => refuse("is not whole: nobody has said how long it is (`Upload-Length`)".to_owned()),
    }
}
