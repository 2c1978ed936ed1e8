//! One model, as it is listed and as its `metadata.json` says it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{disk::Stat, name::Key, quarantine::Rotten, reports::Inspected};
use crate::model::{Digest, Timestamp};

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called.
    pub key: Key,
    /// Its folder, as it is on the disk.
    pub folder: PathBuf,
    /// Its file.
    pub file: PathBuf,
    /// How long it is.
    pub size: u64,
    /// Its digest; none as long as nobody has read it.
    pub sha256: Option<Digest>,
    /// When it came, in nanoseconds since 1970.
    pub modified: i128,
    /// Which file it is.
    pub inode: (u64, u64),
    /// When the file was written to, in nanoseconds since 1970.
    pub(super) written: i128,
    /// Whether the file is ours, and is never changed again.
    pub is_ours: bool,
    /// What is inside it; none as long as nobody has looked.
    pub inspected: Option<Inspected>,
    /// What is wrong with its content.
    pub rotten: Option<Rotten>,
    /// When it was made, in nanoseconds since 1970.
    created: i128,
    /// Its `metadata.json`.
    pub metadata: Map<String, Value>,
    /// How it is listed, as text.
    pub listed: String,
}

/// What comes along with an upload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// What the file was called.
    pub original_filename: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// A description.
    pub description: Option<String>,
    /// What it was made with.
    pub framework: Option<String>,
}

impl Entry {
    /// An entry, from what is on the disk.
    pub(super) fn new(
        key: Key,
        (folder, file): (PathBuf, PathBuf),
        stat: &Stat,
        sha256: Option<Digest>,
        metadata: Map<String, Value>,
    ) -> Self {
        let said = metadata.get("upload_timestamp").and_then(Value::as_str);
        // By hard links, a file may be older than the upload that brought it here.
        let said: Option<jiff::Timestamp> = said.and_then(|text| text.parse().ok());
        let modified = said.map_or(stat.modified, jiff::Timestamp::as_nanosecond);
        let created = if said.is_some() { modified } else { stat.changed };
        let mut entry = Self {
            key,
            folder,
            file,
            size: stat.size,
            sha256,
            modified,
            inode: stat.inode,
            written: stat.modified,
            is_ours: false,
            inspected: None,
            rotten: None,
            created,
            metadata,
            listed: String::new(),
        };
        entry.render();
        entry
    }

    /// Writes anew how it is listed.
    pub(super) fn render(&mut self) {
        self.listed = Value::Object(self.document(self.created)).to_string();
    }

    /// The strong validator: the digest, once it is known.
    pub fn etag(&self) -> String {
        match &self.sha256 {
            Some(digest) => format!("\"{digest}\""),
            None => format!("\"{:x}-{:x}\"", self.changed(), self.size),
        }
    }

    /// When its content came, or was changed by somebody else, in nanoseconds since 1970.
    pub fn changed(&self) -> i128 {
        if self.is_ours { self.modified } else { self.modified.max(self.written) }
    }

    /// Whether this is the file that was looked at. What is not ours may be written to in place.
    pub(super) fn is_seen(&self, stat: &Stat) -> bool {
        (stat.inode, stat.size) == (self.inode, self.size)
            && (self.is_ours || stat.modified == self.written)
    }

    fn document(&self, created: i128) -> Map<String, Value> {
        let Key { project, app, version, model } = &self.key;
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        put("project_id", json!(project));
        put("app_name", json!(app));
        put("version", json!(version));
        put("model_name", json!(model));
        put("exists", json!(true));
        put("size", json!(self.size));
        put("created_at", json!(local(created)));
        put("modified_at", json!(local(self.modified)));
        for (name, value) in &self.metadata {
            // What they are and how long is seen on the disk, and what a digest is nobody but us.
            let is_known = ["project_id", "app_name", "version", "model_name", "size", "sha256"];
            if !is_known.contains(&name.as_str()) {
                put(name, value.clone());
            }
        }
        put("sha256", json!(self.sha256));
        put("etag", json!(self.etag()));
        put("url", json!(self.key.path()));
        if let Some(inspected) = &self.inspected {
            put("format", json!(inspected.format));
            put("safety", json!(inspected.safety));
        }
        if self.rotten.is_some() {
            put("quarantined", json!(true));
        }
        document
    }
}

/// The `metadata.json` of an upload.
pub(super) fn metadata(
    key: &Key,
    about: &About,
    (size, sha256): (u64, &Digest),
    now: Timestamp,
) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("project_id", json!(key.project));
    put("app_name", json!(key.app));
    put("version", json!(key.version));
    put("model_name", json!(key.model));
    put("original_filename", json!(about.original_filename));
    put("content_type", json!(about.content_type));
    put("upload_timestamp", json!(universal(now)));
    put("size", json!(size));
    for (name, text) in [("description", &about.description), ("framework", &about.framework)] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            put(name, json!(text));
        }
    }
    put("sha256", json!(sha256));
    document
}

/// A moment with microseconds, in UTC: `2026-11-21T12:35:55.123000+00:00`.
fn universal(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// A moment in the machine's own time, without saying which that is, as clients know it.
fn local(nanos: i128) -> String {
    let at = jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default();
    let zoned = at.to_zoned(jiff::tz::TimeZone::system());
    match zoned.subsec_nanosecond() / 1000 {
        0 => zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        _ => zoned.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_listed_with_the_keys_of_old_in_their_order() {
        let key = Key::new("p", "a", "1", "m").unwrap();
        let about = About {
            original_filename: Some("m.onnx".to_owned()),
            framework: Some("onnx".to_owned()),
            description: Some(String::new()),
            ..About::default()
        };
        let digest = Digest::of_bytes(b"abc");
        let now = Timestamp::from_millis(1_700_000_000_120);
        let metadata = metadata(&key, &about, (3, &digest), now);
        let keys: Vec<_> = metadata.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "project_id",
                "app_name",
                "version",
                "model_name",
                "original_filename",
                "content_type",
                "upload_timestamp",
                "size",
                "framework",
                "sha256"
            ]
        );
        assert_eq!(metadata["upload_timestamp"], "2023-11-14T22:13:20.120000+00:00");
        let stat = Stat {
            is_folder: false,
            is_file: true,
            size: 3,
            inode: (1, 2),
            links: 2,
            modified: 5,
            changed: 6,
            is_writable: false,
        };
        let paths = ("/r/p/a/1/m".into(), "/r/p/a/1/m/model".into());
        let entry = Entry::new(key, paths, &stat, Some(digest.clone()), metadata);
        let listed: Value = serde_json::from_str(&entry.listed).unwrap();
        let keys: Vec<_> = listed.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "project_id",
                "app_name",
                "version",
                "model_name",
                "exists",
                "size",
                "created_at",
                "modified_at",
                "original_filename",
                "content_type",
                "upload_timestamp",
                "framework",
                "sha256",
                "etag",
                "url"
            ]
        );
        assert_eq!(listed["etag"], format!("\"{digest}\""));
        assert_eq!(listed["modified_at"], local(1_700_000_000_120_000_000));
        assert!(listed["exists"] == true && listed["content_type"].is_null());
    }
}
