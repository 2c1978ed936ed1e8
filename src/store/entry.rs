//! One model, as it is listed and as its `metadata.json` says it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{disk::Stat, name::Key, quarantine::Rotten, reports::Inspected};
use crate::model::{Digest, Timestamp};

/// What a file was called, in `metadata.json`.
const FILENAME: &str = "original_filename";
/// What Berth says of a model, whatever `metadata.json` says.
const OWN: [&str; 12] = [
    "project_id",
    "app_name",
    "version",
    "model_name",
    "size",
    "sha256",
    "etag",
    "url",
    "format",
    "safety",
    "quarantined",
    "inspection",
];
/// About how long the end of a listed model is.
const TAIL: usize = 320;

/// What is known of a model. There may be many: what one has is kept once, and short.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called.
    pub key: Key,
    place: Place,
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
    pub rotten: Option<Box<Rotten>>,
    /// What its file was called, by who sent it.
    filename: Option<Box<str>>,
    /// The beginning of how it is listed: what is known once and for all, as text.
    head: Box<str>,
}

/// Where a model is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Below this root, in the folder that its names say; the file is called so.
    Usual(Arc<Path>, &'static str),
    /// A folder, and a file in it.
    Other(Box<(PathBuf, PathBuf)>),
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
        place: Place,
        stat: &Stat,
        sha256: Option<Digest>,
        metadata: &Map<String, Value>,
    ) -> Self {
        let text = |name| metadata.get(name).and_then(Value::as_str);
        // By hard links, a file may be older than the upload that brought it here.
        let said = text("upload_timestamp").and_then(|text| text.parse().ok());
        let modified = said.map_or(stat.modified, jiff::Timestamp::as_nanosecond);
        let created = if said.is_some() { modified } else { stat.changed };
        let head = head(&key, metadata, stat.size, (created, modified));
        Self {
            key,
            place,
            size: stat.size,
            sha256,
            modified,
            inode: stat.inode,
            written: stat.modified,
            is_ours: false,
            inspected: None,
            rotten: None,
            filename: text(FILENAME).map(Into::into),
            head: head.into(),
        }
    }

    /// Its folder, as it is on the disk.
    pub fn folder(&self) -> PathBuf {
        match &self.place {
            Place::Usual(root, _) => root.join(self.key.folder()),
            Place::Other(paths) => paths.0.clone(),
        }
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        match &self.place {
            Place::Usual(_, name) => self.folder().join(name),
            Place::Other(paths) => paths.1.clone(),
        }
    }

    /// What its file was called by who sent it, where that is known.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// What its `metadata.json` says by a name, where that is text.
    pub fn said(&self, name: &str) -> Option<String> {
        // Most say nothing of the kind: that costs no reading.
        if !self.head.contains(name) {
            return None;
        }
        match serde_json::from_str::<Map<_, _>>(&format!("{}}}", self.head)).ok()?.remove(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// How it is listed, as text.
    pub fn listed(&self) -> String {
        let mut text = String::with_capacity(self.head.len() + TAIL);
        self.list_into(&mut text);
        text
    }

    /// Adds to a text how it is listed.
    pub fn list_into(&self, text: &mut String) {
        text.push_str(&self.head);
        let _ = match &self.sha256 {
            Some(digest) => {
                let digest = digest.as_str();
                write!(text, ",\"sha256\":\"{digest}\",\"etag\":\"\\\"{digest}\\\"\"")
            }
            None => write!(text, ",\"sha256\":null,\"etag\":{}", json!(self.etag())),
        };
        text.push_str(",\"url\":\"");
        self.key.path_into(text);
        text.push('"');
        if let Some(Inspected { format, safety }) = &self.inspected {
            let _ = write!(text, ",\"format\":{},\"safety\":{}", json!(format), json!(safety));
        }
        if self.rotten.is_some() {
            text.push_str(",\"quarantined\":true");
        }
        text.push('}');
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
}

/// How an entry is listed, up to what may be found out later.
fn head(
    key: &Key,
    metadata: &Map<String, Value>,
    size: u64,
    (created, modified): (i128, i128),
) -> String {
    let Key { project, app, version, model } = key;
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("project_id", json!(project));
    put("app_name", json!(app));
    put("version", json!(version));
    put("model_name", json!(model));
    put("exists", json!(true));
    put("size", json!(size));
    put("created_at", json!(local(created)));
    put("modified_at", json!(local(modified)));
    for (name, value) in metadata {
        // What they are and how long is seen on the disk, and what is found out is said by us alone.
        if !OWN.contains(&name.as_str()) {
            put(name, value.clone());
        }
    }
    let mut text = Value::Object(document).to_string();
    text.pop();
    text
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
        let place = Place::Usual(Path::new("/r").into(), "model");
        let entry = Entry::new(key, place, &stat, Some(digest.clone()), &metadata);
        assert_eq!(entry.file(), Path::new("/r/p/a/1/m/model"));
        assert_eq!(entry.filename(), Some("m.onnx"));
        assert_eq!(entry.said("framework").as_deref(), Some("onnx"));
        assert_eq!(entry.said("description"), None);
        let listed: Value = serde_json::from_str(&entry.listed()).unwrap();
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

    /// What is found out later is said by Berth alone, in whatever order it comes.
    #[test]
    fn what_is_said_of_a_model_is_text_that_can_be_read_whatever_its_names_are() {
        let key = Key::new("p \"q\"", "a b'", "1", "ü%2Fx").unwrap();
        let said = json!({
            "description": "a \"b\"\n", "etag": "forged", "safety": "safe", "own": { "x": [1] },
        });
        let stat = Stat {
            is_folder: false,
            is_file: true,
            size: 3,
            inode: (1, 2),
            links: 1,
            modified: 5,
            changed: 6,
            is_writable: true,
        };
        let place = Place::Other(Box::new(("/x".into(), "/x/y".into())));
        let mut entry = Entry::new(key.clone(), place, &stat, None, said.as_object().unwrap());
        let read = |entry: &Entry| serde_json::from_str::<Value>(&entry.listed()).unwrap();
        let listed = read(&entry);
        assert_eq!(
            (&listed["project_id"], &listed["url"]),
            (&json!(key.project), &json!(key.path()))
        );
        assert_eq!((&listed["sha256"], &listed["etag"]), (&Value::Null, &json!(entry.etag())));
        assert_eq!(listed["own"], json!({ "x": [1] }));
        assert!(listed.get("safety").is_none() && listed.get("quarantined").is_none());
        assert_eq!(entry.said("description").as_deref(), Some("a \"b\"\n"));
        entry.sha256 = Some(Digest::of_bytes(b"abc"));
        entry.inspected = Some(Inspected {
            format: crate::inspect::Format::Onnx,
            safety: crate::inspect::Safety::Dangerous,
        });
        let listed = read(&entry);
        assert_eq!(listed["etag"], entry.etag());
        assert_eq!((&listed["format"], &listed["safety"]), (&json!("onnx"), &json!("dangerous")));
    }

    /// A model with the usual names takes little room.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 320, "{}", size_of::<Entry>());
    }
}
