//! Manifests that were made, so that they are not made again, and so that one that a tag meant a
//! moment ago can still be asked for by its digest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use serde_json::Value;

use crate::model::Digest;

/// How many bytes of them are kept.
const BYTES_MAX: usize = 16 << 20;

/// A document that is made of what is stored.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
    pub(super) kind: &'static str,
}

impl Document {
    pub(super) fn new(kind: &'static str, value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self { digest: Digest::of_bytes(&bytes), bytes: bytes.into(), kind }
    }

    /// What names it in a manifest.
    pub(super) fn descriptor(&self) -> Value {
        descriptor(self.kind, &self.digest, u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

/// What names a content in a manifest.
pub(super) fn descriptor(kind: &str, digest: &Digest, size: u64) -> Value {
    serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}

/// A version as a registry shows it.
#[derive(Clone, Debug)]
pub(super) struct Artifact {
    pub(super) manifest: Document,
    pub(super) config: Document,
}

impl Artifact {
    /// The one of its documents that has this digest.
    pub(super) fn document(&self, digest: &Digest) -> Option<&Document> {
        [&self.manifest, &self.config].into_iter().find(|one| one.digest == *digest)
    }

    fn length(&self) -> usize {
        self.manifest.bytes.len() + self.config.bytes.len()
    }
}

/// What a manifest was made of: project, app, version, in which form, and the files.
pub(super) type Made = (String, String, String, String, Digest);

#[derive(Default)]
struct All {
    made: BTreeMap<Made, Arc<Artifact>>,
    order: VecDeque<Made>,
    bytes: usize,
}

/// All that are kept.
#[derive(Default)]
pub(in super::super) struct Known(Mutex<All>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, made: &Made) -> Option<Arc<Artifact>> {
        self.lock().made.get(made).cloned()
    }

    /// One of a repository's documents.
    pub(super) fn find(&self, (project, app): (&str, &str), digest: &Digest) -> Option<Document> {
        let all = self.lock();
        let of_repository = |made: &Made| made.0 == project && made.1 == app;
        let mut own = all.made.iter().filter(|(made, _)| of_repository(made));
        own.find_map(|(_, artifact)| artifact.document(digest).cloned())
    }

    pub(super) fn keep(&self, made: Made, artifact: &Arc<Artifact>) {
        let mut all = self.lock();
        all.bytes += artifact.length();
        if let Some(old) = all.made.insert(made.clone(), Arc::clone(artifact)) {
            all.bytes -= old.length();
        } else {
            all.order.push_back(made);
        }
        while BYTES_MAX < all.bytes {
            let Some(first) = all.order.pop_front() else { break };
            let gone = all.made.remove(&first).map_or(0, |gone| gone.length());
            all.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_kept_and_found_by_its_digest() {
        let known = Known::default();
        let artifact = |text: &str| {
            let document = |kind: &'static str, length| Document {
                bytes: vec![0; length].into(),
                digest: Digest::of_bytes(format!("{kind}{text}").as_bytes()),
                kind,
            };
            Arc::new(Artifact { config: document("x", 10), manifest: document("y", 1 << 20) })
        };
        for round in 0..2 {
            for at in 0..40 {
                let one = artifact(&format!("{at:02}"));
                let version = at.to_string();
                let digest = one.manifest.digest.clone();
                let made = ("p".into(), "a".into(), version, String::new(), digest.clone());
                known.keep(made.clone(), &one);
                assert!(known.get(&made).is_some(), "{round}");
                assert!(known.find(("p", "a"), &digest).is_some());
                assert!(known.find(("p", "a"), &one.config.digest).is_some());
                assert!(known.find(("p", "b"), &digest).is_none());
            }
        }
        let all = known.lock();
        assert!(all.bytes <= BYTES_MAX && all.made.len() == all.order.len());
        assert_eq!(all.bytes, all.made.values().map(|one| one.length()).sum::<usize>());
    }
}
