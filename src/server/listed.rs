//! The list of all apps as bytes, made once and shared by all who ask for it.
//!
//! An app is written as JSON when it has changed, the whole list when anything has. Answers and
//! streams hold the same bytes, so that many who look cost little more than one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Bytes;
use serde_json::json;

use super::{etag, view};
use crate::model::AppName;
use crate::record::{Entry, Overview, Record};

/// What was made last.
#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    apps: BTreeMap<AppName, (Arc<Entry>, Bytes)>,
    list: Option<List>,
    event: Option<(u64, Bytes)>,
}

/// The document of all apps.
#[derive(Debug)]
struct List {
    /// The record's stamp, taken before the document was made of what the record had.
    stamp: (u64, u64),
    tag: String,
    bytes: Bytes,
}

/// The tag of the list of apps at a revision: what it shows beside them counts too.
pub(super) fn tag(boot: &str, revision: u64, overview: &Overview) -> String {
    let rest = json!([view::source(overview), view::engine(overview), view::certificate(overview)])
        .to_string();
    format!("{boot}-{revision}-{}", etag::of_bytes(rest.as_bytes()))
}

impl Listed {
    /// One app.
    pub(super) fn app(&self, entry: &Arc<Entry>) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).app(entry)
    }

    /// The document of all of them, as the record stands, and its tag. While nothing is written it
    /// is only handed on.
    pub(super) fn list(&self, record: &Record, boot: &str) -> (String, Bytes) {
        let stamp = record.stamp();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = made.list.as_ref().filter(|list| list.stamp == stamp) {
            return (list.tag.clone(), list.bytes.clone());
        }
        let (entries, revision, _) = record.subscribe();
        let overview = record.overview();
        let tag = tag(boot, revision, &overview);
        if let Some(list) = made.list.as_mut().filter(|list| list.tag == tag) {
            list.stamp = stamp;
            return (tag, list.bytes.clone());
        }
        let mut head = view::apps([], revision, &overview).to_string();
        // The list of apps is the document's last member, and empty so far.
        head.truncate(head.len().saturating_sub("]}".len()));
        let bytes = made.around(&entries, head, b"]}");
        made.list = Some(List { stamp, tag: tag.clone(), bytes: bytes.clone() });
        (tag, bytes)
    }

    /// The event of all of these, which the record had at this revision. `head` is what it begins
    /// with, the same for everybody.
    pub(super) fn event(&self, entries: &[Arc<Entry>], revision: u64, head: String) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = &made.event
            && *of == revision
        {
            return bytes.clone();
        }
        let bytes = made.around(entries, head, b"]}\n\n");
        made.event = Some((revision, bytes.clone()));
        bytes
    }
}

impl Made {
    fn app(&mut self, entry: &Arc<Entry>) -> Bytes {
        if let Some((of, bytes)) = self.apps.get(&entry.name)
            && Arc::ptr_eq(of, entry)
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(view::app(entry).to_string());
        self.apps.insert(entry.name.clone(), (Arc::clone(entry), bytes.clone()));
        bytes
    }

    /// All of these, with commas between them, between a head and a tail.
    fn around(&mut self, entries: &[Arc<Entry>], head: String, tail: &[u8]) -> Bytes {
        let apps: Vec<_> = entries.iter().map(|entry| self.app(entry)).collect();
        // Who is gone is not kept; who is new is there by now.
        if apps.len() < self.apps.len() {
            let here: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
            self.apps.retain(|name, _| here.contains(name));
        }
        let mut whole = head.into_bytes();
        whole.reserve_exact(apps.iter().map(|app| app.len() + 1).sum::<usize>() + tail.len());
        for (number, app) in apps.iter().enumerate() {
            if 0 < number {
                whole.push(b',');
            }
            whole.extend_from_slice(app);
        }
        whole.extend_from_slice(tail);
        Bytes::from(whole)
    }
}
