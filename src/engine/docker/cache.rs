//! What `BuildKit` keeps between builds: listed, and let go piece by piece.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::super::Error;
use super::Docker;
use super::build::quoted;
use super::errors::within;
use super::transport::{ApiVersion, decode};
use crate::model::Timestamp;
use crate::state::CacheRecord;

/// From this version on, Docker Engine 23.0, the cache is listed alone.
const ALONE: ApiVersion = ApiVersion(1, 42);
/// Older engines measure all that they have for it.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    build_cache: Option<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    parent: Option<String>,
    parents: Option<Vec<String>>,
    description: Option<String>,
    size: Option<u64>,
    created_at: Option<String>,
    last_used_at: Option<String>,
    #[serde(default)]
    in_use: bool,
    #[serde(default)]
    shared: bool,
}

impl Record {
    /// What it says; one of no known age is of nobody's build.
    fn read(self) -> Option<CacheRecord> {
        let created = Timestamp::parse(self.created_at.as_deref()?)?;
        let used = self.last_used_at.as_deref().and_then(Timestamp::parse).unwrap_or(created);
        let parents = self.parents.unwrap_or_default().into_iter().chain(self.parent);
        Some(CacheRecord {
            id: self.id,
            parents: parents.filter(|id| !id.is_empty()).collect(),
            description: self.description.unwrap_or_default(),
            size: self.size.unwrap_or(0),
            created,
            used,
            is_used: self.in_use,
            is_shared: self.shared,
        })
    }
}

impl Docker {
    /// What is kept. An engine without such a thing keeps nothing.
    pub(super) async fn list_cache(&self) -> Result<Vec<CacheRecord>, Error> {
        let is_alone = ALONE <= self.transport().version().await?;
        let path = if is_alone { "/system/df?type=build-cache" } else { "/system/df" };
        let body = match self.get("build cache", LIMIT, path).await {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            body => body?,
        };
        let usage: Usage = decode("build cache", &body)?;
        Ok(usage.build_cache.unwrap_or_default().into_iter().filter_map(Record::read).collect())
    }

    /// Lets one piece go; answers whether it went. The engine keeps what it needs.
    pub(super) async fn drop_piece(&self, id: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pruned {
            caches_deleted: Option<Vec<String>>,
        }
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Ok(false);
        }
        // The engine takes it for a pattern.
        let filters = json!({"id": {format!("^{id}$"): true}}).to_string();
        let path = format!("/build/prune?filters={}", quoted(&filters));
        let nothing = json!({});
        let asked = self.transport().post("prune build cache", &path, &nothing);
        let body = within("prune build cache", LIMIT, asked).await?;
        let pruned: Pruned = decode("prune build cache", &body)?;
        Ok(pruned.caches_deleted.unwrap_or_default().iter().any(|gone| gone == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways in which engines name what a piece rests on.
    #[test]
    fn pieces_are_read_from_older_and_newer_engines() {
        let read = |text: &str| {
            let usage: Usage = serde_json::from_str(text).unwrap();
            let all = usage.build_cache.unwrap_or_default().into_iter();
            all.filter_map(Record::read).collect::<Vec<_>>()
        };
        let text = r#"{"BuildCache": [
            {"ID": "a", "Parent": "", "Type": "regular", "Description": "x", "InUse": false,
             "Shared": true, "Size": 5, "CreatedAt": "2026-11-22T01:27:06.697153536Z",
             "LastUsedAt": null, "UsageCount": 1},
            {"ID": "b", "Parents": ["a", "c"], "InUse": true, "Shared": false, "Size": 7,
             "CreatedAt": "2026-11-22T01:27:06Z", "LastUsedAt": "2026-11-22T01:28:06Z"},
            {"ID": "d", "Parent": "a", "Size": 7, "CreatedAt": "0001-01-01T00:00:00Z"}]}"#;
        let all = read(text);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].parents.is_empty() && all[0].is_shared && all[0].used == all[0].created);
        assert_eq!((all[1].parents.join(" ").as_str(), all[1].is_used), ("a c", true));
        assert!(all[1].created < all[1].used);
        assert!(read(r#"{"BuildCache": null}"#).is_empty() && read("{}").is_empty());
    }
}
